//! Answers drawn block by block, a reward choosing among a few ways to go on.

use afd_backend::Placement;
use afd_data::{Tokenizer, records::Sample};
use afd_model::{
    CausalLm, FinishReason, Generation, GenerationRequest, Portion, Scorer, Stop, generate, never,
};
use afd_stage::{StageContext, seed::derive};
use serde::{Deserialize, Serialize};

use super::{
    Part, SampleConfig, SampleInputs, Work,
    answer::{completion, find_stop, to_row},
    load,
};
use crate::Error;

/// How often a reward chooses, and among how many.
///
/// Source: blockwise Best-of-K, Mudgal et al., arXiv 2310.17022, section 3.2. Departure: what values a
/// block is a reward model's word on the answer as far as it goes, not a value model's on what is to
/// come; one that was learned from whole answers judges halves by their looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksConfig {
    /// Tokens that are drawn before the reward chooses. As many as an answer may have: Best-of-N.
    pub block_length: usize,
    /// Ways to go on that it chooses among; 1 leaves the policy as it is.
    pub num_candidates: usize,
}

impl BlocksConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        [
            ("block_length", self.block_length),
            ("num_candidates", self.num_candidates),
        ]
        .into_iter()
        .filter(|(_, value)| *value == 0)
        .map(|(key, _)| (key, "1 or more"))
        .collect()
    }
}

/// Draws answers to each prompt, as [`run`](super::run) does, by blocks that `scorer` chooses. Their
/// log-probabilities are the policy's; what they are under the choice is not known. Resumed and sharded as
/// there, one batch after the other.
///
/// # Errors
/// Those of [`run`](super::run), and whatever keeps `scorer` from reading an answer.
pub fn run_by_blocks(
    config: &SampleConfig,
    blocks: BlocksConfig,
    inputs: &SampleInputs<'_>,
    scorer: &dyn Scorer,
    part: Part<'_>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let work = Work::new(config, inputs, part.seed(ctx), false)?;
    work.draw(part, blocks.num_candidates, ctx, |left, finish| {
        let guided = ByBlocks {
            model: load(inputs.model, &work.tokenizer, placement)?.for_drawing(),
            tokenizer: &work.tokenizer,
            config,
            blocks,
            scorer,
        };
        for &batch in left {
            let plan = &work.plan[batch];
            finish(batch, guided.answers(&work.texts, &work.requests, plan)?)?;
        }
        Ok(())
    })
}

/// What all blocks are drawn with.
struct ByBlocks<'a> {
    model: CausalLm,
    tokenizer: &'a Tokenizer,
    config: &'a SampleConfig,
    blocks: BlocksConfig,
    scorer: &'a dyn Scorer,
}

/// An answer under way.
struct Draft<'a> {
    prompt: &'a str,
    index: usize,
    seed: u64,
    /// The prompt's ids and the answer's so far.
    ids: Vec<u32>,
    answer: Generation,
    done: bool,
}

impl ByBlocks<'_> {
    /// A part of the answers to `texts`, whose `requests` these are, portion by portion.
    fn answers(
        &self,
        texts: &[String],
        requests: &[GenerationRequest],
        part: &[Portion],
    ) -> Result<Vec<Vec<Sample>>, Error> {
        let drafts = part.iter().flat_map(|portion| {
            let request = &requests[portion.request];
            portion.answers.clone().map(move |index| Draft {
                prompt: &texts[portion.request],
                index,
                seed: request.seeds[index],
                ids: request.prompt_ids.clone(),
                answer: Generation {
                    ids: Vec::new(),
                    log_probs: Vec::new(),
                    sampler_log_probs: Vec::new(),
                    finish: FinishReason::Length,
                },
                done: false,
            })
        });
        let mut drafts: Vec<Draft<'_>> = drafts.collect();
        let at_once = (self.config.generation_batch_size / self.blocks.num_candidates).max(1);
        let mut block = 0;
        let mut left = self.config.max_completion_length;
        while left > 0 && drafts.iter().any(|draft| !draft.done) {
            let length = self.blocks.block_length.min(left);
            let mut open: Vec<&mut Draft<'_>> =
                drafts.iter_mut().filter(|draft| !draft.done).collect();
            for some in open.chunks_mut(at_once) {
                self.go_on(some, block, length)?;
            }
            block += 1;
            left -= length;
        }
        let mut rows = drafts.into_iter().map(|draft| {
            to_row(
                self.tokenizer,
                draft.prompt,
                draft.index,
                draft.answer,
                self.config,
            )
        });
        let portions = part.iter().map(|portion| portion.answers.len());
        portions
            .map(|count| rows.by_ref().take(count).collect())
            .collect()
    }

    /// Adds a block to each draft: the one after which the reward likes the answer best, the first of
    /// equals.
    fn go_on(&self, drafts: &mut [&mut Draft<'_>], block: u64, length: usize) -> Result<(), Error> {
        let count = self.blocks.num_candidates as u64;
        let requests: Vec<GenerationRequest> = drafts
            .iter()
            .map(|draft| GenerationRequest {
                prompt_ids: draft.ids.clone(),
                seeds: (0..count)
                    .map(|candidate| derive(draft.seed, "block", block * count + candidate))
                    .collect(),
            })
            .collect();
        let mut params = self.config.params();
        params.max_new_tokens = length;
        let stop = Stop {
            ids: self.tokenizer.eos_ids(),
            text: &never,
        };
        let asked: Vec<&GenerationRequest> = requests.iter().collect();
        let rows = self.config.generation_batch_size;
        let mut drawn = generate(&self.model, &asked, rows, &params, &stop)?;
        let mut texts = Vec::new();
        for (draft, candidates) in drafts.iter().zip(&mut drawn) {
            for candidate in candidates {
                self.stop(draft, candidate);
                let ids = [&draft.answer.ids[..], &candidate.ids].concat();
                texts.push(completion(self.tokenizer, &ids, self.config)?);
            }
        }
        let prompts = drafts
            .iter()
            .flat_map(|draft| vec![draft.prompt; count as usize]);
        let pairs: Vec<(&str, &str)> = prompts.zip(texts.iter().map(String::as_str)).collect();
        let scores = self.scorer.score(&pairs).map_err(Error::Scorer)?;
        let each = drafts
            .iter_mut()
            .zip(drawn)
            .zip(scores.chunks(count as usize));
        for ((draft, candidates), scores) in each {
            let mut best = 0;
            for (place, score) in scores.iter().enumerate() {
                if *score > scores[best] {
                    best = place;
                }
            }
            let Some(chosen) = candidates.into_iter().nth(best) else {
                continue;
            };
            draft.ids.extend(&chosen.ids);
            draft.answer.ids.extend(chosen.ids);
            draft.answer.log_probs.extend(&chosen.log_probs);
            draft.answer.sampler_log_probs.extend(&chosen.log_probs);
            if chosen.finish == FinishReason::Stop {
                draft.answer.finish = FinishReason::Stop;
                draft.done = true;
            }
        }
        Ok(())
    }

    /// Ends a way to go on where it first completes a stop string, as sampling in one go would have.
    fn stop(&self, draft: &Draft<'_>, candidate: &mut Generation) {
        let stops = &self.config.stop_strings;
        let ends = |length: &usize| {
            let ids = [&draft.answer.ids[..], &candidate.ids[..*length]].concat();
            find_stop(self.tokenizer, &ids, stops)
        };
        if let Some(length) = (1..=candidate.ids.len()).find(ends) {
            candidate.ids.truncate(length);
            candidate.log_probs.truncate(length);
            candidate.finish = FinishReason::Stop;
        }
    }
}
