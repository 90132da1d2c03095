//! Comma- or tab-separated values with a header: one column of prompts, one of answers.

use std::io::{BufRead, Read};

use super::{
    Options,
    dialogue::{RawRow, Said},
    source::{Source, read_error},
};
use crate::{Error, RowError, records::Example};

pub(super) struct CsvRows {
    path: std::path::PathBuf,
    name: String,
    gzip: bool,
    reader: csv::Reader<LineReader>,
    record: csv::StringRecord,
    prompt: usize,
    completion: usize,
    options: Options,
}

impl std::fmt::Debug for CsvRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRows")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl CsvRows {
    pub(super) fn new(source: Source, delimiter: u8, options: Options) -> Result<Self, Error> {
        let gzip = source.is_gzip();
        let lines = LineReader {
            inner: source.reader,
            line: source.line,
            at_start: true,
        };
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(lines);
        let mut rows = Self {
            path: source.path,
            name: source.name,
            gzip,
            reader,
            record: csv::StringRecord::new(),
            prompt: 0,
            completion: 0,
            options,
        };
        let header = match rows.reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(rows.error(error)),
        };
        let options = &rows.options.read;
        let prompt = column(
            &header,
            options.prompt_column.as_deref(),
            ["prompt", "query"],
        );
        let completion = column(
            &header,
            options.completion_column.as_deref(),
            ["completion", "response"],
        );
        let missing = |key, wanted: String| Error::MissingColumn {
            path: rows.path.clone(),
            key,
            wanted,
            found: header
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        rows.prompt = prompt.map_err(|wanted| missing("prompt_column", wanted))?;
        rows.completion = completion.map_err(|wanted| missing("completion_column", wanted))?;
        Ok(rows)
    }

    fn example(&self) -> Result<Example, RowError> {
        let breaks = self
            .record
            .iter()
            .flat_map(str::bytes)
            .filter(|&b| b == b'\n')
            .count();
        let line = self.reader.get_ref().line - breaks as u64;
        let source = format!("{}:{line}", self.name);
        let cell = |column| Said::Text(self.record.get(column).unwrap_or_default().to_owned());
        let row = RawRow {
            prompt: cell(self.prompt),
            completion: Some(cell(self.completion)),
            chosen: None,
            rejected: None,
        };
        self.options.finish(row, &source)
    }

    fn error(&self, error: csv::Error) -> Error {
        let path = self.path.clone();
        let line = self.reader.get_ref().line.max(1);
        match error.into_kind() {
            csv::ErrorKind::Io(cause) => read_error(&path, self.gzip, line, cause),
            csv::ErrorKind::Utf8 { err, .. } => Error::NotUtf8 {
                path,
                line,
                column: err.valid_up_to(),
            },
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => Error::CsvFields {
                path,
                line,
                expected: expected_len,
                got: len,
            },
            // The remaining kinds arise from writing and from serde, which are not used here.
            other => Error::io("read", &path)(std::io::Error::other(format!("{other:?}"))),
        }
    }
}

impl Iterator for CsvRows {
    type Item = Result<Example, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.read_record(&mut self.record) {
            Ok(true) => Some(self.example()),
            Ok(false) => None,
            Err(error) => Some(Err(self.error(error).into())),
        }
    }
}

/// Hands out at most one line a call, so that after a record its last line is the line count.
/// (The csv crate's own position is that before the record, blank lines and `\r\n` included.)
struct LineReader {
    inner: Box<dyn BufRead + Send>,
    /// Lines begun so far.
    line: u64,
    at_start: bool,
}

impl Read for LineReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let text = self.inner.fill_buf()?;
        let text = &text[..text.len().min(buffer.len())];
        let length = text
            .iter()
            .position(|&b| b == b'\n')
            .map_or(text.len(), |at| at + 1);
        let text = &text[..length];
        buffer[..length].copy_from_slice(text);
        self.line += u64::from(self.at_start && length > 0);
        self.at_start = text.ends_with(b"\n");
        self.inner.consume(length);
        Ok(length)
    }
}

/// The index of the configured column, else of the first default there is; else what was sought.
fn column(
    header: &csv::StringRecord,
    configured: Option<&str>,
    defaults: [&str; 2],
) -> Result<usize, String> {
    let find = |name: &str| header.iter().position(|other| other.trim() == name);
    match configured {
        Some(name) => find(name).ok_or_else(|| format!("`{name}`")),
        None => defaults
            .iter()
            .find_map(|name| find(name))
            .ok_or_else(|| format!("`{}` or `{}`", defaults[0], defaults[1])),
    }
}
