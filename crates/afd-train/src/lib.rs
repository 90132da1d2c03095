//! Minimises an objective over batches, reproducibly.
//!
//! [`train`] is a small loop over Burn's AdamW: token-exact accumulation, a schedule that
//! is a pure function of the step, global-norm clipping, evaluation, checkpoints. Killed
//! at any step and called again with the same arguments, it ends with the same model.
//!
//! - [`TrainConfig`]: hyper-parameters under the names of Hugging Face's trainers.
//! - [`Objective`]: what is minimised, as sums over examples.
//! - [`Hooks`]: how the loop reaches disk and people; it prints nothing itself.
//! - [`Stepper`]: one step at a time, for loops whose examples come up on the way.
//! - [`schedule::learning_rate`]: the rate at a step.

mod adamw;
mod average;
mod beside;
mod checkpoint;
mod config;
mod error;
mod gradients;
mod objective;
pub mod schedule;
mod stepper;
mod sums;
#[cfg(test)]
mod tests;
mod trainer;

pub use checkpoint::latest as latest_checkpoint;
pub use config::{SchedulerType, TrainConfig};
pub use error::{BoxError, Error};
pub use objective::{Loss, Objective};
pub use stepper::{Stepped, Stepper};
pub use sums::Sums;
pub use trainer::{Hooks, Log, Outcome, Plan, Snapshots, evaluate, train};
