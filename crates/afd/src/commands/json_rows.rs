//! JSON Lines in, JSON Lines out, keeping what a command does not know.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

use afd_stage::fs::write_atomic;
use serde_json::{Map, Value};

use crate::error::Error;

/// A row of the input and its line, for complaints.
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) fields: Map<String, Value>,
}

/// Reads every row of `path`; blank lines are passed over.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let io = |source| Error::Io {
        action: "read",
        path: path.into(),
        source,
    };
    let mut rows = Vec::new();
    for (index, line) in BufReader::new(File::open(path).map_err(io)?)
        .lines()
        .enumerate()
    {
        let text = line.map_err(|error| problem(path, index + 1, error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        let fields = serde_json::from_str(&text)
            .map_err(|error| problem(path, index + 1, format!("not a JSON object: {error}")))?;
        rows.push(Row {
            line: index + 1,
            fields,
        });
    }
    if rows.is_empty() {
        return Err(problem(path, 1, "the file holds no row".into()));
    }
    Ok(rows)
}

pub(crate) fn problem(path: &Path, line: usize, problem: String) -> Error {
    Error::Row {
        path: path.into(),
        line,
        problem,
    }
}

impl Row {
    /// The text under `key`.
    pub(crate) fn text(&self, path: &Path, key: &str) -> Result<&str, Error> {
        match self.fields.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(problem(path, self.line, format!("`{key}` is not a text"))),
            None => Err(problem(path, self.line, format!("`{key}` is missing"))),
        }
    }
}

/// Writes rows to `output`, whole or not at all, or to standard output.
pub(crate) fn write<T: serde::Serialize>(output: Option<&Path>, rows: &[T]) -> Result<(), Error> {
    let mut bytes = Vec::new();
    for row in rows {
        let to_io = |error: serde_json::Error| Error::Io {
            action: "write",
            path: output.unwrap_or(Path::new("standard output")).into(),
            source: error.into(),
        };
        serde_json::to_writer(&mut bytes, row).map_err(to_io)?;
        bytes.push(b'\n');
    }
    match output {
        // A pipe or a device cannot be replaced, only written to.
        Some(path) if path.exists() && !path.is_file() => {
            fs::write(path, &bytes).map_err(|source| Error::Io {
                action: "write",
                path: path.into(),
                source,
            })
        }
        Some(path) => Ok(write_atomic(path, &bytes)?),
        None => super::print_bytes(&bytes),
    }
}
