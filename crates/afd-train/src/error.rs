//! What can go wrong while training.

use std::path::PathBuf;

/// An error of the caller's, passed through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error(
        "the {what} of step {step} is not finite; lower learning_rate, or set max_grad_norm if it is 0"
    )]
    NonFinite { what: &'static str, step: u64 },
    #[error("there is nothing to train on: the examples carry no target")]
    NoTargets,
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("checkpoint {path} cannot be read ({source}); delete it to start this stage again")]
    Checkpoint { path: PathBuf, source: BoxError },
    #[error("the device failed: {0}")]
    Device(String),
    #[error(transparent)]
    Hook(#[from] BoxError),
}
