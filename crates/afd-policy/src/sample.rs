//! Answers of a policy to prompts, stored with their log-probabilities.
//!
//! An answer depends on (prompt, index, seed) alone. A kill does not show at all; another
//! batch size shows in the last bits of log-probabilities, because matrix kernels add in
//! another order.

mod answer;
mod blocks;
mod partial;
mod shard;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use afd_backend::{Placement, device::workers, workers::for_each};
use afd_data::{
    DialogueForm, Tokenizer,
    records::{Example, JsonlWriter, Sample, Scores, read_jsonl},
};
use afd_model::{
    CausalLm, DecoderConfig, GenerationRequest, Guide, Portion, SamplingParams, by_request,
    plan_batches,
};
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::Error;

use answer::{PARTS, answer_part};
pub use answer::{answer_all, load, load_other, parts, requests};
pub use blocks::{BlocksConfig, run_by_blocks};
use partial::{FinishedBatch, append, resume};
pub use shard::Shard;

/// How answers are drawn: the `[sample]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Logits are divided by it; 1 is the policy itself.
    pub temperature: f64,
    /// Keep the `top_k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens up to this mass; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f64,
    /// Makes seen tokens less likely; 1 is off.
    pub repetition_penalty: f64,
    /// Longest answer, in tokens.
    pub max_completion_length: usize,
    /// Texts that end an answer; they are cut off it.
    pub stop_strings: Vec<String>,
    /// Answers drawn at a time by each thread; when one ends, the next begins in its place.
    pub generation_batch_size: usize,
}

impl SampleConfig {
    /// # Errors
    /// The first key out of range.
    pub fn check(&self) -> Result<(), afd_model::Error> {
        if self.stop_strings.iter().any(String::is_empty) {
            return Err(afd_model::Error::Sampling {
                key: "stop_strings",
                found: "an empty text".into(),
                expected: "texts of at least one character",
            });
        }
        self.params().check()
    }

    /// The model crate's view of these settings.
    pub fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            max_new_tokens: self.max_completion_length,
        }
    }
}

/// The file of [`Sample`] rows in the stage's directory, by prompt, then index.
pub const SAMPLES: &str = "samples.jsonl";

/// The file in a shard's directory: its batches as [`run`] takes them up.
pub const BATCHES: &str = "batches.jsonl";

/// Finished batches of an unfinished stage.
const PARTIAL: &str = "samples.partial.jsonl";

/// Who answers what.
#[derive(Debug, Clone, Copy)]
pub struct SampleInputs<'a> {
    /// The policy, a Hugging Face directory with tokenizer.
    pub model: &'a Path,
    /// A policy of the same vocabulary that it is led away from, and the strength: see [`Guide`].
    /// `None`: it is left alone.
    pub away_from: Option<(&'a Path, f64)>,
    /// [`Example`] rows; each distinct prompt is answered.
    pub prompts: &'a Path,
    /// Answers to each.
    pub num_generations: usize,
    /// How dialogues are written.
    pub form: DialogueForm,
}

/// How much of the answers a stage draws.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// All of them, into [`SAMPLES`]; the batches in these files, [`BATCHES`] of shards, are taken as they are.
    Whole(&'a [PathBuf]),
    /// The batches of a shard, into [`BATCHES`], for a whole whose stage has this seed.
    Shard(Shard, u64),
}

impl Part<'_> {
    fn seed(self, ctx: &StageContext) -> u64 {
        match self {
            Self::Whole(_) => ctx.seed(),
            Self::Shard(_, seed) => seed,
        }
    }
}

/// Draws answers to each prompt.
///
/// Resumes at the first unfinished batch. Batches are planned over all prompts, so a resumed or
/// sharded run draws every answer in the company it would have had anyway.
///
/// # Errors
/// On unreadable inputs, a prompt that does not fit the context, policies that do not go together,
/// a shard of something else.
pub fn run(
    config: &SampleConfig,
    inputs: &SampleInputs<'_>,
    part: Part<'_>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let work = Work::new(config, inputs, part.seed(ctx), true)?;
    work.draw(part, 1, ctx, |left, finish| {
        let policies = work.policies(placement)?;
        let states = vec![policies; workers(&placement.device).min(left.len())];
        let answers = |policies: &Policies, index: usize| work.answers(policies, left[index]);
        for_each(states, left.len(), answers, |index, answers| {
            finish(left[index], answers)
        })
    })
}

