//! Answers that a policy draws to learn from, and what is known of each.

use afd_data::{TokenRow, Tokenizer, records::Sample};
use afd_model::{CausalLm, Sequence};

use crate::{
    Error, SampleConfig,
    sample::{answer_all, requests},
};

/// An answer, and its prompt, as the policy wrote it.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The answer: text, ids, and log-probabilities as they were when it was drawn.
    pub sample: Sample,
    /// Prompt and answer in ids.
    pub row: TokenRow,
}

impl Rollout {
    /// The ids, for a model.
    pub fn sequence(&self) -> Sequence<'_> {
        Sequence {
            ids: &self.row.ids,
            prompt_len: self.row.prompt_len,
        }
    }

    /// Whether the answer ended by itself and was not cut by its length.
    pub fn ended(&self) -> bool {
        self.sample.finish_reason != "length"
    }

    /// Tokens of the answer, the end token included.
    pub fn tokens(&self) -> usize {
        self.sample.completion_ids.len()
    }
}

/// Draws `num_generations` answers to each prompt; those to one prompt stand together, in the order of
/// the prompts. An answer depends on the policy, (prompt, index, seed) and nothing else, but for the last
/// bits of its log-probabilities.
///
/// # Errors
/// When a prompt cannot be tokenised or does not fit the context, and those of
/// [`generate`](afd_model::generate).
pub fn draw(
    policy: &CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[&str],
    num_generations: usize,
    config: &SampleConfig,
    seed: u64,
) -> Result<Vec<Rollout>, Error> {
    let texts: Vec<String> = prompts.iter().map(|prompt| (*prompt).to_owned()).collect();
    let requests = requests(tokenizer, &texts, num_generations, seed)?;
    let by_prompt = answer_all(policy, None, tokenizer, prompts, &requests, config)?;
    let rollouts = by_prompt
        .into_iter()
        .zip(&requests)
        .flat_map(|(samples, request)| {
            samples.into_iter().map(|sample| Rollout {
                row: TokenRow::from_sample(&request.prompt_ids, &sample.completion_ids),
                sample,
            })
        });
    Ok(rollouts.collect())
}
