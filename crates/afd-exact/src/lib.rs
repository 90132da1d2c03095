//! A small world where the right answer is known exactly.

#[cfg(test)]
mod check;
pub mod discriminator;
pub mod divergence;
pub mod loss;
pub mod minimise;
pub mod optimum;
pub mod policy;
pub mod reward;
pub mod space;

pub use crate::{policy::Policy, space::Space};
