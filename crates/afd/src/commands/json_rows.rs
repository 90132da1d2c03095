//! JSON Lines in, JSON Lines out, keeping what a command does not know.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
};

use afd_stage::fs::{AtomicFile, write_atomic};
use serde_json::{Map, Value};

use crate::error::Error;

/// A row of the input and its line, for complaints.
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) fields: Map<String, Value>,
}

/// Reads every row of `path`; blank lines are passed over.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, Error> {
    rows(path)?.collect()
}

/// The rows of `path` one after the other.
fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
    let io = |source| Error::Io {
        action: "read",
        path: path.into(),
        source,
    };
    let lines = BufReader::new(File::open(path).map_err(io)?).lines();
    let row = |(index, line): (usize, std::io::Result<String>)| {
        let row = line
            .map_err(|error| problem(path, index + 1, error.to_string()))
            .and_then(|text| {
                if text.trim().is_empty() {
                    return Ok(None);
                }
                let fields = serde_json::from_str(&text).map_err(|error| {
                    problem(path, index + 1, format!("not a JSON object: {error}"))
                })?;
                Ok(Some(Row {
                    line: index + 1,
                    fields,
                }))
            });
        row.transpose()
    };
    let mut rows = lines.enumerate().filter_map(row).peekable();
    match rows.peek() {
        Some(_) => Ok(rows),
        None => Err(problem(path, 1, "the file holds no row".into())),
    }
}

/// Reads `input`, has `add` add to its rows a few at a time, and writes them: to `output`, whole or
/// not at all, or to standard output as they come.
pub(crate) fn convert(
    input: &Path,
    output: Option<&Path>,
    at_a_time: usize,
    mut add: impl FnMut(&mut [Row]) -> Result<(), Error>,
) -> Result<(), Error> {
    let io = |source| Error::Io {
        action: "write",
        path: output.unwrap_or(Path::new("standard output")).into(),
        source,
    };
    // A pipe or a device cannot be replaced, only written to.
    let replaced = output.filter(|path| !path.exists() || path.is_file());
    let mut file = replaced.map(AtomicFile::create).transpose()?;
    let mut pipe = match (output, replaced) {
        (Some(path), None) => Some(File::options().write(true).open(path).map_err(io)?),
        _ => None,
    };
    let mut rows = rows(input)?;
    loop {
        let mut part: Vec<Row> = rows.by_ref().take(at_a_time).collect::<Result<_, _>>()?;
        if part.is_empty() {
            break;
        }
        add(&mut part)?;
        let mut bytes = Vec::new();
        for row in part {
            serde_json::to_writer(&mut bytes, &row.fields).map_err(|error| io(error.into()))?;
            bytes.push(b'\n');
        }
        match (&mut file, &mut pipe) {
            (Some(file), _) => file.write_all(&bytes).map_err(io)?,
            (None, Some(pipe)) => pipe.write_all(&bytes).map_err(io)?,
            (None, None) => super::print_bytes(&bytes)?,
        }
    }
    match file {
        Some(file) => Ok(file.commit()?),
        None => Ok(()),
    }
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
