//! The data stage: de-duplicates, filters by length and splits by prompt, in one pass.

mod summary;

use std::{collections::HashSet, path::Path};

use afd_stage::seed::derive;
use serde::{Deserialize, Serialize};

use self::summary::Lengths;
pub use self::summary::{DropCount, Quantiles, SplitCounts, Summary};
use crate::{
    Error, RowError, Tokenizer,
    records::{DropReason, DroppedRow, Example, JsonlWriter},
};

/// Which rows are kept and where they go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrepareConfig {
    /// Decides which prompt goes where; give it the stage's seed.
    pub seed: u64,
    /// Fraction of the prompts in each split.
    pub split: SplitFractions,
    /// Rows with a longer prompt are dropped, in tokens.
    pub max_prompt_tokens: usize,
    /// Rows with a longer answer (of any kind) are dropped, in tokens without the end token.
    pub max_completion_tokens: usize,
    /// Rows with a shorter answer (of any kind) are dropped, in tokens without the end token.
    pub min_completion_tokens: usize,
    /// Largest number of rows in each split; the first ones of the input are kept.
    pub max_rows: SplitCaps,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            split: SplitFractions::default(),
            max_prompt_tokens: 450,
            max_completion_tokens: 256,
            min_completion_tokens: 1,
            max_rows: SplitCaps::default(),
        }
    }
}

/// Fractions of the prompts, which sum to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFractions {
    /// For supervised fine-tuning.
    pub sft: f64,
    /// For the samples on which reward models are trained.
    pub reward: f64,
    /// For stopping and choosing.
    pub validation: f64,
    /// For training a held-out judge.
    pub judge: f64,
    /// For the final figures; one row a prompt.
    pub test: f64,
}

impl Default for SplitFractions {
    fn default() -> Self {
        Self {
            sft: 0.4,
            reward: 0.3,
            validation: 0.05,
            judge: 0.0,
            test: 0.25,
        }
    }
}

/// Largest numbers of rows; unset means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitCaps {
    /// In `sft.jsonl`.
    pub sft: Option<u64>,
    /// In `reward.jsonl`.
    pub reward: Option<u64>,
    /// In `validation.jsonl`.
    pub validation: Option<u64>,
    /// In `judge.jsonl`.
    pub judge: Option<u64>,
    /// In `test.jsonl`.
    pub test: Option<u64>,
}

/// The splits, in the order of the arrays below.
const SPLITS: [&str; 5] = ["sft", "reward", "validation", "judge", "test"];
const TEST: usize = 4;

impl SplitFractions {
    fn array(&self) -> [f64; 5] {
        [
            self.sft,
            self.reward,
            self.validation,
            self.judge,
            self.test,
        ]
    }
}

impl SplitCaps {
    fn array(&self) -> [Option<u64>; 5] {
        [
            self.sft,
            self.reward,
            self.validation,
            self.judge,
            self.test,
        ]
    }
}

impl PrepareConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A fraction outside 0..=1, a sum other than 1, a cap of 0 on a split that should have rows,
    /// or contradicting length limits: key, value and the accepted range.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |key: String, got: String, expected: &str| {
            Err(Error::Config {
                key,
                got,
                expected: expected.to_owned(),
            })
        };
        for (split, fraction) in SPLITS.iter().zip(self.split.array()) {
            if !(0.0..=1.0).contains(&fraction) {
                return wrong(
                    format!("split.{split}"),
                    fraction.to_string(),
                    "from 0 to 1",
                );
            }
        }
        let sum: f64 = self.split.array().iter().sum();
        if (sum - 1.0).abs() > 1e-9 {
            let expected = "fractions that sum to 1 (the default of each split counts if unset)";
            return wrong("split".to_owned(), format!("in sum {sum}"), expected);
        }
        let caps = self.max_rows.array();
        for ((split, fraction), cap) in SPLITS.iter().zip(self.split.array()).zip(caps) {
            if fraction > 0.0 && cap == Some(0) {
                let expected = "at least 1, or the split's fraction 0";
                return wrong(format!("max_rows.{split}"), "0".to_owned(), expected);
            }
        }
        if self.min_completion_tokens > self.max_completion_tokens {
            let got = self.min_completion_tokens.to_string();
            return wrong(
                "min_completion_tokens".to_owned(),
                got,
                "≤ max_completion_tokens",
            );
        }
        Ok(())
    }
}

