//! Readers: a file of demonstrations or preferences in, one [`Example`] at a time out.

mod chat;
mod csv;
mod dialogue;
mod json;
mod source;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::dialogue::{ASSISTANT, HUMAN};
use self::{
    csv::CsvRows,
    dialogue::{RawRow, dropped},
    json::JsonRows,
    source::Format,
};
use crate::{Error, RowError, chat::Chat, records::Example};

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
/// Each of these may be a text or, as in TRL, a list of messages; an answer then is one message by
/// the assistant, or the last one of a whole dialogue. Other keys are ignored. Trailing white space is trimmed from answers, and an answer to a prompt
/// that ends in `Assistant:` begins with exactly one space.
///
/// # Errors
/// The file cannot be opened or its format is none of these. The iterator yields
/// [`RowError::Dropped`] for a row with a problem of its own (an empty answer, differing prompts)
/// and goes on; [`RowError::Broken`] for a broken file (malformed JSON, invalid UTF-8, a
/// truncated gzip, unknown keys), after which it ends.
pub fn open(path: &Path, options: &ReadOptions) -> Result<Rows, Error> {
    open_with(path, options, None)
}

/// As [`open`], with prompts and answers as a chat template writes them.
///
/// A dialogue in the `\n\nHuman: …` form becomes messages, a plain prompt the message of a user
/// (unless `wrap_prompts` is off: then it stays as it is). The prompt is what the template renders
/// for an answer to come, and the answer is what it writes after that, up to the token that ends
/// the assistant's turn: so prompt, answer and that token are the beginning of the whole dialogue
/// as rendered. A row where that cannot be, or which the template refuses, is dropped.
///
/// # Errors
/// As [`open`]; the iterator also ends with [`RowError::Broken`] where the template fails.
pub fn open_with(path: &Path, options: &ReadOptions, chat: Option<&Chat>) -> Result<Rows, Error> {
    let source = source::open(path)?;
    let options = Options {
        read: options.clone(),
        chat: chat.cloned(),
    };
    let inner = match source.format {
        Format::JsonLines => Inner::Json(JsonRows::new(source, options)),
        Format::Csv { delimiter } => Inner::Csv(CsvRows::new(source, delimiter, options)?),
    };
    Ok(Rows {
        inner,
        broken: false,
    })
}

/// What the readers of both formats go by.
#[derive(Clone, Debug)]
struct Options {
    read: ReadOptions,
    chat: Option<Chat>,
}

impl Options {
    /// A row in its final form.
    fn finish(&self, row: RawRow, source: &str) -> Result<Example, RowError> {
        row.strip(self.read.strip_prefix.as_ref())
            .map_err(|problem| RowError::Dropped(dropped(source, problem)))?
            .finish(source, &self.read, self.chat.as_ref())
    }
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
