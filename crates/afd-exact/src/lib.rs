//! A small world where the right answer is known exactly.

#[cfg(test)]
mod check;
pub mod divergence;
pub mod minimise;
pub mod policy;
pub mod space;

pub use crate::{policy::Policy, space::Space};
