//! What learning a reward model needs to know besides how to train.

use afd_model::LoraConfig;
use serde::{Deserialize, Serialize};

/// The `[reward]` table, next to the keys of [`afd_train::TrainConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardConfig {
    /// What is minimised.
    pub objective: ObjectiveKind,
    /// Share of each label given to the other one; keeps logits from running away.
    pub label_smoothing: f64,
    /// Longest prompt and answer together, in tokens; longer pairs are left out and counted.
    pub max_length: usize,
    /// Share of the prompts whose pairs are kept for evaluation.
    pub eval_fraction: f64,
    /// Train adapters and the `score` head on a frozen model; without it, every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// How two answers become a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// Each answer on its own: did the chosen side write it? Unpaired.
    BinaryCrossEntropy,
    /// The pair together: which of the two is the chosen one?
    BradleyTerry,
}

impl RewardConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        [
            (
                "label_smoothing",
                (0.0..0.5).contains(&self.label_smoothing),
                "in [0, 0.5)",
            ),
            ("max_length", self.max_length > 1, "2 or more"),
            (
                "eval_fraction",
                self.eval_fraction > 0.0 && self.eval_fraction < 1.0,
                "between 0 and 1",
            ),
        ]
        .into_iter()
        .filter(|(_, fits, _)| !fits)
        .map(|(key, _, rule)| (key, rule))
        .collect()
    }
}
