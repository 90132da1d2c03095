//! Stage: supervised fine-tuning, which is forward-KL minimisation on demonstrations.
//!
//! [`run`] takes a checkpoint and a file of demonstrations to a fine-tuned checkpoint in
//! Hugging Face's layout. With `completion_only_loss = false` it is plain language
//! modelling, which is how base models are made.

mod config;
mod error;
mod objective;
mod stage;

pub use config::SftConfig;
pub use error::Error;
pub use objective::NegativeLogLikelihood;
pub use stage::{MOVING_AVERAGE, SftInputs, run, snapshot_dir, train_model};
