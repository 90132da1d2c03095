//! Bytes of a file, decompressed, with its format recognised and its lines counted.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::Error;

/// No record comes near this; a file without line breaks does.
const MAX_LINE_BYTES: u64 = 64 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A file format, recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    JsonLines,
    Csv { delimiter: u8 },
}

/// An open file, leading blanks already consumed.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The file's name, for the `source` of its rows.
    pub(super) name: String,
    pub(super) format: Format,
    /// Lines consumed so far.
    pub(super) line: u64,
    pub(super) reader: Box<dyn BufRead + Send>,
    gzip: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("line", &self.line)
            .finish()
    }
}

/// Opens a file and recognises its format.
pub(super) fn open(path: &Path) -> Result<Source, Error> {
    let unsupported = |found: &str| Error::UnsupportedFormat {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let file = File::open(path).map_err(Error::io("open", path))?;
    if file.metadata().map_err(Error::io("read", path))?.is_dir() {
        return Err(unsupported("files of its own (it is a directory)"));
    }
    let mut file = BufReader::new(file);
    let gzip = file
        .fill_buf()
        .map_err(Error::io("read", path))?
        .starts_with(&GZIP_MAGIC);
    let reader: Box<dyn BufRead + Send> = match gzip {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let format = Format::JsonLines;
    let mut source = Source {
        path: path.to_owned(),
        name,
        format,
        line: 0,
        reader,
        gzip,
    };
    source.format = match source.first_byte()? {
        None => return Err(unsupported("nothing (it is empty)")),
        Some(b'{') => Format::JsonLines,
        Some(first) => match extension(&source.name).as_str() {
            "csv" => Format::Csv { delimiter: b',' },
            "tsv" => Format::Csv { delimiter: b'\t' },
            _ if first == b'[' => return Err(unsupported("a JSON array")),
            _ if first == b'P' => return Err(unsupported("an unknown format, perhaps Parquet")),
            _ => return Err(unsupported("an unknown format")),
        },
    };
    Ok(source)
}

impl Source {
    /// Reads the next line, its break included, into `line`; false at the end.
    pub(super) fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = limited
            .read_until(b'\n', line)
            .map_err(|cause| self.io_error(cause))?;
        if read as u64 > MAX_LINE_BYTES {
            return Err(Error::LineTooLong {
                path: self.path.clone(),
                line: self.line + 1,
                limit: MAX_LINE_BYTES,
            });
        }
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }

    /// An I/O error met while reading the line after [`line`](Self::line).
    pub(super) fn io_error(&self, cause: std::io::Error) -> Error {
        read_error(&self.path, self.gzip, self.line + 1, cause)
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip
    }

    /// Consumes a byte-order mark and leading blanks; returns the byte that follows them.
    fn first_byte(&mut self) -> Result<Option<u8>, Error> {
        let mut at_start = true;
        loop {
            let (path, gzip, line) = (&self.path, self.gzip, self.line + 1);
            let buffer = self
                .reader
                .fill_buf()
                .map_err(|cause| read_error(path, gzip, line, cause))?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let mark = if at_start && buffer.starts_with(&UTF8_MARK) {
                UTF8_MARK.len()
            } else {
                0
            };
            at_start = false;
            let text = &buffer[mark..];
            let blanks = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let first = text.get(blanks).copied();
            self.line += text[..blanks].iter().filter(|&&b| b == b'\n').count() as u64;
            self.reader.consume(mark + blanks);
            if first.is_some() {
                return Ok(first);
            }
        }
    }
}

/// Tells damage to a compressed file from trouble with the disk.
pub(super) fn read_error(path: &Path, gzip: bool, line: u64, cause: std::io::Error) -> Error {
    let damaged = matches!(
        cause.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData
    );
    match gzip && damaged {
        true => Error::BrokenGzip {
            path: path.to_owned(),
            line,
            cause,
        },
        false => Error::io("read", path)(cause),
    }
}

/// The extension in lower case, looking through `.gz`.
fn extension(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.')
        .map(|(_, extension)| extension.to_owned())
        .unwrap_or_default()
}
