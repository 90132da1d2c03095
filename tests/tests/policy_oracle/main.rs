//! Learning from own answers against the oracle: on a world whose answers can be enumerated, each
//! method's update is the one that `afd-exact` expects of it, and ends where that ends.
//!
//! The policy is a table, so that nothing but the method stands between an update and its end; the loss,
//! the advantages and the optimiser are those of training.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod adversarial;
mod enumerated;
mod preference;
mod sampled;
mod selection;
mod world;
