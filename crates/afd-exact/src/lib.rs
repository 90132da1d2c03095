//! A small world where the right answer is known exactly.

pub mod adversarial;
pub mod best_of_n;
#[cfg(test)]
mod check;
pub mod discriminator;
pub mod divergence;
pub mod estimator;
pub mod loss;
pub mod minimise;
pub mod optimum;
pub mod placement;
pub mod policy;
pub mod preference;
pub mod projection;
pub mod reward;
pub mod sft;
pub mod space;
pub mod update;

pub use crate::{policy::Policy, space::Space};
