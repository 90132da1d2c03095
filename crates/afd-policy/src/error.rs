//! What can go wrong while sampling, selecting and learning.

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
    #[error("{path}: {problem}; draw the samples again with --force samples")]
    Samples { path: PathBuf, problem: String },
    #[error(
        "{path} scores the answers to each of the {prompts} prompts alike: none is to be preferred; give another reward model, or draw more answers with sample.num_generations"
    )]
    EqualRewards { path: PathBuf, prompts: usize },
    #[error(
        "{path}: only {usable} prompts can be learned from, and training and evaluation need {least} each; give more prompts, or more answers to each"
    )]
    TooFewPrompts {
        path: PathBuf,
        usable: usize,
        least: usize,
    },
    #[error(
        "{path}: answer {index} to prompt {number} makes {tokens} tokens with it, the model's context is {context}: lower data.max_prompt_length or sample.max_completion_length"
    )]
    AnswerTooLong {
        path: PathBuf,
        number: usize,
        index: u32,
        tokens: usize,
        context: usize,
    },
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
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
