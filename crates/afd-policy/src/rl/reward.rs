//! What an answer is worth to a policy that learns: a scorer's word on the whole, or a log-ratio token
//! by token.

use afd_model::{CausalLm, Scorer, Sequence};

use super::rollout::Rollout;
use crate::Error;

/// Where rewards come from. All are in the unit of their source: logits, or nats.
pub enum Reward<'a> {
    /// A score of the whole answer, paid at its last token.
    Answers(&'a dyn Scorer),
    /// `log p₊(a_t|s_t) − log p₋(a_t|s_t)` in nats, paid at each token: the closed-form reward, which
    /// sums to the log-ratio of the answers.
    LogRatio {
        /// The policy that is to be outdone.
        positive: Box<CausalLm>,
        /// What it came from.
        negative: Box<CausalLm>,
        /// Each token's is kept within ± this many nats.
        clip: Option<f64>,
    },
}

impl Reward<'_> {
    /// The reward of each token of each answer.
    ///
    /// # Errors
    /// Whatever keeps the source from reading an answer, and an answer that it finds worth NaN.
    pub fn of(&self, rollouts: &[Rollout], batch_size: usize) -> Result<Vec<Vec<f64>>, Error> {
        let rewards = match self {
            Self::Answers(scorer) => {
                let scores = score(*scorer, rollouts)?;
                let paid = rollouts.iter().zip(scores).map(|(rollout, score)| {
                    let mut tokens = vec![0.0; rollout.tokens()];
                    if let Some(last) = tokens.last_mut() {
                        *last = score;
                    }
                    tokens
                });
                paid.collect()
            }
            Self::LogRatio {
                positive,
                negative,
                clip,
            } => {
                let sequences: Vec<Sequence<'_>> = rollouts.iter().map(Rollout::sequence).collect();
                let above = positive.score_log_probs(&sequences, batch_size)?;
                let below = negative.score_log_probs(&sequences, batch_size)?;
                let limit = clip.unwrap_or(f64::INFINITY);
                let ratio =
                    |(p, q): (&f32, &f32)| (f64::from(*p) - f64::from(*q)).clamp(-limit, limit);
                let pairs = above.iter().zip(&below);
                let ratios = pairs.map(|(p, q)| p.iter().zip(q).map(ratio).collect());
                ratios.collect::<Vec<Vec<f64>>>()
            }
        };
        match rewards
            .iter()
            .flatten()
            .all(|reward: &f64| reward.is_finite())
        {
            true => Ok(rewards),
            false => Err(Error::RewardNotFinite),
        }
    }
}

/// A scorer's word on each answer.
///
/// # Errors
/// Whatever keeps it from reading one.
pub fn score(scorer: &dyn Scorer, rollouts: &[Rollout]) -> Result<Vec<f64>, Error> {
    let texts: Vec<(&str, &str)> = rollouts
        .iter()
        .map(|rollout| {
            let sample = &rollout.sample;
            (sample.prompt.as_str(), sample.completion.as_str())
        })
        .collect();
    scorer.score(&texts).map_err(Error::Scorer)
}
