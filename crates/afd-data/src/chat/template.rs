//! A chat template: messages in, text out, with the places of the assistant's words.

use std::{error::Error as _, fmt, ops::Range, path::Path, sync::Arc};

use minijinja::{Environment, ErrorKind, value::Serde};
use serde_json::{Map, Value, json};

use super::{
    Message,
    environment::{Raised, environment},
    generation::{MARKED, PLAIN, rewrite, take_marks},
    source::{self, Source},
};
use crate::Error;

/// A dialogue as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What transformers' `apply_chat_template(…, tokenize=False)` gives.
    pub text: String,
    /// The byte ranges of the template's `{% generation %}` blocks; none if it has no such block.
    pub assistant: Vec<Range<usize>>,
}

/// The chat template of a checkpoint.
///
/// Rendering follows transformers to the byte: the same options and functions of Jinja, the same
/// variables. `tools` and `documents` are none.
#[derive(Clone)]
pub struct ChatTemplate {
    /// Holds the template under the names [`PLAIN`] and, if it has generation blocks, [`MARKED`].
    environment: Arc<Environment<'static>>,
    source: Arc<Source>,
    marks_answers: bool,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("origin", &self.source.origin)
            .field("tokens", &self.source.tokens)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Reads the template of a checkpoint, if it has one: `chat_template.jinja`, else
    /// `chat_template.json`, else the key `chat_template` of `tokenizer_config.json`, where of
    /// several the one called `default` counts.
    ///
    /// # Errors
    /// A file cannot be read or is malformed, or the template does not parse: file, line, cause.
    pub fn load(dir: &Path) -> Result<Option<Self>, Error> {
        Self::find(dir, |name| {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io("read", &path)(e)),
            }
        })
    }

    /// As [`load`](Self::load), with the files from `read`.
    pub(crate) fn find(
        dir: &Path,
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<Option<Self>, Error> {
        let found = source::find(dir, read)?;
        found
            .map(|source| Self::compile(Arc::new(source), None))
            .transpose()
    }

    /// The template with a `strftime_now` that tells one moment, in seconds since 1970, as UTC.
    ///
    /// Without it the function tells the present local time, as in transformers, so that two runs
    /// on two days differ.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn at(&self, seconds: i64) -> Result<Self, Error> {
        Self::compile(Arc::clone(&self.source), Some(seconds))
    }

    /// Whether the template says which words are the assistant's, by `{% generation %}`.
    pub fn marks_answers(&self) -> bool {
        self.marks_answers
    }

    /// The dialogue as text; with `add_generation_prompt` it ends where an answer begins.
    ///
    /// # Errors
    /// [`Error::ChatRefused`] if the template calls `raise_exception`, [`Error::ChatTemplate`] if
    /// it fails otherwise or the places of its generation blocks cannot be told.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Rendered, Error> {
        let context = self.context(messages, add_generation_prompt);
        let render = |name: &str| {
            let template = self.environment.get_template(name);
            template.and_then(|template| template.render(&context))
        };
        let text = render(PLAIN).map_err(|e| self.error(&e))?;
        let assistant = match self.marks_answers {
            false => Vec::new(),
            true => {
                let marked = render(MARKED).map_err(|e| self.error(&e))?;
                match take_marks(&marked) {
                    Some((unmarked, ranges)) if unmarked == text => ranges,
                    _ => return Err(self.lost_marks()),
                }
            }
        };
        Ok(Rendered { text, assistant })
    }

    /// Where the template was found, for messages.
    pub(crate) fn origin(&self) -> &str {
        &self.source.origin
    }

    fn compile(source: Arc<Source>, now: Option<i64>) -> Result<Self, Error> {
        let mut environment = environment(now).map_err(|e| error(&source, &e))?;
        let text = normalise(&source.text);
        let (plain, blocks) = rewrite(&text, PLAIN);
        let mut add = |name: &'static str, text: String| {
            let added = environment.add_template_owned(name, text);
            added.map_err(|e| error(&source, &e))
        };
        add(PLAIN, plain)?;
        if blocks > 0 {
            add(MARKED, rewrite(&text, MARKED).0)?;
        }
        Ok(Self {
            environment: Arc::new(environment),
            source,
            marks_answers: blocks > 0,
        })
    }

    fn context(&self, messages: &[Message], add_generation_prompt: bool) -> minijinja::Value {
        let mut context = self.source.tokens.clone();
        let messages: Vec<Value> = messages.iter().map(plain).collect();
        context.insert("messages".to_owned(), Value::from(messages));
        context.insert("tools".to_owned(), Value::Null);
        context.insert("documents".to_owned(), Value::Null);
        context.insert(
            "add_generation_prompt".to_owned(),
            json!(add_generation_prompt),
        );
        minijinja::Value::from(Serde(context))
    }

    fn error(&self, cause: &minijinja::Error) -> Error {
        error(&self.source, cause)
    }

    fn lost_marks(&self) -> Error {
        Error::ChatTemplate {
            origin: self.source.origin.clone(),
            line: 0,
            message:
                "the text of a generation block is changed after the block, so that its place \
                      cannot be told (or a message holds U+FDD0 or U+FDD1)"
                    .to_owned(),
        }
    }
}

/// The source as Jinja takes it: every line end a line feed, and not one at the very end.
fn normalise(source: &str) -> String {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

/// A message as transformers hands it over: no null values, reasoning under both of its names.
fn plain(message: &Message) -> Value {
    let mut keys = Map::new();
    let said = |key: &str| message.extra.get(key).filter(|value| !value.is_null());
    let names = ["reasoning_content", "thinking", "reasoning"];
    let reasoning = names.into_iter().find_map(said);
    if let Some(reasoning) = reasoning {
        keys.insert("thinking".to_owned(), reasoning.clone());
    }
    keys.insert("role".to_owned(), json!(message.role));
    keys.insert("content".to_owned(), json!(message.content));
    let extra = message.extra.iter().filter(|(_, value)| !value.is_null());
    keys.extend(extra.map(|(key, value)| (key.clone(), value.clone())));
    if let Some(reasoning) = reasoning {
        keys.insert("reasoning_content".to_owned(), reasoning.clone());
    }
    Value::Object(keys)
}

/// The innermost cause with its line, or what the template said itself.
fn error(source: &Source, error: &minijinja::Error) -> Error {
    let origin = source.origin.clone();
    let mut inner = error;
    loop {
        match inner.source() {
            Some(cause) if let Some(Raised(message)) = cause.downcast_ref() => {
                return Error::ChatRefused {
                    origin,
                    message: message.clone(),
                };
            }
            Some(cause) if let Some(deeper) = cause.downcast_ref() => inner = deeper,
            _ => break,
        }
    }
    let kind = inner.kind();
    let message = match inner.detail() {
        Some(detail) if kind == ErrorKind::InvalidOperation => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind.to_string(),
    };
    Error::ChatTemplate {
        origin,
        line: inner.line().unwrap_or(0),
        message,
    }
}
