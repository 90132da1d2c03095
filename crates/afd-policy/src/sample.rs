//! Answers of a policy to prompts, stored with their log-probabilities.
//!
//! An answer depends on (prompt, index, seed) alone. A kill does not show at all; another
//! batch size shows in the last bits of log-probabilities, because matrix kernels add in
//! another order.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use afd_backend::{Placement, device::workers, workers::for_each};
use afd_data::{
    DialogueForm, Tokenizer,
    records::{Example, JsonlWriter, Sample, read_jsonl},
};
use afd_model::{
    CausalLm, FinishReason, Generation, GenerationRequest, SamplingParams, Stop, generate,
    plan_batches,
};
use afd_stage::{StageContext, seed::derive};
use serde::{Deserialize, Serialize};

use crate::Error;

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
    /// Answers drawn at a time.
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

/// Finished batches of an unfinished stage, one JSON line each.
const PARTIAL: &str = "samples.partial.jsonl";

#[derive(Serialize, Deserialize)]
struct FinishedBatch {
    batch: usize,
    answers: Vec<Vec<Sample>>,
}

/// Draws `num_generations` answers to each distinct prompt of `prompts` ([`Example`] rows), which
/// are written in `form`.
///
/// Resumes at the first unfinished batch. Batches are planned over all prompts, so a
/// resumed run draws every answer in the company it would have had anyway.
///
/// # Errors
/// On unreadable inputs, a prompt that does not fit the context, a damaged checkpoint.
pub fn run(
    config: &SampleConfig,
    num_generations: usize,
    model: &Path,
    prompts: &Path,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(model, form)?;
    let model = load(model, &tokenizer, placement)?;
    let texts = distinct_prompts(prompts)?;
    let requests = requests(&tokenizer, &texts, num_generations, ctx.seed())?;
    check_lengths(&model, &requests, config, prompts)?;

    let plan = plan_batches(&requests, config.generation_batch_size);
    let partial = ctx.dir().join(PARTIAL);
    let (mut file, mut finished) = resume(&partial, plan.len())?;
    let total = texts.len() as u64;
    let mut done: u64 = finished
        .iter()
        .flatten()
        .map(|batch| batch.answers.len() as u64)
        .sum();
    let left: Vec<usize> = (0..plan.len()).filter(|&i| finished[i].is_none()).collect();
    let states = vec![model; workers(&placement.device).min(left.len()).max(1)];
    let work = |model: &CausalLm, index: usize| {
        let batch = &plan[left[index]];
        let texts: Vec<&str> = batch.iter().map(|&i| texts[i].as_str()).collect();
        let requests: Vec<&GenerationRequest> = batch.iter().map(|&i| &requests[i]).collect();
        answer(model, &tokenizer, &texts, &requests, config)
    };
    for_each(
        states,
        left.len(),
        work,
        |index, answers: Vec<Vec<Sample>>| {
            let batch = left[index];
            let samples = answers.iter().flatten();
            let tokens: usize = samples.map(|sample| sample.completion_ids.len()).sum();
            done += answers.len() as u64;
            let row = FinishedBatch { batch, answers };
            append(&mut file, &partial, &row)?;
            finished[batch] = Some(row);
            ctx.add_tokens(tokens as u64);
            ctx.progress(done, total, "prompt", "");
            Ok::<(), Error>(())
        },
    )?;

    let mut by_prompt: Vec<Vec<Sample>> = texts.iter().map(|_| Vec::new()).collect();
    for (batch, plan) in finished.into_iter().flatten().zip(&plan) {
        for (answers, &prompt) in batch.answers.into_iter().zip(plan) {
            by_prompt[prompt] = answers;
        }
    }
    let mut writer = JsonlWriter::create(&ctx.dir().join(SAMPLES))?;
    for sample in by_prompt.iter().flatten() {
        writer.write(sample)?;
    }
    writer.finish()?;
    drop(file);
    std::fs::remove_file(&partial).map_err(|source| Error::Write {
        path: partial,
        source,
    })
}

/// Loads a policy and makes sure `tokenizer` belongs to it.
///
/// # Errors
/// When the tokenizer has more ids than the embedding has rows, and those of
/// [`CausalLm::load`].
pub fn load(model: &Path, tokenizer: &Tokenizer, placement: &Placement) -> Result<CausalLm, Error> {
    let model = CausalLm::load(model, placement)?;
    model.config().check_vocabulary(tokenizer.vocab_size())?;
    Ok(model)
}

/// The requests for `num_generations` answers to each text; the seed of answer `index` is
/// derived from `seed`, the prompt and the index.
///
/// # Errors
/// When a prompt cannot be tokenised.
pub fn requests(
    tokenizer: &Tokenizer,
    texts: &[String],
    num_generations: usize,
    seed: u64,
) -> Result<Vec<GenerationRequest>, Error> {
    let request = |text: &String| {
        Ok(GenerationRequest {
            prompt_ids: tokenizer.encode_prompt(text)?,
            seeds: (0..num_generations as u64)
                .map(|index| derive(seed, text, index))
                .collect(),
        })
    };
    texts.iter().map(request).collect()
}

