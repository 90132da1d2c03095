//! How a reward model is learned.

use afd_model::LoraConfig;
use serde::{Deserialize, Serialize};

use crate::objective::{ObjectiveKind, PairLoss};

/// The `[reward]` table, next to the keys of [`afd_train::TrainConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardConfig {
    /// What reads the answers.
    pub architecture: Architecture,
    /// Widths of the hidden layers of `embedding_mlp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_sizes: Option<Vec<usize>>,
    /// What is minimised.
    pub objective: ObjectiveKind,
    /// Share of each label given to the other one; keeps logits from running away.
    pub label_smoothing: f64,
    /// How far a chosen answer has to lead, in nats; of `bradley_terry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// What `(c + r)²` of a pair's logits is multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub center_rewards_coefficient: Option<f64>,
    /// What `½(c² + r²)` of a pair's logits is multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_penalty: Option<f64>,
    /// Divide the logits by the temperature that fits the held-out pairs best, so that they are
    /// calibrated nats and a KL coefficient means the same beside every reward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_scaling: Option<bool>,
    /// Longest prompt and answer together, in tokens; longer pairs are left out and counted.
    pub max_length: usize,
    /// Share of the prompts whose pairs are kept for evaluation.
    pub eval_fraction: f64,
    /// Several models in one: the `[reward.ensemble]` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<EnsembleConfig>,
    /// Train adapters on a frozen model: the `[reward.lora]` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// What a reward model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// The initial policy's decoder with a `score` head, all of it trained, or adapters and head.
    Classifier,
    /// A small network on the initial policy's frozen embeddings of prompt and answer.
    EmbeddingMlp,
    /// A linear model on readable features of the answer's text, such as its length.
    Linear,
}

/// Several reward models, each learned from a draw of the prompts with replacement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleConfig {
    /// How many.
    pub num_members: usize,
    /// What becomes of their logits.
    pub aggregate: Aggregate,
    /// The `k` of `mean_minus_std`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std_coefficient: Option<f64>,
}

/// How the logits of an ensemble become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// The least of them: an answer is as good as the most doubtful member finds it.
    Min,
    /// Their mean less `k` times their standard deviation.
    MeanMinusStd,
}

impl EnsembleConfig {
    /// One logit of the members' logits, and their standard deviation (population, over the members).
    pub fn aggregate(&self, logits: &[f32]) -> (f32, f32) {
        let count = logits.len() as f64;
        let mean = logits.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let squares = logits.iter().map(|v| (f64::from(*v) - mean).powi(2));
        let std = (squares.sum::<f64>() / count).sqrt();
        let one = match self.aggregate {
            Aggregate::Mean => mean,
            Aggregate::Min => f64::from(logits.iter().copied().fold(f32::INFINITY, f32::min)),
            Aggregate::MeanMinusStd => mean - self.std_coefficient.unwrap_or_default() * std,
        };
        (one as f32, std as f32)
    }
}

impl RewardConfig {
    /// The objective with its constants.
    pub fn loss(&self) -> PairLoss {
        PairLoss {
            kind: self.objective,
            label_smoothing: self.label_smoothing,
            margin: self.margin.unwrap_or_default(),
            center_rewards_coefficient: self.center_rewards_coefficient.unwrap_or_default(),
            logit_penalty: self.logit_penalty.unwrap_or_default(),
        }
    }

    /// How many models are trained.
    pub fn members(&self) -> usize {
        self.ensemble.as_ref().map_or(1, |e| e.num_members)
    }