/// Reads all rows and writes `sft.jsonl`, `reward.jsonl`, `validation.jsonl`, `judge.jsonl`,
/// `test.jsonl` ([`Example`]), `dropped.jsonl` ([`DroppedRow`]) and `summary.json` ([`Summary`])
/// to `out_dir`.
///
/// The split is a keyed hash of the prompt, so that no prompt is ever in two, wherever its rows
/// stand. Memory: 16 bytes for each row, 16 for each prompt kept.
///
/// # Errors
/// The configuration is contradictory, the input is broken, nothing is left, a split with a
/// fraction is empty, or `out_dir` cannot be written.
pub fn prepare(
    rows: impl Iterator<Item = Result<Example, RowError>>,
    config: &PrepareConfig,
    tokenizer: &Tokenizer,
    out_dir: &Path,
) -> Result<Summary, Error> {
    config.validate()?;
    std::fs::create_dir_all(out_dir).map_err(Error::io("create", out_dir))?;
    let mut writers = Vec::with_capacity(SPLITS.len());
    for split in SPLITS {
        writers.push(JsonlWriter::create(
            &out_dir.join(format!("{split}.jsonl")),
        )?);
    }
    let mut dropped = JsonlWriter::create(&out_dir.join("dropped.jsonl"))?;
    let mut summary = Summary::default();
    let mut sieve = Sieve::new(config, tokenizer);

    for row in rows {
        summary.rows_read += 1;
        match row.and_then(|row| sieve.keep(row)) {
            Ok((split, example)) => writers[split].write(&example)?,
            Err(RowError::Dropped(row)) => {
                summary.count_dropped(&row);
                dropped.write(&row)?;
            }
            Err(RowError::Broken(error)) => return Err(error),
        }
    }

    summary.unique_prompts = sieve.prompts.len() as u64;
    summary.prompt_tokens = sieve.prompt_lengths.quantiles();
    summary.completion_tokens = sieve.completion_lengths.quantiles();
    summary.kept = SplitCounts::from(sieve.kept);
    check_not_empty(config, &summary, sieve.kept)?;
    for writer in writers {
        writer.finish()?;
    }
    dropped.finish()?;
    summary.write(&out_dir.join("summary.json"))?;
    tracing::info!(read = summary.rows_read, kept = ?summary.kept, "data prepared");
    Ok(summary)
}

fn check_not_empty(config: &PrepareConfig, summary: &Summary, kept: [u64; 5]) -> Result<(), Error> {
    let total: u64 = kept.iter().sum();
    if total == 0 {
        let reasons = summary
            .dropped
            .iter()
            .map(|(reason, d)| format!("{} {reason}", d.count));
        let reasons: Vec<String> = reasons.collect();
        let dropped = if reasons.is_empty() {
            "nothing".to_owned()
        } else {
            reasons.join(", ")
        };
        return Err(Error::NoRows {
            read: summary.rows_read,
            dropped,
        });
    }
    for ((split, fraction), kept) in SPLITS.iter().zip(config.split.array()).zip(kept) {
        if fraction > 0.0 && kept == 0 {
            return Err(Error::EmptySplit {
                split,
                fraction,
                kept: total,
            });
        }
    }
    Ok(())
}

/// Decides on one row at a time, remembering the ones before.
struct Sieve<'a> {
    config: &'a PrepareConfig,
    tokenizer: &'a Tokenizer,
    split_seed: u64,
    rows: HashSet<[u8; 16]>,
    prompts: HashSet<[u8; 16]>,
    kept: [u64; 5],
    prompt_lengths: Lengths,
    completion_lengths: Lengths,
}

