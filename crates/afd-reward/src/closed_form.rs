//! The reward that needs no training: the log-ratio of the fine-tuned policy and a reference.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{DialogueForm, TokenRow, Tokenizer, records::Sample};
use afd_model::CausalLm;
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    objective::sequence,
    score::{Rewards, write_scores},
};

/// A variant of the closed-form reward: a table of `[closed_form.variants]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedFormConfig {
    /// What becomes of an answer's tokens.
    pub reduction: Reduction,
    /// Each token's log-ratio is kept within ± this many nats: one token that the reference finds
    /// next to impossible does not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// The reference. Several are a mixture of these policies.
    pub references: Vec<Reference>,
}

/// A policy that the fine-tuned one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// By how far fine-tuning had come: 0 is the initial policy, 0.5 the policy half-way (which
    /// `sft.snapshots` must name).
    Share(f64),
    /// One that has a name.
    Named(NamedReference),
}

/// References with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedReference {
    /// The moving average of the policy's weights, which `sft.moving_average` asks for.
    MovingAverage,
}

impl Reference {
    /// The policy that fine-tuning began with.
    pub const INITIAL: Self = Self::Share(0.0);
}

/// What becomes of the log-ratios of an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum: the log-ratio of the answers' probabilities, which theory speaks of.
    Sum,
    /// Their mean, blind to length.
    Mean,
    /// Their sum, and each token's own beside it: a reward where it is earned.
    PerToken,
}

impl ClosedFormConfig {
    /// `log π_SFT(y|x) − log π_0(y|x)`, as the theory has it.
    pub fn plain() -> Self {
        Self {
            reduction: Reduction::Sum,
            clip: None,
            references: vec![Reference::INITIAL],
        }
    }

    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let share = |reference: &Reference| match reference {
            Reference::Share(share) => (0.0..1.0).contains(share),
            Reference::Named(_) => true,
        };
        [
            (
                "clip",
                self.clip.is_none_or(|clip| clip > 0.0 && clip.is_finite()),
                "above 0",
            ),
            (
                "references",
                !self.references.is_empty() && self.references.iter().all(share),
                "one or more shares of the fine-tuning, 0 or more and below 1, or \"moving_average\"",
            ),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .collect()
    }

    /// The rewards of an answer's tokens, whose log-probabilities by the policy and by each of the
    /// references are given.
    fn token_rewards(&self, policy: &[f32], references: &[&[f32]]) -> Vec<f64> {
        let limit = self.clip.unwrap_or(f64::INFINITY);
        let reference = mixture(references);
        let ratio = |(policy, reference): (&f32, f64)| f64::from(*policy) - reference;
        let ratios = policy.iter().zip(reference).map(ratio);
        ratios.map(|ratio| ratio.clamp(-limit, limit)).collect()
    }
}

/// Log-probability of each token by an even mixture of policies, one of which writes the whole
/// answer: `log Σ_k π_k(y_1…y_t) − log Σ_k π_k(y_1…y_(t−1))`.
///
/// The mixture learns, token by token, whose answer it is. It is a policy, so log-ratios to it are
/// log-ratios of distributions; a mean of the references' log-probabilities would not be.
fn mixture(references: &[&[f32]]) -> Vec<f64> {
    let mut prefixes = vec![0.0; references.len()];
    let mut before = log_mean_exp(&prefixes);
    let tokens = references.first().map_or(0, |reference| reference.len());
    let token = |t: usize| {
        for (prefix, reference) in prefixes.iter_mut().zip(references) {
            *prefix += f64::from(reference[t]);
        }
        let now = log_mean_exp(&prefixes);
        let token = now - before;
        before = now;
        token
    };
    (0..tokens).map(token).collect()
}

fn log_mean_exp(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - highest).exp()).sum();
    highest + (sum / values.len() as f64).ln()
}

/// Scores every stored answer of the fine-tuned policy with its log-ratio to the references, in
/// nats.
///
/// [`ClosedFormConfig::plain`] is the optimum of binary cross-entropy between the two policies'
/// answers (balanced classes, matched prompts): summed over the answer's tokens as they were
/// sampled, end token included, at temperature 1. Its mean over answers estimates KL(π_SFT ‖ π_0).
/// The policy's own log-probability is the one stored with the sample, so only the references run
/// here, one after the other.
///
/// # Errors
/// On unreadable inputs, an answer longer than the model's context, NaN.
pub fn run(
    config: &ClosedFormConfig,
    references: &[&Path],
    samples: &Path,
    batch_size: usize,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(references[0], form)?;
    let models = references.iter().map(|dir| CausalLm::load(dir, placement));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    write_scores(samples, ctx, |answers| {
        let rows = rows(&tokenizer, answers)?;
        let sequences: Vec<_> = rows.iter().map(sequence).collect();
        let by_model = models
            .iter()
            .map(|m| m.score_log_probs(&sequences, batch_size));
        let by_model = by_model.collect::<Result<Vec<_>, _>>()?;
        let rewards = answers.iter().enumerate().map(|(index, answer)| {
            let references: Vec<&[f32]> = by_model.iter().map(|all| &all[index][..]).collect();
            config.token_rewards(&answer.logprobs, &references)
        });
        let rewards: Vec<Vec<f64>> = rewards.collect();
        let score = |tokens: &Vec<f64>| match config.reduction {
            Reduction::Sum | Reduction::PerToken => tokens.iter().sum::<f64>() as f32,
            Reduction::Mean => (tokens.iter().sum::<f64>() / tokens.len() as f64) as f32,
        };
        let narrow = |tokens: &Vec<f64>| tokens.iter().map(|reward| *reward as f32).collect();
        Ok(Rewards {
            scores: rewards.iter().map(score).collect(),
            spread: Vec::new(),
            token_rewards: match config.reduction {
                Reduction::PerToken => rewards.iter().map(narrow).collect(),
                Reduction::Sum | Reduction::Mean => Vec::new(),
            },
            tokens: models.len() as u64 * rows.iter().map(|row| row.ids.len() as u64).sum::<u64>(),
        })
    })
}

fn rows(tokenizer: &Tokenizer, answers: &[Sample]) -> Result<Vec<TokenRow>, Error> {
    let row = |answer: &Sample| {
        let prompt = tokenizer.encode_prompt(&answer.prompt)?;
        Ok(TokenRow::from_sample(&prompt, &answer.completion_ids))
    };
    answers.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn one_reference_is_itself() {
        close(&mixture(&[&[-1.0, -2.0]]), &[-1.0, -2.0]);
    }

    #[test]
    fn a_mixture_learns_whose_answer_it_is() {
        // ½ and ¼ mix to 3/8; then ½·½ and ¼·¼ to 5/32, which is 5/12 of it.
        let (half, quarter) = (0.5f32.ln(), 0.25f32.ln());
        let found = mixture(&[&[half, half], &[quarter, quarter]]);
        close(&found, &[(3.0f64 / 8.0).ln(), (5.0f64 / 12.0).ln()]);
    }

    #[test]
    fn clipping_is_by_token() {
        let mut config = ClosedFormConfig::plain();
        let (policy, reference) = (&[-1.0, -1.0, -1.0], &[-4.0f32, -1.5, 0.0][..]);
        close(
            &config.token_rewards(policy, &[reference]),
            &[3.0, 0.5, -1.0],
        );
        config.clip = Some(0.75);
        close(
            &config.token_rewards(policy, &[reference]),
            &[0.75, 0.5, -0.75],
        );
    }
}
