//! JSON Lines: the keys of a row decide what it is.

use serde_json::{Map, Value};

use super::{
    ReadOptions,
    dialogue::{Problem, RawRow, dropped},
    source::Source,
};
use crate::{Error, RowError, records::Example};

#[derive(Debug)]
pub(super) struct JsonRows {
    source: Source,
    options: ReadOptions,
    buffer: Vec<u8>,
}

impl JsonRows {
    pub(super) fn new(source: Source, options: ReadOptions) -> Self {
        Self {
            source,
            options,
            buffer: Vec::new(),
        }
    }

    fn parse(&self) -> Result<Example, RowError> {
        let source = format!("{}:{}", self.source.name, self.source.line);
        let problem = |problem: Problem| RowError::Dropped(dropped(&source, problem));
        let row = Row {
            source: &self.source,
            keys: self.object()?,
        };

        let chosen = row.text("chosen")?;
        let rejected = row.text("rejected")?;
        let messages = row.messages()?;
        let completion = row.text("completion")?;
        let raw = match (row.text("prompt")?, completion, messages, chosen, rejected) {
            (Some(prompt), completion, _, Some(chosen), Some(rejected)) => RawRow {
                prompt,
                completion,
                chosen: Some(chosen),
                rejected: Some(rejected),
            }
            .strip(self.options.strip_prefix.as_ref())
            .map_err(problem)?,
            (Some(prompt), completion @ Some(_), ..) => RawRow {
                prompt,
                completion,
                ..RawRow::default()
            }
            .strip(self.options.strip_prefix.as_ref())
            .map_err(problem)?,
            (_, _, Some(messages), ..) => RawRow::from_messages(&messages).map_err(problem)?,
            (None, None, None, Some(chosen), Some(rejected)) => {
                RawRow::from_dialogues(&chosen, &rejected).map_err(problem)?
            }
            _ => return Err(row.unknown_shape().into()),
        };
        raw.finish(&source, &self.options)
            .map_err(RowError::Dropped)
    }

    fn object(&self) -> Result<Map<String, Value>, Error> {
        let (path, line) = (&self.source.path, self.source.line);
        let text = std::str::from_utf8(&self.buffer).map_err(|e| Error::NotUtf8 {
            path: path.clone(),
            line,
            column: e.valid_up_to(),
        })?;
        match serde_json::from_str(text.trim_end()).map_err(|e| Error::json(path, line, &e))? {
            Value::Object(keys) => Ok(keys),
            other => Err(Error::WrongType {
                path: path.clone(),
                line,
                key: "row".to_owned(),
                expected: "an object",
                got: kind(&other),
            }),
        }
    }
}

impl Iterator for JsonRows {
    type Item = Result<Example, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.source.next_line(&mut self.buffer) {
                Ok(false) => return None,
                Ok(true) if self.buffer.trim_ascii().is_empty() => {}
                Ok(true) => return Some(self.parse()),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// One parsed line with its place, for errors.
struct Row<'a> {
    source: &'a Source,
    keys: Map<String, Value>,
}

impl Row<'_> {
    /// The text at a key; `None` if missing or null.
    fn text(&self, key: &str) -> Result<Option<String>, Error> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong_type(key.to_owned(), "a string", other)),
        }
    }

    /// The (role, content) pairs of `messages`; `None` if missing or null.
    fn messages(&self) -> Result<Option<Vec<(String, String)>>, Error> {
        let list = match self.keys.get("messages") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.wrong_type("messages".to_owned(), "a list", other)),
        };
        let mut messages = Vec::with_capacity(list.len());
        for (i, message) in list.iter().enumerate() {
            let part = |key: &str| match message.get(key) {
                Some(Value::String(text)) => Ok(text.clone()),
                other => Err(self.wrong_type(
                    format!("messages[{i}].{key}"),
                    "a string",
                    other.unwrap_or(&Value::Null),
                )),
            };
            messages.push((part("role")?, part("content")?));
        }
        Ok(Some(messages))
    }

    fn wrong_type(&self, key: String, expected: &'static str, got: &Value) -> Error {
        let (path, line) = (self.source.path.clone(), self.source.line);
        Error::WrongType {
            path,
            line,
            key,
            expected,
            got: kind(got),
        }
    }

    fn unknown_shape(&self) -> Error {
        let keys: Vec<String> = self.keys.keys().map(|key| format!("`{key}`")).collect();
        let keys = if keys.is_empty() {
            "(none)".to_owned()
        } else {
            keys.join(", ")
        };
        Error::UnknownShape {
            path: self.source.path.clone(),
            line: self.source.line,
            keys,
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing or null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
