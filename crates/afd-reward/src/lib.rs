//! Stages: pairs, reward models learned from them, the closed-form reward, scoring, diagnostics.
//!
//! A reward is a logit: label 1 is the chosen (demonstration) side, higher is more
//! demonstration-like.
//!
//! - [`pairs::run`] writes preference rows from two sources of answers, [`pairs::mix`] mixes them.
//! - [`learn::run`] fits a reward model to them with one of the [`objective`]s.
//! - [`score::run`] scores stored answers with a reward model, [`closed_form::run`] with
//!   the log-ratio of two policies.
//! - [`spread::run`] measures how far apart policies' answers lie, as the initial policy embeds them.
//! - [`RewardModel`] is a reward model of any kind as an [`afd_model::Scorer`].

mod classify;
pub mod closed_form;
mod config;
pub mod diagnostics;
pub mod embed;
mod error;
mod fit;
pub mod learn;
pub mod model;
pub mod objective;
pub mod pairs;
pub mod score;
mod split;
pub mod spread;
mod vectors;

pub use closed_form::{ClosedFormConfig, NamedReference, Reduction, Reference};
pub use config::{Aggregate, Architecture, EnsembleConfig, RewardConfig};
pub use error::Error;
pub use model::{LoadOptions, RewardModel, Truncation, TruncationSide};
pub use objective::{ObjectiveKind, PairLoss};
pub use pairs::{PairSource, PairsConfig, Prompts};

#[cfg(test)]
mod parity_tests;