/// Takes the answers of a batch, portion by portion.
type Finish<'a> = &'a mut (dyn FnMut(usize, Vec<Vec<Sample>>) -> Result<(), Error> + Send);

/// All there is to draw, and in which batches.
struct Work<'a> {
    config: &'a SampleConfig,
    inputs: &'a SampleInputs<'a>,
    tokenizer: Tokenizer,
    texts: Vec<String>,
    requests: Vec<GenerationRequest>,
    plan: Vec<Vec<Portion>>,
}

/// A policy and what it is led away from.
#[derive(Clone)]
struct Policies {
    model: CausalLm,
    away_from: Option<(CausalLm, f64)>,
}

impl<'a> Work<'a> {
    /// `joins`: whether answers that wait join a batch, so that batches may have more answers than are
    /// drawn at a time.
    fn new(
        config: &'a SampleConfig,
        inputs: &'a SampleInputs<'a>,
        seed: u64,
        joins: bool,
    ) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
        let texts = distinct_prompts(inputs.prompts)?;
        let requests = requests(&tokenizer, &texts, inputs.num_generations, seed)?;
        for model in [Some(inputs.model), inputs.away_from.map(|(dir, _)| dir)] {
            let shape = model.map(DecoderConfig::load).transpose()?;
            if let Some((shape, _)) = shape {
                check_lengths(&shape, &requests, config, inputs.prompts)?;
            }
        }
        let rows = config.generation_batch_size;
        let parts = match joins {
            true => PARTS,
            false => (texts.len() * inputs.num_generations).div_ceil(rows.max(1)),
        };
        let plan = plan_batches(&requests, rows, parts);
        Ok(Self {
            config,
            inputs,
            tokenizer,
            texts,
            requests,
            plan,
        })
    }

    fn policies(&self, placement: &Placement) -> Result<Policies, Error> {
        let away_from = match self.inputs.away_from {
            None => None,
            Some((dir, strength)) => {
                let ours = (self.inputs.model, &self.tokenizer);
                Some((load_other(ours, dir, placement)?.for_drawing(), strength))
            }
        };
        Ok(Policies {
            model: load(self.inputs.model, &self.tokenizer, placement)?.for_drawing(),
            away_from,
        })
    }

    /// Has `draw` draw those batches of `part` that are still to be drawn, keeps each as it is finished, and
    /// leaves the file of that part. For each token of an answer
    /// so `many` are drawn.
    fn draw(
        &self,
        part: Part<'_>,
        many: usize,
        ctx: &StageContext,
        draw: impl FnOnce(&[usize], Finish<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let partial = ctx.dir().join(PARTIAL);
        let (mut file, mut finished) = resume(&partial, self.plan.len())?;
        let wanted = |batch: &usize| match part {
            Part::Whole(_) => true,
            Part::Shard(shard, _) => shard.holds(*batch),
        };
        if let Part::Whole(shards) = part {
            for shard in shards {
                self.take_up(shard, &mut finished)?;
            }
        }
        let answers = |portion: &Portion| portion.answers.len() as u64;
        let answers = |batch: usize| self.plan[batch].iter().map(answers).sum::<u64>();
        let ours: Vec<usize> = (0..self.plan.len()).filter(wanted).collect();
        let left: Vec<usize> = ours
            .iter()
            .copied()
            .filter(|&batch| finished[batch].is_none())
            .collect();
        let total = ours.into_iter().map(answers).sum();
        let mut done = total - left.iter().copied().map(answers).sum::<u64>();
        let mut finish = |batch: usize, drawn: Vec<Vec<Sample>>| {
            let tokens = drawn.iter().flatten().map(|row| row.completion_ids.len());
            let tokens = tokens.sum::<usize>() * many;
            done += answers(batch);
            let row = FinishedBatch {
                batch,
                answers: drawn,
            };
            append(&mut file, &partial, &row)?;
            finished[batch] = Some(row);
            ctx.add_tokens(tokens as u64);
            ctx.progress(done, total, "answer", "");
            Ok(())
        };
        if !left.is_empty() {
            draw(&left, &mut finish)?;
        }
        match part {
            Part::Whole(_) => self.write(finished, &partial, ctx),
            Part::Shard(..) => {
                let place = ctx.dir().join(BATCHES);
                std::fs::rename(&partial, &place).map_err(|source| Error::Write {
                    path: place,
                    source,
                })
            }
        }
    }

    /// Writes all answers in the order of the prompts, and removes the file `partial`.
    fn write(
        &self,
        finished: Vec<Option<FinishedBatch>>,
        partial: &Path,
        ctx: &StageContext,
    ) -> Result<(), Error> {
        let drawn = finished.into_iter().flatten().map(|batch| batch.answers);
        let by_prompt = by_request(&self.plan, drawn, self.texts.len());
        let mut writer = JsonlWriter::create(&ctx.dir().join(SAMPLES))?;
        for sample in by_prompt.iter().flatten() {
            writer.write(sample)?;
        }
        writer.finish()?;
        std::fs::remove_file(partial).map_err(|source| Error::Write {
            path: partial.to_path_buf(),
            source,
        })
    }

    /// The answers of one batch, portion by portion.
    fn answers(&self, policies: &Policies, batch: usize) -> Result<Vec<Vec<Sample>>, Error> {
        let guide = policies.away_from.as_ref().map(|(model, strength)| Guide {
            away_from: model,
            strength: *strength,
        });
        answer_part(
            &policies.model,
            guide,
            &self.tokenizer,
            &self.texts,
            &self.requests,
            &self.plan[batch],
            self.config,
        )
    }

    /// Adds the batches of a shard's file.
    fn take_up(&self, shard: &Path, finished: &mut [Option<FinishedBatch>]) -> Result<(), Error> {
        for row in read_jsonl::<FinishedBatch>(shard)? {
            let answers = |(answers, portion): (&Vec<Sample>, &Portion)| {
                let prompt = &self.texts[portion.request];
                let is_here = |(row, index): (&Sample, usize)| {
                    row.prompt == *prompt && row.index as usize == index
                };
                answers.len() == portion.answers.len()
                    && answers.iter().zip(portion.answers.clone()).all(is_here)
            };
            let plan = self.plan.get(row.batch);
            let ours = plan.is_some_and(|plan| {
                plan.len() == row.answers.len() && row.answers.iter().zip(plan).all(answers)
            });
            if !ours {
                return Err(Error::OtherShard {
                    path: shard.into(),
                    batch: row.batch,
                });
            }
            let batch = row.batch;
            finished[batch].get_or_insert(row);
        }
        Ok(())
    }
}

