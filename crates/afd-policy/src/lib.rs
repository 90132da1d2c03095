//! Stages: answers of a policy, and policies improved by selecting among them.
//!
//! - [`sample::run`] draws answers to prompts and stores them with their log-probs.
//! - [`sample::answer`] is the same for callers with their own input and output.
//! - [`best_of_n::run`] picks the best of stored answers by each ranker's stored scores.
//! - [`offline::run`] trains a policy on stored answers: Best-of-N distilled, DPO, KTO, SPIN.

pub mod best_of_n;
mod error;
pub mod offline;
pub mod sample;

pub use best_of_n::BestOfNConfig;
pub use error::Error;
pub use offline::OfflineConfig;
pub use sample::SampleConfig;
