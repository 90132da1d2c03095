//! A language model as judge: which of two answers is the better one, asked of any server that speaks the
//! OpenAI protocol.
//!
//! [`judge`] asks in both orders, in parallel, at a rate and within a budget, tries again what may pass, and
//! keeps every reply by what was asked; [`run`] is that as a stage over stored answers. [`RewardServer`] asks
//! a server for rewards of single answers. Keys come from the environment and are written nowhere.

mod cache;
mod config;
mod error;
mod judge;
mod post;
mod rewards;
mod server;
mod stage;
mod verdict;

pub use cache::Reply;
pub use config::{JudgeConfig, OnFailure};
pub use error::Error;
pub use judge::{Comparison, Judged, Outcome, check_key, judge};
pub use rewards::{RewardServer, RewardServerConfig};
pub use stage::{JudgeInputs, JudgeSummary, VERDICTS, cache_file, run};
pub use verdict::Verdict;
