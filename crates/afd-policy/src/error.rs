//! What can go wrong while sampling and selecting.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("{path} holds no prompt")]
    NoPrompts { path: PathBuf },
    #[error(
        "prompt {number} of {path} has {tokens} tokens; with {new} new ones it exceeds the model's context of {context}: lower data.max_prompt_length or sample.max_completion_length"
    )]
    PromptTooLong {
        path: PathBuf,
        number: usize,
        tokens: usize,
        new: usize,
        context: usize,
    },
    #[error("{path} does not score the stored answers: {problem}; run again with --force scores")]
    Scores { path: PathBuf, problem: String },
    #[error(
        "{policy} and {initial} cannot be set against each other: their tokenizers give ids to other tokens; take a policy and what it was trained from"
    )]
    Tokenizers { policy: PathBuf, initial: PathBuf },
    #[error("{policy} and {initial} cannot be set against each other: {source}")]
    TwoModels {
        policy: PathBuf,
        initial: PathBuf,
        source: Box<afd_model::Error>,
    },
    #[error("there is no shard {index} of {count}: shards are 1/n to n/n")]
    Shard { index: usize, count: usize },
    #[error(
        "{path} is no part of these answers: batch {batch} holds others; draw the shard again from the same policy, prompts and configuration"
    )]
    OtherShard { path: PathBuf, batch: usize },
    #[error(
        "no choice among {n} answers by the scores of {path} lies {nats} nats from choosing at random: too many scores are equal; lower best_of_n.target_kl or raise best_of_n.n"
    )]
    TargetKl { path: PathBuf, nats: f64, n: usize },
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
