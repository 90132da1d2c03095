//! What can go wrong while judging.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} lacks {missing}: `llm_judge.prompt` must hold {{prompt}}, {{a}} and {{b}}")]
    Prompt {
        path: PathBuf,
        missing: &'static str,
    },
    #[error(
        "the variable {name} is not set or empty: put the key of {host} there, or leave out `api_key_env`"
    )]
    Key { name: String, host: String },
    #[error(
        "{host} does not judge: {reason}; {done} of {total} answers are kept and not asked for again: run again, or set llm_judge.on_failure = \"skip\""
    )]
    Server {
        host: String,
        reason: String,
        done: usize,
        total: usize,
    },
    #[error(
        "judging has cost {spent:.4}, and more would pass llm_judge.max_cost = {limit}; {done} of {total} answers are kept: raise it, or lower llm_judge.max_prompts"
    )]
    Cost {
        spent: f64,
        limit: f64,
        done: usize,
        total: usize,
    },
    #[error("{host} gives no rewards: {reason}; what was rewarded is kept: run again once it does")]
    Rewards { host: String, reason: String },
    #[error("there is no comparison to judge")]
    Nothing,
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
