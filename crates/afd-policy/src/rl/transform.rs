//! What becomes of a score before it is paid: which divergence or distribution the policy is led to.

use std::{collections::HashMap, path::Path};

use afd_data::records::{Scores, read_jsonl};
use serde::{Deserialize, Serialize};

use super::rollout::Rollout;
use crate::Error;

/// A function of the score `h` of a whole answer; without one `h` itself is paid.
///
/// Of a discriminator that tells demonstrations (label 1) from the policy's own answers in equal
/// numbers, `h = logit D` comes to `log d_β(y) − log π(y)`, and each reward descends a divergence
/// from the demonstrator: `h` itself the reverse KL `KL(π ‖ d_β)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardTransform {
    /// `−log(1 − D) = log(1 + exp h)`: the Jensen–Shannon divergence.
    ///
    /// Source: GAIL, Ho & Ermon, arXiv 1606.03476. Sign: as a reward, with demonstrations as label 1.
    Gail,
    /// `min(exp h, max)`: the forward KL `KL(d_β ‖ π)`, with the expected gradient of fine-tuning on
    /// demonstrations.
    ///
    /// Departure: `max` bounds what one answer may weigh; answers that the demonstrator prefers by
    /// more are learned too slowly.
    Ratio {
        /// The most that an answer is paid.
        max: f64,
    },
    /// `log (π_N(y) / π_ref(y))`, the log-ratio of the reference's Best-of-N to the reference. With a
    /// KL term of coefficient 1 to that reference the optimum is its Best-of-N: the backward KL
    /// `KL(π ‖ π_N)`.
    ///
    /// The coarser the fewer answers are stored: with as many as `n` the best is told from the second best, and
    /// no more.
    ///
    /// Formula: `(N−1)·log p≤ + log Σ_{i<N} (p< / p≤)^i`, where `p≤` and `p<` are the shares of the
    /// reference's answers to the prompt that score at most, and less than, this one.
    /// Source: BOND, Sessa et al., arXiv 2407.14622, eq. 4 and 10. Departures: the shares are of the
    /// stored answers and this one; ties are kept, where BOND leaves the second term out. Forward KL
    /// is [`Distil`](crate::offline::Distil).
    BestOfN {
        /// How many answers the best is of.
        n: usize,
    },
}

impl RewardTransform {
    /// Every value out of range: the key, and what it must be.
    pub(super) fn problem(self) -> Option<(&'static str, &'static str)> {
        let problem = |wrong: bool, key, rule| wrong.then_some((key, rule));
        match self {
            Self::Gail => None,
            Self::Ratio { max } => problem(
                !(max > 0.0 && max.is_finite()),
                "reward_transform.max",
                "above 0",
            ),
            Self::BestOfN { n } => problem(n < 2, "reward_transform.n", "2 or more"),
        }
    }

    /// What an answer with score `h` is paid; `pool` holds the scores of the reference's answers to its
    /// prompt, which only `best_of_n` looks at.
    pub fn of(self, h: f64, pool: &[f64]) -> f64 {
        match self {
            // log(1 + e^h), without overflow.
            Self::Gail => h.max(0.0) + (-h.abs()).exp().ln_1p(),
            Self::Ratio { max } => h.exp().min(max),
            Self::BestOfN { n } => {
                let count =
                    |which: &dyn Fn(f64) -> bool| pool.iter().filter(|s| which(**s)).count();
                // The answer itself is one of the reference's.
                let all = (pool.len() + 1) as f64;
                let below = count(&|score| score < h) as f64 / all;
                let at_most = (count(&|score| score <= h) + 1) as f64 / all;
                best_of_n_log_ratio(below, at_most, n)
            }
        }
    }
}

/// `log (π_N(y) / π(y))` in nats of an answer that a share `below` of a policy's answers scores less
/// than, and a share `at_most`, its own included, does not score more than.
pub fn best_of_n_log_ratio(below: f64, at_most: f64, n: usize) -> f64 {
    let ratio = below / at_most;
    let ties: f64 = (0..n as i32).map(|i| ratio.powi(i)).sum();
    (n as f64 - 1.0) * at_most.ln() + ties.ln()
}

/// The scores of a reference's stored answers, by prompt.
#[derive(Debug, Default)]
pub struct Pool(HashMap<String, Vec<f64>>);

impl Pool {
    /// Reads [`Scores`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let rows: Vec<Scores> = read_jsonl(path)?;
        let scores = |row: Scores| row.scores.into_iter().map(f64::from).collect();
        Ok(Self(
            rows.into_iter()
                .map(|row| (row.prompt.clone(), scores(row)))
                .collect(),
        ))
    }

    /// Whether there are scores of answers to a prompt.
    pub(super) fn holds(&self, prompt: &str) -> bool {
        self.0.contains_key(prompt)
    }

    fn to(&self, prompt: &str) -> &[f64] {
        self.0.get(prompt).map_or(&[], Vec::as_slice)
    }
}

/// Puts what `transform` makes of each answer's score in that score's place, the last token.
pub(super) fn apply(
    transform: RewardTransform,
    pool: &Pool,
    rollouts: &[Rollout],
    rewards: &mut [Vec<f64>],
) {
    for (rollout, tokens) in rollouts.iter().zip(rewards) {
        if let Some(last) = tokens.last_mut() {
            *last = transform.of(*last, pool.to(&rollout.sample.prompt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_on_paper() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        near(RewardTransform::Gail.of(0.0, &[]), 2f64.ln());
        near(RewardTransform::Gail.of(800.0, &[]), 800.0);
        near(RewardTransform::Gail.of(-800.0, &[]), 0.0);
        let ratio = RewardTransform::Ratio { max: 5.0 };
        near(ratio.of(2f64.ln(), &[]), 2.0);
        near(ratio.of(3.0, &[]), 5.0);
        // Third of four, nobody level: p≤ = 3/4, p< = 2/4. The best of 2 is one with p≤² − p<² = 5/16,
        // against 1/4 for one.
        let best = RewardTransform::BestOfN { n: 2 };
        near(best.of(3.0, &[1.0, 2.0, 4.0]), (5.0 / 16.0 / 0.25f64).ln());
        // Level with all: choosing changes nothing.
        near(best.of(1.0, &[1.0, 1.0, 1.0]), 0.0);
    }
}