    /// Every value out of range or out of step with another: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = self.architecture_problems();
        let coefficient = |value: Option<f64>| value.is_none_or(|v| v >= 0.0 && v.is_finite());
        let rules = [
            (
                "label_smoothing",
                (0.0..0.5).contains(&self.label_smoothing),
                "in [0, 0.5)",
            ),
            (
                "label_smoothing",
                self.label_smoothing == 0.0 || self.objective.smooths(),
                "0 for an objective without labels to smooth: brier, hinge, kliep, lsif",
            ),
            ("margin", coefficient(self.margin), "0 or more"),
            (
                "margin",
                self.objective == ObjectiveKind::BradleyTerry || self.margin.is_none(),
                "left out but for objective = \"bradley_terry\"",
            ),
            (
                "center_rewards_coefficient",
                coefficient(self.center_rewards_coefficient),
                "0 or more",
            ),
            (
                "logit_penalty",
                coefficient(self.logit_penalty),
                "0 or more",
            ),
            ("max_length", self.max_length > 1, "2 or more"),
            (
                "eval_fraction",
                self.eval_fraction > 0.0 && self.eval_fraction < 1.0,
                "between 0 and 1",
            ),
        ];
        problems.extend(
            rules
                .into_iter()
                .filter(|rule| !rule.1)
                .map(|rule| (rule.0, rule.2)),
        );
        problems
    }

    fn architecture_problems(&self) -> Vec<(&'static str, &'static str)> {
        let classifier = self.architecture == Architecture::Classifier;
        let mlp = self.architecture == Architecture::EmbeddingMlp;
        let sizes = self.hidden_sizes.as_deref();
        let ensemble = self.ensemble.as_ref();
        let minus = |e: &EnsembleConfig| e.aggregate == Aggregate::MeanMinusStd;
        [
            (
                "hidden_sizes",
                mlp == sizes.is_some(),
                "given for architecture = \"embedding_mlp\", and for no other",
            ),
            (
                "hidden_sizes",
                sizes.is_none_or(|sizes| !sizes.is_empty() && !sizes.contains(&0)),
                "one width above 0 or more",
            ),
            (
                "lora",
                classifier || self.lora.is_none(),
                "left out but for architecture = \"classifier\"",
            ),
            (
                "objective",
                classifier || self.objective != ObjectiveKind::TokenCrossEntropy,
                "one on whole answers, which is all that this architecture reads",
            ),
            (
                "ensemble.num_members",
                ensemble.is_none_or(|e| e.num_members >= 2),
                "2 or more",
            ),
            (
                "ensemble.std_coefficient",
                ensemble.is_none_or(|e| minus(e) == e.std_coefficient.is_some()),
                "given for aggregate = \"mean_minus_std\", and for no other",
            ),
            (
                "ensemble.std_coefficient",
                ensemble
                    .is_none_or(|e| e.std_coefficient.is_none_or(|k| k >= 0.0 && k.is_finite())),
                "0 or more",
            ),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A classifier by cross-entropy, a fifth of the prompts held out.
    pub(crate) fn config() -> RewardConfig {
        RewardConfig {
            architecture: Architecture::Classifier,
            hidden_sizes: None,
            objective: ObjectiveKind::BinaryCrossEntropy,
            label_smoothing: 0.0,
            margin: None,
            center_rewards_coefficient: None,
            logit_penalty: None,
            temperature_scaling: None,
            max_length: 64,
            eval_fraction: 0.2,
            ensemble: None,
            lora: None,
        }
    }

    #[test]
    fn aggregates_on_paper() {
        let of = |aggregate, std_coefficient| EnsembleConfig {
            num_members: 4,
            aggregate,
            std_coefficient,
        };
        // Mean 2, deviations −3, −1, 1, 3: standard deviation √5.
        let logits = [-1.0, 1.0, 3.0, 5.0];
        let root = 5f32.sqrt();
        assert_eq!(of(Aggregate::Mean, None).aggregate(&logits), (2.0, root));
        assert_eq!(of(Aggregate::Min, None).aggregate(&logits), (-1.0, root));
        let (low, _) = of(Aggregate::MeanMinusStd, Some(2.0)).aggregate(&logits);
        assert!((low - (2.0 - 2.0 * root)).abs() < 1e-6, "{low}");
    }
}
