//! Stages: answers of a policy, and policies improved by them.
//!
//! - [`sample::run`] draws answers to prompts and stores them with their log-probs.
//! - [`sample::answer`] is the same for callers with their own input and output.
//! - [`best_of_n::run`] picks the best of stored answers by each ranker's stored scores.
//! - [`rl::run`] has a policy learn from its own answers.

pub mod best_of_n;
mod error;
pub mod rl;
pub mod sample;

pub use best_of_n::BestOfNConfig;
pub use error::Error;
pub use rl::RlConfig;
pub use sample::SampleConfig;
