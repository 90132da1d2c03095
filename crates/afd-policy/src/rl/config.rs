//! How a policy learns from its own answers.

use afd_model::LoraConfig;
use serde::{Deserialize, Serialize};

use super::{
    advantage::Advantage,
    kl::{KlEstimator, KlLevel, KlPlacement},
    transform::RewardTransform,
};

/// Reinforcement learning, next to the keys of [`afd_train::TrainConfig`].
///
/// Methods are settings: RLOO is `advantage = "leave_one_out"` with `loss_type = "sum"` and k1 in
/// the reward; GRPO as published `"group_std"`, `"grpo"` and token-level k3 in the loss; PPO `"gae"`;
/// Dense-Path `"reward_to_go"` on the log-ratio of two policies.
///
/// A batch of answers is `per_device_train_batch_size × gradient_accumulation_steps ×
/// steps_per_generation` of them, `num_generations` to each prompt; it is gone over `num_iterations`
/// times, so it lasts `steps_per_generation × num_iterations` optimiser steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RlConfig {
    /// Answers drawn to each prompt at a time.
    pub num_generations: usize,
    /// Optimiser steps that one pass over a batch of answers is cut into.
    pub steps_per_generation: usize,
    /// Passes over each batch of answers.
    pub num_iterations: u64,
    /// How advantages come from rewards.
    pub advantage: Advantage,
    /// How the terms of an answer's tokens become its loss.
    pub loss_type: LossType,
    /// Whose probability ratio is clipped.
    pub importance_sampling_level: ImportanceLevel,
    /// The ratio is clipped below `1 − epsilon` where that would not be held against the policy; none:
    /// nothing is clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// And above `1 + epsilon_high`; none: [`Self::epsilon`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon_high: Option<f64>,
    /// Coefficient of the KL term, in units of reward per nat.
    pub beta: f64,
    /// Where the KL term stands.
    pub kl_placement: KlPlacement,
    /// How it is estimated.
    pub kl_estimator: KlEstimator,
    /// From what.
    pub kl_level: KlLevel,
    /// Have `beta` follow so that the KL divergence from the reference comes to this many nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_target: Option<f64>,
    /// Over about this many answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_horizon: Option<f64>,
    /// What becomes of an answer's score before it is paid; none: the score is paid as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_transform: Option<RewardTransform>,
    /// Weight of the negative log-likelihood of demonstrations, in nats an answer, as many of them in a
    /// step as answers: what holds the policy to them while it learns from rewards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptx_coef: Option<f64>,
    /// Taken off the reward of an answer that was cut by its length.
    pub missing_eos_penalty: f64,
    /// Learn nothing from an answer that was cut by its length; its reward still counts in its group. A
    /// step in which all were is left out.
    pub mask_truncated_completions: bool,
    /// Divide the rewards of a batch's tokens by their standard deviation.
    pub whiten_rewards: bool,
    /// Bring the advantages of a batch's tokens to mean 0 and standard deviation 1.
    pub whiten_advantages: bool,
    /// The value model of `advantage = "gae"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<ValueConfig>,
    /// What is watched.
    #[serde(default)]
    pub guards: Guards,
    /// Write a batch's answers with their rewards to `completions/` every so many optimiser steps; 0 =
    /// never.
    pub log_completions_steps: u64,
    /// Train adapters on a frozen model, which without them is the reference; without it, every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// How the terms of tokens become a loss. Names as in TRL, but for `sum`, which is its RLOO's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Their sum, averaged over answers: the policy gradient, as in RLOO.
    Sum,
    /// Their mean over the answer's tokens, averaged over answers: GRPO as published. Tokens of short
    /// answers count for more, so this is no gradient of the expected reward.
    Grpo,
    /// Their sum over the longest answer allowed: [`Self::Sum`] in another unit.
    DrGrpo,
    /// Their sum over the number of tokens in the step. Steps with long answers are smaller.
    Dapo,
}

/// Whose probability ratio is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceLevel {
    /// Each token's own.
    Token,
    /// The whole answer's, as in RLOO: the product over its tokens.
    Sequence,
}

/// The model that tells what a state is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueConfig {
    /// Peak learning rate of the value model, which has an optimiser of its own.
    pub learning_rate: f64,
    /// Discount; 1, or the answer's reward is not what is maximised.
    pub gamma: f64,
    /// Between the surprise alone (0) and all that is still to come (1).
    pub lam: f64,
    /// Values are fitted to within this of what they were; none: to the returns themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cliprange_value: Option<f64>,
    /// Batches of answers that only the value model learns from, at the beginning.
    pub warmup_batches: u64,
}

