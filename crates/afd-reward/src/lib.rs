//! Stages: pairs, reward models learned from them, the closed-form reward, and scoring.
//!
//! A reward is a logit: label 1 is the chosen (demonstration) side, higher is more
//! demonstration-like.
//!
//! - [`pairs::run`] writes preference rows from two sources of answers.
//! - [`learn::run`] fits a reward model to them with one of the [`objective`]s.
//! - [`score::run`] scores stored answers with a reward model, [`closed_form::run`] with
//!   the log-ratio of two policies.
//! - [`ClassifierScorer`] is a reward model as an [`afd_model::Scorer`].

pub mod closed_form;
mod config;
mod error;
pub mod learn;
pub mod objective;
pub mod pairs;
pub mod score;

pub use config::{ObjectiveKind, RewardConfig};
pub use error::Error;
pub use score::ClassifierScorer;
