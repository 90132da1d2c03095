//! Readers: a file of demonstrations or preferences in, one [`Example`] at a time out.

mod csv;
mod dialogue;
mod json;
mod source;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::dialogue::{ASSISTANT, HUMAN};
use self::{csv::CsvRows, json::JsonRows, source::Format};
use crate::{Error, RowError, records::Example};

/// How rows are turned into examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// CSV column of the prompt; unset: `prompt`, else `query`.
    pub prompt_column: Option<String>,
    /// CSV column of the demonstration; unset: `completion`, else `response`.
    pub completion_column: Option<String>,
    /// Cut from the front of each prompt given as one text (not of dialogues or messages).
    pub strip_prefix: Option<StripPrefix>,
    /// Wrap a prompt that does not end in `\n\nAssistant:` as a single question.
    pub wrap_prompts: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            prompt_column: None,
            completion_column: None,
            strip_prefix: None,
            wrap_prompts: true,
        }
    }
}

/// What to cut from the front of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StripPrefix {
    /// So many characters (Unicode scalar values).
    Characters(usize),
    /// This text; a prompt without it is dropped.
    Literal(String),
}

/// Opens a file of examples: one pass, one row in memory.
///
/// The format follows from the content (gzip by its magic number, then `{` for JSON Lines), else
/// from the extension (`.csv`, `.tsv`). The keys of a JSON row decide what it is:
///
/// | keys | example |
/// | --- | --- |
/// | `prompt`, `completion` | as named |
/// | `messages` | the last (assistant's) message is the completion, the rest the prompt |
/// | `prompt`, `chosen`, `rejected` (`completion`) | a pair; the demonstration is `completion`, else `chosen` |
/// | `chosen`, `rejected` | whole dialogues; the prompt runs to the last `\n\nAssistant:` |
///
/// Other keys are ignored. Trailing white space is trimmed from answers, and an answer to a prompt
/// that ends in `Assistant:` begins with exactly one space.
///
/// # Errors
/// The file cannot be opened or its format is none of these. The iterator yields
/// [`RowError::Dropped`] for a row with a problem of its own (an empty answer, differing prompts)
/// and goes on; [`RowError::Broken`] for a broken file (malformed JSON, invalid UTF-8, a
/// truncated gzip, unknown keys), after which it ends.
pub fn open(path: &Path, options: &ReadOptions) -> Result<Rows, Error> {
    let source = source::open(path)?;
    let inner = match source.format {
        Format::JsonLines => Inner::Json(JsonRows::new(source, options.clone())),
        Format::Csv { delimiter } => Inner::Csv(CsvRows::new(source, delimiter, options.clone())?),
    };
    Ok(Rows {
        inner,
        broken: false,
    })
}

/// The rows of one file; see [`open`].
#[derive(Debug)]
pub struct Rows {
    inner: Inner,
    broken: bool,
}

#[derive(Debug)]
enum Inner {
    Json(JsonRows),
    Csv(CsvRows),
}

impl Iterator for Rows {
    type Item = Result<Example, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let row = match &mut self.inner {
            Inner::Json(rows) => rows.next(),
            Inner::Csv(rows) => rows.next(),
        };
        self.broken = matches!(row, Some(Err(RowError::Broken(_))));
        row
    }
}

#[cfg(test)]
mod tests;
