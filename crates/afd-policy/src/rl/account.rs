//! The account of a batch of answers: reward, KL divergence, entropy, length, under the names people know.

use std::collections::HashSet;

use afd_stats::mean;

use super::rollout::Rollout;

/// Half the mean square of what log-probabilities of tokens have moved by since they were drawn, in nats.
pub const APPROX_KL: &str = "policy/approxkl_avg";
/// Share of tokens whose ratio is clipped.
pub const CLIP_FRAC: &str = "policy/clipfrac_avg";
/// Mean probability ratio; 1 at the first step on a batch.
pub const RATIO: &str = "val/ratio";

/// What is known of a batch of answers before anything is learned from them: means over answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Account {
    /// `log π − log ref` of the answer, in nats: estimates `KL(π ‖ ref)`.
    pub kl: f64,
    /// `−log π` of the answer, in nats.
    pub entropy: f64,
    /// The same over all tokens, in nats a token.
    pub token_entropy: f64,
    /// The reward, without the KL term and the penalty.
    pub score: f64,
    /// Tokens of an answer, the end token included.
    pub length: f64,
    /// Share of answers that ended by themselves.
    pub eos_rate: f64,
    /// Share of three-token sequences that their answer has had before.
    pub repetition: f64,
    /// The largest difference between the sampler's and the trainer's log-probability of a token.
    pub gap: f64,
}

impl Account {
    /// The account of `rollouts`: `old` and `reference` are log-probabilities of their tokens by the
    /// policy, as training computes them, and by the reference; `rewards` what each token earned.
    pub fn of(
        rollouts: &[Rollout],
        old: &[Vec<f32>],
        reference: &[Vec<f32>],
        rewards: &[Vec<f64>],
    ) -> Self {
        let sum = |tokens: &Vec<f32>| tokens.iter().copied().map(f64::from).sum::<f64>();
        let log_probs: Vec<f64> = old.iter().map(sum).collect();
        let pairs = log_probs.iter().zip(reference);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own - sum(other)).collect();
        let scores: Vec<f64> = rewards.iter().map(|tokens| tokens.iter().sum()).collect();
        let of_rollouts = |value: &dyn Fn(&Rollout) -> f64| {
            mean(&rollouts.iter().map(value).collect::<Vec<f64>>())
        };
        let length = of_rollouts(&|rollout| rollout.tokens() as f64);
        let entropy = -mean(&log_probs);
        let drawn = rollouts.iter().flat_map(|rollout| &rollout.sample.logprobs);
        let apart = drawn.zip(old.iter().flatten());
        Self {
            kl: mean(&ratios),
            entropy,
            token_entropy: entropy / length,
            score: mean(&scores),
            length,
            eos_rate: of_rollouts(&|rollout| f64::from(u8::from(rollout.ended()))),
            repetition: of_rollouts(&|rollout| repetition(&rollout.sample.completion_ids)),
            gap: apart.fold(0.0, |most, (a, b)| f64::max(most, f64::from((a - b).abs()))),
        }
    }

    /// The figures by name, as they are logged.
    pub fn metrics(&self, beta: f64) -> Vec<(&'static str, f64)> {
        vec![
            ("objective/kl", self.kl),
            ("objective/entropy", self.entropy),
            ("objective/scores", self.score),
            ("objective/rlhf_reward", self.score - beta * self.kl),
            ("objective/non_score_reward", -beta * self.kl),
            ("objective/beta", beta),
            ("completions/mean_length", self.length),
            ("completions/repetition", self.repetition),
            ("val/eos_rate", self.eos_rate),
            ("sampling/logp_difference_max", self.gap),
        ]
    }
}

/// Share of an answer's three-token sequences that it has had before; 0 of a short one.
fn repetition(ids: &[u32]) -> f64 {
    let all = ids.windows(3).count();
    let different: HashSet<&[u32]> = ids.windows(3).collect();
    match all {
        0 => 0.0,
        _ => 1.0 - different.len() as f64 / all as f64,
    }
}

#[cfg(test)]
mod tests {
    use afd_data::{TokenRow, records::Sample};

    use super::*;

    fn rollout(ids: &[u32], logprobs: &[f32], finish_reason: &str) -> Rollout {
        Rollout {
            row: TokenRow::from_sample(&[9], ids),
            sample: Sample {
                prompt: "p".into(),
                index: 0,
                completion: String::new(),
                completion_ids: ids.to_vec(),
                logprobs: logprobs.to_vec(),
                sampler_logprobs: None,
                finish_reason: finish_reason.into(),
            },
        }
    }

    #[test]
    fn on_paper() {
        let rollouts = [
            rollout(&[1, 0], &[-1.0, -2.0], "stop"),
            rollout(&[2, 2], &[-0.5, -0.5], "length"),
        ];
        let old = [vec![-1.0, -2.0], vec![-0.5, -0.25]];
        let reference = [vec![-1.5, -2.5], vec![-0.75, -1.0]];
        let account = Account::of(
            &rollouts,
            &old,
            &reference,
            &[vec![0.0, 2.0], vec![0.0, 4.0]],
        );
        let expected = Account {
            kl: 1.0,
            entropy: 1.875,
            token_entropy: 0.9375,
            score: 3.0,
            length: 2.0,
            eos_rate: 0.5,
            repetition: 0.0,
            gap: 0.25,
        };
        assert_eq!(account, expected);
        let metrics = account.metrics(0.1);
        assert!(metrics.contains(&("objective/rlhf_reward", 2.9)));
    }

    #[test]
    fn what_is_said_again_is_counted() {
        assert_eq!(repetition(&[1, 2]), 0.0);
        assert_eq!(repetition(&[1, 2, 3, 4]), 0.0);
        // 1 2 1, 2 1 2, 1 2 1, 2 1 2.
        assert_eq!(repetition(&[1, 2, 1, 2, 1, 2]), 0.5);
    }
}
