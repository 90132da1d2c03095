//! What SFT needs to know besides how to train.

use afd_model::LoraConfig;
use serde::{Deserialize, Serialize};

/// The `[sft]` table, next to the keys of [`afd_train::TrainConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SftConfig {
    /// Train on the answer and its end token only; otherwise on prompt and answer alike.
    pub completion_only_loss: bool,
    /// Train on all of the assistant's turns, where the chat template marks them with
    /// `{% generation %}`, and not on the last alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assistant_only_loss: bool,
    /// Longest prompt and answer together, in tokens; longer examples are left out and counted.
    pub max_length: usize,
    /// Put examples of similar length into one batch, which saves padding.
    pub group_by_length: bool,
    /// Keep the policy as it is when these shares of the training are behind, such as `[0.5]`: a
    /// reference for the closed-form reward. Shares are of the planned steps; with
    /// `load_best_model_at_end` the policy itself may be from before one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<f64>,
    /// Keep a moving average of the weights too: after each step it is this much of itself, such as
    /// 0.99, and the rest of the policy. Another such reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_average: Option<f64>,
    /// Train adapters on a frozen model; without it, every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}