/// Draws the answers of one batch of requests (prompts of equal length) as rows.
///
/// # Errors
/// Those of [`generate`].
pub fn answer(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    texts: &[&str],
    requests: &[&GenerationRequest],
    config: &SampleConfig,
) -> Result<Vec<Vec<Sample>>, Error> {
    let stop_text = |ids: &[u32]| find_stop(tokenizer, ids, &config.stop_strings);
    let stop = Stop {
        ids: tokenizer.eos_ids(),
        text: if config.stop_strings.is_empty() {
            &afd_model::never
        } else {
            &stop_text
        },
    };
    let generations = generate(model, requests, &config.params(), &stop)?;
    let rows = generations.into_iter().zip(texts).map(|(answers, prompt)| {
        let rows = answers.into_iter().enumerate();
        rows.map(|(index, answer)| to_row(tokenizer, prompt, index, answer, config))
            .collect()
    });
    rows.collect()
}

/// Whether the end of `ids` spells one of `stops`; only as many tokens are decoded as a stop
/// string may span.
fn find_stop(tokenizer: &Tokenizer, ids: &[u32], stops: &[String]) -> bool {
    stops.iter().any(|stop| {
        let tail = ids.len().saturating_sub(stop.len() + 4);
        tokenizer
            .decode(&ids[tail..])
            .is_ok_and(|text| text.contains(stop.as_str()))
    })
}

fn to_row(
    tokenizer: &Tokenizer,
    prompt: &str,
    index: usize,
    answer: Generation,
    config: &SampleConfig,
) -> Result<Sample, Error> {
    let mut completion = tokenizer.decode_completion(&answer.ids)?;
    let cut = config
        .stop_strings
        .iter()
        .filter_map(|stop| completion.find(stop.as_str()))
        .min();
    if let Some(cut) = cut {
        completion.truncate(cut);
    }
    Ok(Sample {
        prompt: prompt.to_owned(),
        index: index as u32,
        completion,
        completion_ids: answer.ids,
        logprobs: answer.log_probs,
        finish_reason: match answer.finish {
            FinishReason::Stop => "stop".into(),
            FinishReason::Length => "length".into(),
        },
    })
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
    model: &CausalLm,
    requests: &[GenerationRequest],
    config: &SampleConfig,
    path: &Path,
) -> Result<(), Error> {
    let (new, context) = (config.max_completion_length, model.config().context());
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

/// Opens the file of finished batches behind its last whole line, and reads what it holds.
fn resume(path: &Path, batches: usize) -> Result<(File, Vec<Option<FinishedBatch>>), Error> {
    let failed = |source| Error::Write {
        path: PathBuf::from(path),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    let mut finished: Vec<Option<FinishedBatch>> = (0..batches).map(|_| None).collect();
    let mut whole = 0;
    let mut reader = BufReader::new(&file);
    // Bytes, not text: a kill may have cut a line within a character.
    let mut line = Vec::new();
    let unreadable = |source| Error::Read {
        path: path.into(),
        source,
    };
    while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 && line.ends_with(b"\n") {
        let Ok(row) = serde_json::from_slice::<FinishedBatch>(&line) else {
            break;
        };
        whole += line.len() as u64;
        line.clear();
        if let Some(slot) = finished.get_mut(row.batch) {
            let batch = row.batch;
            *slot = Some(FinishedBatch { batch, ..row });
        }
    }
    file.set_len(whole).map_err(failed)?;
    file.seek(SeekFrom::Start(whole)).map_err(failed)?;
    Ok((file, finished))
}

fn append(file: &mut File, path: &Path, row: &FinishedBatch) -> Result<(), Error> {
    let mut line = serde_json::to_vec(row).map_err(|error| Error::Write {
        path: path.into(),
        source: error.into(),
    })?;
    line.push(b'\n');
    file.write_all(&line).map_err(|source| Error::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_the_last_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PARTIAL);
        let sample = Sample {
            prompt: "p".into(),
            index: 0,
            completion: " caf\u{e9}".into(),
            completion_ids: vec![1],
            logprobs: vec![-0.5],
            finish_reason: "stop".into(),
        };
        let (mut file, _) = resume(&path, 3).unwrap();
        for batch in [0, 2] {
            let answers = vec![vec![sample.clone()]];
            append(&mut file, &path, &FinishedBatch { batch, answers }).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        // Cut within the two bytes of the last é.
        let cut = whole.iter().rposition(|byte| *byte == 0xa9).unwrap();
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (_, finished) = resume(&path, 3).unwrap();
        let found: Vec<bool> = finished.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false, false]);
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), first_line as u64);
    }
}
