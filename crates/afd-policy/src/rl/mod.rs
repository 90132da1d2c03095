//! Stage: a policy that learns from its own answers, by reinforcement.
//!
//! One loop, [`run`]: draw answers, reward them, turn rewards into advantages, take a few steps, draw
//! again. Which method it is, is a matter of [`RlConfig`]. In the order of reading:
//!
//! - [`rollout`]: answers of the policy as it is; [`reward`]: what they are worth; [`transform`]: what
//!   becomes of that.
//! - [`kl`]: the KL term; [`advantage`]: from rewards to advantages; [`prepare`]: both, on a batch.
//! - [`objective`]: the loss; [`anchor`]: demonstrations beside it; [`account`]: what is logged;
//!   [`guards`]: what stops it.
//! - `learner.rs` holds what the loop works with, `learn.rs` the loop.

pub mod account;
pub mod advantage;
pub mod anchor;
mod config;
pub mod guards;
pub mod kl;
mod learn;
mod learner;
pub mod objective;
pub mod prepare;
pub mod reward;
pub mod rollout;
#[cfg(test)]
mod tests;
pub mod transform;

pub use config::{Guards, ImportanceLevel, LossType, RlConfig, ValueConfig};
pub use learn::run;
pub use learner::{RlInputs, Stacked};
pub use transform::RewardTransform;
