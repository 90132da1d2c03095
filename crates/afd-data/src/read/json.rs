//! JSON Lines: the keys of a row decide what it is.

use serde_json::{Map, Value};

use super::{
    Options,
    dialogue::{Problem, RawRow, Said, dropped},
    source::Source,
};
use crate::{Error, RowError, chat::Message, records::Example};

#[derive(Debug)]
pub(super) struct JsonRows {
    source: Source,
    options: Options,
    buffer: Vec<u8>,
}

impl JsonRows {
    pub(super) fn new(source: Source, options: Options) -> Self {
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

        let chosen = row.said("chosen")?;
        let rejected = row.said("rejected")?;
        let messages = row.messages()?;
        let completion = row.said("completion")?;
        let raw = match (row.said("prompt")?, completion, messages, chosen, rejected) {
            (Some(prompt), completion, _, Some(chosen), Some(rejected)) => RawRow {
                prompt,
                completion,
                chosen: Some(chosen),
                rejected: Some(rejected),
            },
            (Some(prompt), completion @ Some(_), ..) => RawRow {
                prompt,
                completion,
                chosen: None,
                rejected: None,
            },
            (_, _, Some(messages), ..) => RawRow::from_messages(messages).map_err(problem)?,
            (None, None, None, Some(chosen), Some(rejected)) => {
                let row = RawRow::from_dialogues(&chosen, &rejected).map_err(problem)?;
                return row.finish(&source, &self.options.read, self.options.chat.as_ref());
            }
            _ => return Err(row.unknown_shape().into()),
        };
        self.options.finish(raw, &source)
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
    /// The text or the messages at a key; `None` if missing or null.
    fn said(&self, key: &str) -> Result<Option<Said>, Error> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Said::Text(text.clone()))),
            Some(Value::Array(list)) => Ok(Some(Said::Turns(self.turns(key, list)?))),
            Some(other) => {
                let expected = "a string or a list of messages";
                Err(self.wrong_type(key.to_owned(), expected, other))
            }
        }
    }

    /// The list at `messages`; `None` if missing or null.
    fn messages(&self) -> Result<Option<Vec<Message>>, Error> {
        match self.keys.get("messages") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => self.turns("messages", list).map(Some),
            Some(other) => Err(self.wrong_type("messages".to_owned(), "a list", other)),
        }
    }

    fn turns(&self, key: &str, list: &[Value]) -> Result<Vec<Message>, Error> {
        let turns = list.iter().enumerate();
        let turns = turns.map(|(i, turn)| self.turn(&format!("{key}[{i}]"), turn));
        turns.collect()
    }

    fn turn(&self, key: &str, turn: &Value) -> Result<Message, Error> {
        let part = |name: &str| match turn.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            other => {
                let got = other.unwrap_or(&Value::Null);
                Err(self.wrong_type(format!("{key}.{name}"), "a string", got))
            }
        };
        let mut message = Message::new(part("role")?, part("content")?);
        for (name, value) in turn.as_object().into_iter().flatten() {
            if name != "role" && name != "content" {
                message.extra.insert(name.clone(), value.clone());
            }
        }
        Ok(message)
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
