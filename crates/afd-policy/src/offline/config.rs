//! How a policy is learned from stored answers.

use afd_model::LoraConfig;
use serde::{Deserialize, Serialize};

/// A table of the policy stage, next to the keys of [`afd_train::TrainConfig`].
///
/// An example of a batch is an answer for `sft`, `distil` and `kto`, and a prompt with all its pairs
/// for `dpo` and `spin`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfflineConfig {
    /// What is minimised, with its constants.
    pub objective: Method,
    /// Share of the prompts whose answers are kept for evaluation.
    pub eval_fraction: f64,
    /// Train adapters on a frozen model; without it, every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// More of the fine-tuning that the policy comes from: the negative log-likelihood of
    /// demonstrations. What is gained by learning longer, and by nothing else.
    Sft,
    /// [`Distil`](super::Distil): Best-of-N into weights.
    Distil {
        /// Each answer counts with its probability of being the best of this many. The number of
        /// stored answers to a prompt gives RAFT, which learns the winners.
        n: usize,
    },
    /// [`Dpo`](super::Dpo): pairs of answers labelled by the reward.
    Dpo {
        /// Strength of the KL to the reference.
        beta: f64,
        /// Share of each label given to the other side; it gives hard labels a finite optimum.
        label_smoothing: f64,
        /// How pairs come about.
        labels: Labels,
        /// So many pairs of each prompt, drawn from all; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pairs_per_prompt: Option<usize>,
    },
    /// [`Kto`](super::Kto): answers above and below their prompt's mean reward.
    Kto {
        /// How fast the value of an answer saturates.
        beta: f64,
        /// What the losses of answers above the mean are multiplied by.
        desirable_weight: f64,
        /// What the losses of answers below the mean are multiplied by.
        undesirable_weight: f64,
    },
    /// [`spin`](super::spin): demonstrations preferred to the policy's own answers.
    Spin {
        /// Strength of the KL to the reference, which is the iterate before.
        beta: f64,
        /// So many pairs of each prompt, drawn from all; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pairs_per_prompt: Option<usize>,
    },
}

/// How answers to a prompt become pairs of a preferred and another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Every pair of answers, the first preferred with probability `σ(r₁ − r₂)`: the rewards are
    /// taken for nats.
    Sampled,
    /// The best answer preferred to the worst, for certain.
    BestWorst,
}

impl Method {
    /// What summaries call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Distil { .. } => "distil",
            Self::Dpo { .. } => "dpo",
            Self::Kto { .. } => "kto",
            Self::Spin { .. } => "spin",
        }
    }
}

impl OfflineConfig {
    /// Every value out of range or out of step with another: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let weight = |value: f64| value >= 0.0 && value.is_finite();
        let beta = |beta| ("objective.beta", positive(beta), "above 0");
        let pairs = |pairs: Option<usize>| {
            let fits = pairs != Some(0);
            ("objective.pairs_per_prompt", fits, "1 or more")
        };
        let mut rules = vec![(
            "eval_fraction",
            self.eval_fraction > 0.0 && self.eval_fraction < 1.0,
            "between 0 and 1",
        )];
        match self.objective {
            Method::Sft => {}
            Method::Distil { n } => rules.push(("objective.n", n >= 2, "2 or more")),
            Method::Dpo {
                beta: b,
                label_smoothing,
                labels,
                pairs_per_prompt,
            } => rules.extend([
                beta(b),
                (
                    "objective.label_smoothing",
                    (0.0..0.5).contains(&label_smoothing),
                    "in [0, 0.5)",
                ),
                pairs(pairs_per_prompt),
                (
                    "objective.pairs_per_prompt",
                    labels == Labels::Sampled || pairs_per_prompt.is_none(),
                    "left out for labels = \"best_worst\", which has one pair a prompt",
                ),
            ]),
            Method::Kto {
                beta: b,
                desirable_weight: desirable,
                undesirable_weight: undesirable,
            } => rules.extend([
                beta(b),
                ("objective.desirable_weight", weight(desirable), "0 or more"),
                (
                    "objective.undesirable_weight",
                    weight(undesirable),
                    "0 or more",
                ),
                (
                    "objective.desirable_weight",
                    desirable != 0.0 || undesirable != 0.0,
                    "above 0 where objective.undesirable_weight is 0",
                ),
            ]),
            Method::Spin {
                beta: b,
                pairs_per_prompt,
            } => rules.extend([beta(b), pairs(pairs_per_prompt)]),
        }
        rules
            .into_iter()
            .filter(|rule| !rule.1)
            .map(|rule| (rule.0, rule.2))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(objective: Method) -> OfflineConfig {
        OfflineConfig {
            objective,
            eval_fraction: 0.1,
            lora: None,
        }
    }

    #[test]
    fn all_problems_are_told_together() {
        let config = OfflineConfig {
            eval_fraction: 0.0,
            ..of(Method::Dpo {
                beta: 0.0,
                label_smoothing: 0.5,
                labels: Labels::BestWorst,
                pairs_per_prompt: Some(3),
            })
        };
        let keys: Vec<_> = config.problems().into_iter().map(|(key, _)| key).collect();
        let expected = [
            "eval_fraction",
            "objective.beta",
            "objective.label_smoothing",
            "objective.pairs_per_prompt",
        ];
        assert_eq!(keys, expected);
        assert_eq!(of(Method::Distil { n: 1 }).problems().len(), 1);
        let kto = |desirable_weight, undesirable_weight| Method::Kto {
            beta: 0.1,
            desirable_weight,
            undesirable_weight,
        };
        assert!(of(kto(0.0, 1.0)).problems().is_empty());
        assert_eq!(of(kto(0.0, 0.0)).problems().len(), 1);
    }

    #[test]
    fn a_method_is_a_table_with_its_own_keys() {
        let spin: Method = serde_json::from_str(r#"{"method": "spin", "beta": 0.1}"#).unwrap();
        assert_eq!(spin.name(), "spin");
        let json = r#"{"method": "dpo", "beta": 0.1, "label_smoothing": 0.0, "labels": "sampled"}"#;
        let dpo: Method = serde_json::from_str(json).unwrap();
        assert!(matches!(
            dpo,
            Method::Dpo {
                pairs_per_prompt: None,
                ..
            }
        ));
        let error = serde_json::from_str::<Method>(r#"{"method": "spin", "beta": 1, "n": 2}"#);
        assert!(error.unwrap_err().to_string().contains("`n`"));
    }
}