impl<'a> Sieve<'a> {
    fn new(config: &'a PrepareConfig, tokenizer: &'a Tokenizer) -> Self {
        Self {
            config,
            tokenizer,
            split_seed: derive(config.seed, "split", 0),
            rows: HashSet::new(),
            prompts: HashSet::new(),
            kept: [0; 5],
            prompt_lengths: Lengths::default(),
            completion_lengths: Lengths::default(),
        }
    }

    /// The row with its split, or why it is dropped.
    fn keep(&mut self, row: Example) -> Result<(usize, Example), RowError> {
        let drop = |reason, detail| {
            Err(RowError::Dropped(DroppedRow {
                source: row.source.clone(),
                reason,
                detail,
            }))
        };
        let answers = [&row.completion, &row.chosen, &row.rejected];
        let [a, b, c] = answers.map(Option::as_ref);
        if !self.rows.insert(key(&[Some(&row.prompt), a, b, c])) {
            return drop(DropReason::Duplicate, String::new());
        }
        if b.is_some() && b == c {
            return drop(DropReason::EqualAnswers, String::new());
        }
        let Some(demonstration) = row.completion.as_ref().or(row.chosen.as_ref()) else {
            return drop(
                DropReason::NoAnswer,
                "neither completion nor chosen".to_owned(),
            );
        };

        let prompt_key = key(&[Some(&row.prompt)]);
        let split = self.split(&row.prompt);
        if split == TEST && self.prompts.contains(&prompt_key) {
            return drop(DropReason::PromptInTest, String::new());
        }
        let prompt_tokens = self.tokenizer.encode_prompt(&row.prompt)?.len();
        let limit = self.config.max_prompt_tokens;
        if prompt_tokens > limit {
            let detail = format!("{prompt_tokens} tokens, at most {limit}");
            return drop(DropReason::PromptTooLong, detail);
        }
        let completion_tokens = self.answer_tokens(demonstration)?;
        for answer in answers.into_iter().flatten() {
            let tokens = match answer == demonstration {
                true => completion_tokens,
                false => self.answer_tokens(answer)?,
            };
            let limit = self.config.max_completion_tokens;
            if tokens > limit {
                let detail = format!("{tokens} tokens, at most {limit}");
                return drop(DropReason::AnswerTooLong, detail);
            }
            let limit = self.config.min_completion_tokens;
            if tokens < limit {
                let detail = format!("{tokens} tokens, at least {limit}");
                return drop(DropReason::AnswerTooShort, detail);
            }
        }
        if let Some(cap) = self.config.max_rows.array()[split]
            && self.kept[split] >= cap
        {
            let detail = format!("`{}` has its {cap} rows", SPLITS[split]);
            return drop(DropReason::OverCap, detail);
        }

        self.kept[split] += 1;
        self.prompts.insert(prompt_key);
        self.prompt_lengths.add(prompt_tokens);
        self.completion_lengths.add(completion_tokens);
        Ok((split, row))
    }

    fn answer_tokens(&self, answer: &str) -> Result<usize, Error> {
        Ok(self.tokenizer.encode_completion(answer)?.len())
    }

    /// The split of a prompt, by the place of its hash in 0..1.
    fn split(&self, prompt: &str) -> usize {
        let place = derive(self.split_seed, prompt, 0) >> 11;
        let place = place as f64 / (1_u64 << 53) as f64;
        let fractions = self.config.split.array();
        let mut end = 0.0;
        for (split, fraction) in fractions.iter().enumerate() {
            end += fraction;
            if place < end {
                return split;
            }
        }
        // Rounding may leave the sum a hair under 1: that hair belongs to the last split in use.
        fractions
            .iter()
            .rposition(|&fraction| fraction > 0.0)
            .unwrap_or(0)
    }
}

/// A hash of texts of which each may be missing.
fn key(texts: &[Option<&String>]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        // The length keeps ("a", "bc") and ("ab", "c") apart, u64::MAX a missing text from "".
        hasher.update(
            &text
                .map_or(u64::MAX, |text| text.len() as u64)
                .to_le_bytes(),
        );
        hasher.update(text.map_or("", |text| text.as_str()).as_bytes());
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}

#[cfg(test)]
mod tests;
