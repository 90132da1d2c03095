//! Hyper-parameters, under the names of Hugging Face's trainers.

use serde::{Deserialize, Serialize};

/// How a model is trained. Every value that affects the result is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Shape of the rate over the steps.
    pub lr_scheduler_type: SchedulerType,
    /// Share of the steps over which the rate rises from 0.
    pub warmup_ratio: f64,
    /// Passes over the training examples.
    pub num_train_epochs: u64,
    /// Stop after this many optimiser steps; 0 = when the epochs are over.
    pub max_steps: u64,
    /// Examples in one forward pass.
    pub per_device_train_batch_size: usize,
    /// Forward passes added up into one optimiser step.
    pub gradient_accumulation_steps: usize,
    /// Examples in one forward pass without gradients.
    pub per_device_eval_batch_size: usize,
    /// Decoupled weight decay of matrices; norms are never decayed.
    pub weight_decay: f64,
    /// AdamW's decay rate of the first moment.
    pub adam_beta1: f64,
    /// AdamW's decay rate of the second moment.
    pub adam_beta2: f64,
    /// AdamW's epsilon.
    pub adam_epsilon: f64,
    /// Compute activations again in backward instead of keeping them: less memory for one more
    /// forward pass, and the same result, so that no stage's key knows of it.
    #[serde(skip_serializing)]
    pub gradient_checkpointing: bool,
    /// The gradient of all parameters together is scaled down to this norm; 0 = never.
    pub max_grad_norm: f64,
    /// Steps between two lines in `metrics.jsonl`.
    pub logging_steps: u64,
    /// Steps between two evaluations; 0 = only at the end.
    pub eval_steps: u64,
    /// Steps between two checkpoints; 0 = none.
    pub save_steps: u64,
    /// Return the model of the best evaluation instead of the last one.
    pub load_best_model_at_end: bool,
    /// Stop after this many evaluations without a new best; 0 = never.
    pub early_stopping_patience: u64,
}

/// The learning rate's shape; the names and formulas are transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    /// Down to 0 along a line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// The peak rate throughout, without warm-up.
    Constant,
    /// The peak rate after the warm-up.
    ConstantWithWarmup,
}

impl TrainConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let fraction = |value: f64| (0.0..1.0).contains(&value);
        [
            ("learning_rate", positive(self.learning_rate), "above 0"),
            (
                "warmup_ratio",
                (0.0..=1.0).contains(&self.warmup_ratio),
                "between 0 and 1",
            ),
            ("num_train_epochs", self.num_train_epochs > 0, "1 or more"),
            (
                "per_device_train_batch_size",
                self.per_device_train_batch_size > 0,
                "1 or more",
            ),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps > 0,
                "1 or more",
            ),
            (
                "per_device_eval_batch_size",
                self.per_device_eval_batch_size > 0,
                "1 or more",
            ),
            ("weight_decay", self.weight_decay >= 0.0, "0 or more"),
            ("adam_beta1", fraction(self.adam_beta1), "in [0, 1)"),
            ("adam_beta2", fraction(self.adam_beta2), "in [0, 1)"),
            ("adam_epsilon", positive(self.adam_epsilon), "above 0"),
            ("max_grad_norm", self.max_grad_norm >= 0.0, "0 or more"),
            ("logging_steps", self.logging_steps > 0, "1 or more"),
            (
                "early_stopping_patience",
                self.early_stopping_patience == 0 || self.eval_steps > 0,
                "0 unless eval_steps is above 0",
            ),
        ]
        .into_iter()
        .filter(|(_, fits, _)| !fits)
        .map(|(key, _, rule)| (key, rule))
        .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> TrainConfig {
        TrainConfig {
            learning_rate: 0.1,
            lr_scheduler_type: SchedulerType::Constant,
            warmup_ratio: 0.0,
            num_train_epochs: 1,
            max_steps: 0,
            per_device_train_batch_size: 1,
            gradient_accumulation_steps: 1,
            per_device_eval_batch_size: 4,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            gradient_checkpointing: false,
            max_grad_norm: 0.0,
            logging_steps: 1,
            eval_steps: 0,
            save_steps: 0,
            load_best_model_at_end: false,
            early_stopping_patience: 0,
        }
    }

    /// What is serialised is part of a stage's key.
    #[test]
    fn recomputing_activations_is_no_other_training() {
        let key = |gradient_checkpointing| {
            let config = TrainConfig {
                gradient_checkpointing,
                ..config()
            };
            serde_json::to_string(&config).unwrap()
        };
        assert_eq!(key(true), key(false));
    }

    #[test]
    fn all_problems_are_told_together() {
        let config = TrainConfig {
            learning_rate: -1.0,
            adam_beta2: 1.0,
            ..config()
        };
        let keys: Vec<_> = config.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["learning_rate", "adam_beta2"]);
    }
}
