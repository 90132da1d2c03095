//! Stages: answers of a policy, and policies improved by them.
//!
//! - [`sample::run`] draws answers to prompts and stores them with their log-probs, all of them or a
//!   [shard](sample::Part), elsewhere.
//! - [`sample::run_by_blocks`] has a reward choose as they are drawn.
//! - [`sample::answer_all`] is the same for callers with their own input and output.
//! - [`extrapolate::run`] makes a policy of the weights of two.
//! - [`best_of_n::run`] picks the best of stored answers by each ranker's stored scores,
//!   or one by chance that prefers better ones.
//! - [`offline::run`] trains a policy on stored answers: Best-of-N distilled, DPO, KTO, SPIN.
//! - [`rl::run`] has a policy learn from its own answers.

pub mod best_of_n;
mod error;
pub mod extrapolate;
pub mod offline;
pub mod rl;
pub mod sample;

pub use best_of_n::BestOfNConfig;
pub use error::Error;
pub use extrapolate::ExtrapolateConfig;
pub use offline::OfflineConfig;
pub use rl::RlConfig;
pub use sample::{BlocksConfig, SampleConfig, SampleInputs, Shard};
