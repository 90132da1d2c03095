//! Policies learned from stored answers: no answer is drawn while they train.
//!
//! [`run`] takes the policy, its stored answers ([`Sample`](afd_data::records::Sample) rows) and what
//! tells good ones from bad: stored [`Scores`](afd_data::records::Scores), or demonstrations. The
//! answers' ids are trained on as they were drawn, end token included. The reference of DPO, KTO and
//! SPIN is the policy that training starts from; its log-probabilities are computed once, before.
//!
//! - `sft`: more fine-tuning, to compare with.
//! - [`Distil`]: the negative log-likelihood of Best-of-N's answers.
//! - [`Dpo`], [`dpo_loss`]: pairs of answers labelled by the reward.
//! - [`Kto`], [`kto_loss`]: answers above and below their prompt's mean reward.
//! - [`spin`]: demonstrations preferred to the policy's own answers, by [`Dpo`].
//! - [`pairs`]: how rewards become weights, pairs and labels.
//!
//! The losses are functions of tensors, so that `afd-tests` holds them against `afd-exact`.

mod answer;
mod config;
mod distil;
mod dpo;
mod fit;
mod kto;
#[cfg(test)]
mod model_tests;
pub mod pairs;
pub mod spin;
mod stage;
mod stored;
#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerBatch, log_ratios};
pub use config::{Labels, Method, OfflineConfig};
pub use distil::{Distil, weighted_nll};
pub use dpo::{Contest, Dpo, dpo_loss};
pub use kto::{Judged, Kto, kto_loss};
pub use stage::{OfflineInputs, run};
