//! Stored answers, what tells good ones from bad, and their token rows.

use std::{collections::HashMap, path::Path};

use afd_data::{
    TokenRow, Tokenizer,
    records::{Example, Sample, Scores, read_jsonl},
};
use afd_model::DecoderConfig;

use super::pairs;
use crate::Error;

/// A prompt, the stored answers to it, and what is said of them.
#[derive(Debug)]
pub(crate) struct Stored<T> {
    /// Its number in the file of samples, from 0.
    pub(crate) number: usize,
    pub(crate) prompt: String,
    pub(crate) answers: Vec<Sample>,
    /// Rewards of the answers, or demonstrations.
    pub(crate) guide: Vec<T>,
}

/// The answers in `samples` with the rewards in `scores`, prompt by prompt.
///
/// # Errors
/// When the two do not belong together, or no prompt has rewards that differ.
pub(crate) fn scored(samples: &Path, scores: &Path) -> Result<Vec<Stored<f64>>, Error> {
    let answers = answers(samples)?;
    let rows: Vec<Scores> = read_jsonl(scores)?;
    let problem = |problem: String| Error::Scores {
        path: scores.into(),
        problem,
    };
    if rows.len() != answers.len() {
        let (rows, prompts) = (rows.len(), answers.len());
        return Err(problem(format!("{rows} prompts against {prompts}")));
    }
    let together = |((number, answers), row): ((usize, Vec<Sample>), Scores)| {
        if row.prompt != answers[0].prompt || row.scores.len() != answers.len() {
            return Err(problem(format!("prompt {:?} differs", row.prompt)));
        }
        if !row.scores.iter().all(|score| score.is_finite()) {
            return Err(problem(format!("prompt {:?}: not finite", row.prompt)));
        }
        Ok(Stored {
            number,
            prompt: row.prompt,
            answers,
            guide: row.scores.into_iter().map(f64::from).collect(),
        })
    };
    let stored = answers.into_iter().enumerate().zip(rows).map(together);
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    if !stored.iter().any(|prompt| pairs::prefer_any(&prompt.guide)) {
        return Err(Error::EqualRewards {
            path: scores.into(),
            prompts: stored.len(),
        });
    }
    Ok(stored)
}

/// The answers in `samples` to prompts with a demonstration, and how many demonstrations are of
/// prompts without an answer.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn demonstrated(
    samples: &Path,
    demonstrations: &Path,
) -> Result<(Vec<Stored<String>>, usize), Error> {
    let mut by_prompt: HashMap<String, Vec<String>> = HashMap::new();
    for example in read_jsonl::<Example>(demonstrations)? {
        if let Some(completion) = example.completion {
            by_prompt
                .entry(example.prompt)
                .or_default()
                .push(completion);
        }
    }
    let answers = answers(samples)?.into_iter().enumerate();
    let stored = answers.filter_map(|(number, answers)| {
        let prompt = answers[0].prompt.clone();
        Some(Stored {
            number,
            guide: by_prompt.remove(&prompt)?,
            prompt,
            answers,
        })
    });
    let stored = stored.collect();
    Ok((stored, by_prompt.values().map(Vec::len).sum()))
}

/// The demonstrations in a file, prompt by prompt, without answers beside them.
///
/// # Errors
/// When it cannot be read, or holds none.
pub(crate) fn demonstrations(path: &Path) -> Result<Vec<Stored<String>>, Error> {
    let mut stored: Vec<Stored<String>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for example in read_jsonl::<Example>(path)? {
        let Some(completion) = example.completion else {
            continue;
        };
        let number = *places.entry(example.prompt.clone()).or_insert(stored.len());
        if number == stored.len() {
            stored.push(Stored {
                number,
                prompt: example.prompt,
                answers: Vec::new(),
                guide: Vec::new(),
            });
        }
        stored[number].guide.push(completion);
    }
    match stored.is_empty() {
        true => Err(Error::NoPrompts { path: path.into() }),
        false => Ok(stored),
    }
}

/// The answers in a file, prompt by prompt.
fn answers(path: &Path) -> Result<Vec<Vec<Sample>>, Error> {
    let samples: Vec<Sample> = read_jsonl(path)?;
    if samples.is_empty() {
        return Err(Error::NoPrompts { path: path.into() });
    }
    let prompts = samples.chunk_by(|a, b| a.prompt == b.prompt);
    Ok(prompts.map(<[Sample]>::to_vec).collect())
}

/// Turns answers into token rows that a model can read.
pub(crate) struct Rows<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) model: &'a DecoderConfig,
    /// The file of the answers.
    pub(crate) path: &'a Path,
}

impl Rows<'_> {
    /// The stored answers to a prompt, as they were drawn.
    ///
    /// # Errors
    /// An answer that does not fit the model's context, holds no token, or one that the model does
    /// not know.
    pub(crate) fn answers<T>(&self, stored: &Stored<T>) -> Result<Vec<TokenRow>, Error> {
        let prompt = self.tokenizer.encode_prompt(&stored.prompt)?;
        let row = |answer: &Sample| {
            let row = TokenRow::from_sample(&prompt, &answer.completion_ids);
            let (number, index) = (stored.number + 1, answer.index);
            let (tokens, context) = (row.ids.len(), self.model.context());
            if tokens > context {
                return Err(Error::AnswerTooLong {
                    path: self.path.into(),
                    number,
                    index,
                    tokens,
                    context,
                });
            }
            let unknown = |id: &&u32| **id as usize >= self.model.vocab_size;
            let problem = match row.ids.iter().find(unknown) {
                Some(id) => format!("holds token {id}, which the policy does not know"),
                None if answer.completion_ids.is_empty() => "holds no token".to_owned(),
                None => return Ok(row),
            };
            Err(Error::Samples {
                path: self.path.into(),
                problem: format!("answer {index} to prompt {number} {problem}"),
            })
        };
        stored.answers.iter().map(row).collect()
    }

    /// A demonstration with its end token; none if it does not fit the model's context.
    ///
    /// # Errors
    /// The tokenizer does not know a character.
    pub(crate) fn demonstration(
        &self,
        prompt: &str,
        completion: &str,
    ) -> Result<Option<TokenRow>, Error> {
        let context = self.model.context();
        Ok(TokenRow::example(
            self.tokenizer,
            prompt,
            completion,
            context,
        )?)
    }

    /// A prompt with the answer to another one, cut where the model's context ends.
    pub(crate) fn mismatched(&self, own: &TokenRow, other: &TokenRow) -> TokenRow {
        let mut row = TokenRow::from_sample(&own.ids[..own.prompt_len], other.answer());
        row.ids.truncate(self.model.context());
        row
    }
}