/// What is watched in the policy's answers; each limit is off where it is not given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guards {
    /// KL divergence from the reference, in nats an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_kl: Option<f64>,
    /// Entropy, in nats a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_entropy: Option<f64>,
    /// Share of an answer's three-token sequences that it has had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_repetition: Option<f64>,
    /// Mean length of answers, as a multiple of that of the first batch, either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length_ratio: Option<f64>,
    /// Batches in a row that the held-out reward may lie below its best by two standard errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_patience: Option<u64>,
    /// Go on all the same, and say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warn_only: bool,
}

impl RlConfig {
    /// Optimiser steps that a batch of answers lasts.
    pub fn steps_per_batch(&self) -> u64 {
        self.steps_per_generation as u64 * self.num_iterations
    }

    /// Every value out of range or out of step with another: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let is_gae = self.advantage == Advantage::Gae;
        let grouped = !matches!(self.advantage, Advantage::Gae | Advantage::Reward);
        let epsilon = |value: Option<f64>| value.is_none_or(positive);
        [
            ("num_generations", self.num_generations > 0, "1 or more"),
            (
                "num_generations",
                !grouped || self.num_generations > 1,
                "2 or more, for answers to one prompt are compared",
            ),
            (
                "steps_per_generation",
                self.steps_per_generation > 0,
                "1 or more",
            ),
            ("num_iterations", self.num_iterations > 0, "1 or more"),
            ("epsilon", epsilon(self.epsilon), "above 0"),
            ("epsilon_high", epsilon(self.epsilon_high), "above 0"),
            (
                "epsilon_high",
                self.epsilon_high.is_none() || self.epsilon.is_some(),
                "given with epsilon only",
            ),
            (
                "beta",
                self.beta >= 0.0 && self.beta.is_finite(),
                "0 or more",
            ),
            (
                "kl_estimator",
                self.beta == 0.0
                    || self.kl_placement == KlPlacement::Reward
                    || self.kl_estimator != KlEstimator::K1,
                "\"k2\" or \"k3\" in the loss: the gradient of k1 is 0 in expectation there, and holds nothing",
            ),
            (
                "kl_target",
                self.kl_target.is_none_or(positive),
                "above 0",
            ),
            (
                "kl_horizon",
                self.kl_target.is_some() == self.kl_horizon.is_some()
                    && self.kl_horizon.is_none_or(positive),
                "above 0, and given with kl_target",
            ),
            (
                "kl_target",
                self.kl_target.is_none() || self.beta > 0.0,
                "given with a beta above 0 to begin with",
            ),
            (
                "lora.lora_dropout",
                self.lora.as_ref().is_none_or(|lora| lora.lora_dropout == 0.0),
                "0: with dropout the policy that learns is not the one that wrote the answers",
            ),
            (
                "ptx_coef",
                self.ptx_coef.is_none_or(positive),
                "above 0",
            ),
            (
                "missing_eos_penalty",
                self.missing_eos_penalty >= 0.0,
                "0 or more",
            ),
            (
                "value",
                is_gae == self.value.is_some(),
                "a table for advantage = \"gae\", and for no other",
            ),
            (
                "importance_sampling_level",
                self.importance_sampling_level == ImportanceLevel::Token
                    || !matches!(self.advantage, Advantage::Gae | Advantage::RewardToGo),
                "\"token\" where tokens have advantages of their own",
            ),
            (
                "value.learning_rate",
                self.value.as_ref().is_none_or(|v| positive(v.learning_rate)),
                "above 0",
            ),
            (
                "value.cliprange_value",
                self.value
                    .as_ref()
                    .is_none_or(|v| v.cliprange_value.is_none_or(positive)),
                "above 0",
            ),
            (
                "value.gamma",
                self.value
                    .as_ref()
                    .is_none_or(|v| (0.0..=1.0).contains(&v.gamma)),
                "between 0 and 1",
            ),
            (
                "value.lam",
                self.value
                    .as_ref()
                    .is_none_or(|v| (0.0..=1.0).contains(&v.lam)),
                "between 0 and 1",
            ),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .chain(self.reward_transform.and_then(RewardTransform::problem))
        .collect()
    }
}