pub(crate) fn distinct_prompts(path: &Path) -> Result<Vec<String>, Error> {
    let mut seen = BTreeSet::new();
    let prompts: Vec<String> = read_jsonl::<Example>(path)?
        .into_iter()
        .map(|example| example.prompt)
        .filter(|prompt| seen.insert(prompt.clone()))
        .collect();
    if prompts.is_empty() {
        return Err(Error::NoPrompts { path: path.into() });
    }
    Ok(prompts)
}

fn check_lengths(
    shape: &DecoderConfig,
    requests: &[GenerationRequest],
    config: &SampleConfig,
    path: &Path,
) -> Result<(), Error> {
    let (new, context) = (config.max_completion_length, shape.context());
    let too_long = |(_, request): &(usize, &GenerationRequest)| {
        request.prompt_ids.len().saturating_add(new) > context
    };
    match requests.iter().enumerate().find(too_long) {
        Some((index, request)) => Err(Error::PromptTooLong {
            path: path.into(),
            number: index + 1,
            tokens: request.prompt_ids.len(),
            new,
            context,
        }),
        None => Ok(()),
    }
}

/// Writes `log q − log π` of each stored answer into `file`, in nats, as [`Scores`] rows: `q` is what it
/// was drawn from, `π` the model itself. The mean estimates `KL(q ‖ π)`, at no further cost.
///
/// # Errors
/// When the samples cannot be read or the file not be written.
pub fn log_ratios(samples: &Path, file: &str, ctx: &StageContext) -> Result<(), Error> {
    let samples: Vec<Sample> = read_jsonl(samples)?;
    let mut writer = JsonlWriter::create(&ctx.dir().join(file))?;
    for answers in samples.chunk_by(|_, next| next.index != 0) {
        let sum = |tokens: &[f32]| tokens.iter().copied().map(f64::from).sum::<f64>();
        let ratio = |answer: &Sample| sum(answer.sampler_logprobs()) - sum(&answer.logprobs);
        writer.write(&Scores {
            prompt: answers[0].prompt.clone(),
            scores: answers.iter().map(|answer| ratio(answer) as f32).collect(),
            spread: Vec::new(),
            tokens: Vec::new(),
        })?;
    }
    writer.finish()?;
    Ok(())
}
