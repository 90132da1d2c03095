//! Results as lines of JSON: read whole, added to at the end.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// Reads a file of rows; there are none if there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let row = |line: &str| {
        serde_json::from_str(line).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(row).collect()
}

/// Adds rows in one write, so that an interruption leaves all of them or none.
pub(super) fn append<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), Error> {
    let mut text = String::new();
    for row in rows {
        // Strings and numbers always serialise.
        text += &format!("{}\n", serde_json::json!(row));
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io(path))?;
    file.write_all(text.as_bytes()).map_err(Error::io(path))
}
