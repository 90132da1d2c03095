//! What can go wrong in SFT.

use std::path::PathBuf;

/// Errors of this stage.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error(
        "{path} holds no demonstration of at most {max_length} tokens; raise sft.max_length or give other data"
    )]
    NoExamples { path: PathBuf, max_length: usize },
    #[error("sft.max_length is {max_length}, the model's context only {context}")]
    MaxLength { max_length: usize, context: usize },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
