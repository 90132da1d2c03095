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
    #[error(
        "{path} is a language model, which scores nothing; give the directory of a reward model, such as a run's reward/init-sft"
    )]
    NoRewardModel { path: PathBuf },
    #[error("reward.max_length is {max_length}, the model's context only {context}")]
    MaxLength { max_length: usize, context: usize },
    #[error(
        "text {number} and its end token exceed the reward model's context of {context} tokens; shorten or leave it out"
    )]
    TooLong { number: usize, context: usize },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
