//! What can go wrong between answers and rewards.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error(
        "no prompt has an answer on both sides ({chosen} against {rejected}); does the data hold what this reward model needs?"
    )]
    NoPairs {
        chosen: &'static str,
        rejected: &'static str,
    },
    #[error(
        "{path}: {usable} pairs of at most {max_length} tokens are too few to train and evaluate on; raise reward.max_length or give more data"
    )]
    TooFewPairs {
        path: PathBuf,
        usable: usize,
        max_length: usize,
    },
    #[error("reward.max_length is {max_length}, the model's context only {context}")]
    MaxLength { max_length: usize, context: usize },
    #[error(
        "the tokenizer has {tokens} ids, the model's embedding only {vocab_size} rows; take the tokenizer the checkpoint was made with"
    )]
    Tokenizer { tokens: usize, vocab_size: usize },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
