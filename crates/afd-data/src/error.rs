//! What can go wrong between a file and a batch, each with the place and the remedy.

use std::path::{Path, PathBuf};

use crate::records::DroppedRow;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to open, read or write a file.
    #[error("cannot {action} {path}: {cause}", path = path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// Neither content nor extension is one of the formats read here.
    #[error(
        "{path} holds {found}; supported are JSON Lines (one object a line) and .csv or .tsv \
         with a header, each plain or gzip-compressed: convert the file to one of them",
        path = path.display()
    )]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// What the first bytes and the name say it is.
        found: String,
    },
    /// A compressed file that ends early or is damaged.
    #[error(
        "{path}:{line}: the gzip stream is truncated or damaged ({cause}); \
         fetch or compress the file again",
        path = path.display()
    )]
    BrokenGzip {
        /// The file.
        path: PathBuf,
        /// The line that could not be completed, from 1.
        line: u64,
        /// What the decompressor said.
        cause: std::io::Error,
    },
    /// A line that is not UTF-8.
    #[error(
        "{path}:{line}: invalid UTF-8 after byte {column} of the line; \
         convert the file, e.g. with `iconv -t UTF-8`",
        path = path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Number of valid bytes before the bad one (in CSV: of the field).
        column: usize,
    },
    /// A line too long to be a record; the file is probably not line-based.
    #[error(
        "{path}:{line}: the line is longer than {limit} bytes; \
         write one record a line (`jq -c '.[]'` splits a JSON array)",
        path = path.display()
    )]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The longest accepted line in bytes.
        limit: u64,
    },
    /// A line that is not the JSON value it should be.
    #[error("{path}:{line}:{column}: {message}; correct or delete the line", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column within the line, from 1.
        column: usize,
        /// serde's message.
        message: String,
    },
    /// A row whose keys are none of the known shapes.
    #[error(
        "{path}:{line}: the row has the keys {keys}; known are prompt + completion, messages, \
         prompt + chosen + rejected, chosen + rejected: rename the keys to one of these",
        path = path.display()
    )]
    UnknownShape {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The keys found.
        keys: String,
    },
    /// A value of another type than its key asks for.
    #[error("{path}:{line}: `{key}` must be {expected}, but is {got}; correct the row", path = path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The key, e.g. `messages[2].role`.
        key: String,
        /// The accepted type.
        expected: &'static str,
        /// The type found.
        got: &'static str,
    },
    /// A CSV header without the column to read.
    #[error(
        "{path}: no column {wanted}; the header has {found}: \
         name the right one with `{key}`",
        path = path.display()
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The configuration key that names the column.
        key: &'static str,
        /// The names looked for.
        wanted: String,
        /// The names there are.
        found: String,
    },
    /// A CSV row of another length than its header.
    #[error(
        "{path}:{line}: the row has {got} fields, the header {expected}; \
         quote fields that hold separators or line breaks",
        path = path.display()
    )]
    CsvFields {
        /// The file.
        path: PathBuf,
        /// The line on which the row ends, from 1.
        line: u64,
        /// Fields in the header.
        expected: u64,
        /// Fields in the row.
        got: u64,
    },
    /// A configuration value out of its range.
    #[error("`{key}` is {got}; it must be {expected}")]
    Config {
        /// The key.
        key: String,
        /// The value.
        got: String,
        /// The accepted values.
        expected: String,
    },
    /// Nothing was left after reading and filtering.
    #[error(
        "no row is left of the {read} read (dropped: {dropped}); \
         check the input file and the limits in `[data]`"
    )]
    NoRows {
        /// Rows read.
        read: u64,
        /// Counts by reason.
        dropped: String,
    },
    /// A split that should have rows got none.
    #[error(
        "the split `{split}` is empty although its fraction is {fraction} ({kept} rows were kept \
         in all); add data, raise the fraction or set it to 0"
    )]
    EmptySplit {
        /// The split.
        split: &'static str,
        /// Its fraction.
        fraction: f64,
        /// Rows kept in all splits.
        kept: u64,
    },
    /// A tokenizer file that cannot be parsed.
    #[error(
        "{path}: {message}; a fast tokenizer is needed: save it again with transformers' \
         `save_pretrained`",
        path = path.display()
    )]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A tokenizer or model configuration key with a value that makes no sense.
    #[error("{path}: `{key}` must be {expected}, but is {got}; correct the file", path = path.display())]
    TokenizerKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The accepted values.
        expected: &'static str,
        /// The value.
        got: String,
    },
    /// A tokenizer directory which names no end token.
    #[error(
        "{dir} names no end token: set `eos_token` in tokenizer_config.json or `eos_token_id` \
         in generation_config.json or config.json",
        dir = dir.display()
    )]
    NoEndToken {
        /// The directory.
        dir: PathBuf,
    },
    /// A chat template that does not parse, or fails on a dialogue.
    #[error(
        "{origin}: {place}the chat template fails: {message}; correct the template, or read the \
         data without it",
        place = line_place(*line)
    )]
    ChatTemplate {
        /// The file, with the key within it.
        origin: String,
        /// The line of the template, from 1; 0 if unknown.
        line: usize,
        /// What Jinja said.
        message: String,
    },
    /// A chat template that refuses a dialogue, by `raise_exception`.
    #[error("{origin}: the chat template refuses the dialogue: {message}")]
    ChatRefused {
        /// The file, with the key within it.
        origin: String,
        /// What the template said.
        message: String,
    },
    /// A chat template without `{% generation %}` where the assistant's words must be told.
    #[error(
        "{origin}: the chat template has no `{{% generation %}}` blocks, so which words are the \
         assistant's cannot be told; put them around its turns (TRL has such templates for many \
         families), or train on last answers only"
    )]
    NoGenerationBlocks {
        /// The file, with the key within it.
        origin: String,
    },
    /// A tokenizer without chat template where one is needed.
    #[error(
        "the tokenizer of {dir} has no chat template; add chat_template.jinja, or read the data \
         without one",
        dir = dir.display()
    )]
    NoChatTemplate {
        /// The tokenizer's directory.
        dir: PathBuf,
    },
    /// The tokenizer could not encode or decode.
    #[error(
        "the tokenizer cannot {action} {what}: {message}; the tokenizer lacks an unknown token"
    )]
    Tokenize {
        /// `encode` or `decode`.
        action: &'static str,
        /// The beginning of the text, or the ids.
        what: String,
        /// What the tokenizer said.
        message: String,
    },
    /// A row at which something failed that is not the row's fault.
    #[error("{row}: {cause}")]
    Row {
        /// `file:line` of the row.
        row: String,
        /// What failed.
        cause: Box<Error>,
    },
    /// Writing through the stage library failed.
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}

impl Error {
    /// Wraps an I/O error with what was tried on which path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    /// A JSON error on a known line; serde's own line (always 1) is taken out of the message.
    pub fn json(path: &Path, line: u64, error: &serde_json::Error) -> Self {
        let column = error.column();
        let message = error.to_string();
        let message = match message.rfind(" at line ") {
            Some(end) => message[..end].to_owned(),
            None => message,
        };
        Self::Json {
            path: path.to_owned(),
            line,
            column,
            message,
        }
    }
}

fn line_place(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!("line {line}: "),
    }
}

/// Why a reader did not return a row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// This row is left out, with a reason; the next ones follow.
    #[error("{}: {}", .0.source, .0.reason)]
    Dropped(DroppedRow),
    /// The file is broken; nothing follows.
    #[error(transparent)]
    Broken(#[from] Error),
}
