//! Curves: one JSON object per line in a stage's `metrics.jsonl`, appended as they come.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::events::{self, Events};
use crate::{Error, fs};

/// Appends lines such as `{"step":3,"loss":2.5}` to a file, and the same to a file of events for
/// TensorBoard, in the directory `tb` beside it.
///
/// Each line is written at once, so a kill loses at most the line being written.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    /// Open from the first line on.
    files: Mutex<Option<Files>>,
}

#[derive(Debug)]
struct Files {
    lines: File,
    events: Events,
}

/// The part of a line that this file understands.
#[derive(Deserialize)]
struct Row {
    step: u64,
}

impl Metrics {
    /// Appends to the file at `path`, which need not exist, after cutting off a last line that a
    /// kill left torn.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Metrics`] when a line before the last is broken.
    pub fn open(path: &Path) -> Result<Self, Error> {
        keep_steps(path, u64::MAX)?;
        Ok(Self {
            path: path.to_path_buf(),
            files: Mutex::new(None),
        })
    }

    /// Appends one line: `step` and then `values` in their order. No value may be called `step`.
    /// NaN and infinities, which JSON does not have, become `null`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], naming the file.
    pub fn log(&self, step: u64, values: &[(&str, f64)]) -> Result<(), Error> {
        let mut row = Map::new();
        row.insert("step".to_owned(), step.into());
        for &(name, value) in values {
            debug_assert_ne!(name, "step", "a metric may not be called `step`");
            row.insert(name.to_owned(), value.into());
        }
        let line = format!("{}\n", Value::Object(row));
        let mut slot = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match slot.as_mut() {
            Some(files) => files,
            None => slot.insert(self.opened()?),
        };
        append(&mut files.lines, line.as_bytes()).map_err(Error::io("write", &self.path))?;
        files.events.log(step, values)
    }

    /// Cuts the file back to a checkpoint: lines of later steps go, as does a torn last line. For
    /// a resumed stage, which is about to log those steps again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Metrics`] when a line before the last is broken.
    pub fn truncate_after(&self, step: u64) -> Result<(), Error> {
        self.close();
        keep_steps(&self.path, step)
    }

    /// Lets go of the file; the next line opens it again.
    pub(crate) fn close(&self) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The file of lines, and events of all that it holds.
    fn opened(&self) -> Result<Files, Error> {
        let io = |action| Error::io(action, &self.path);
        let lines = File::options().create(true).append(true).open(&self.path);
        let lines = lines.map_err(io("write"))?;
        let mut events = Events::create(&self.path.with_file_name(events::DIR))?;
        for line in fs::read_to_string(&self.path)?.lines() {
            // What could not be read was cut off when the file was opened.
            let Ok(Value::Object(row)) = serde_json::from_str(line) else {
                continue;
            };
            let step = row.get("step").and_then(Value::as_u64).unwrap_or_default();
            let numbers = row
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
            let values: Vec<(&str, f64)> = numbers.filter(|(name, _)| *name != "step").collect();
            events.log(step, &values)?;
        }
        Ok(Files { lines, events })
    }
}

fn append(file: &mut File, line: &[u8]) -> io::Result<()> {
    let whole = file.metadata()?.len();
    file.write_all(line).inspect_err(|_| {
        // Half a line would spoil the next one, should the stage go on.
        let _ = file.set_len(whole);
    })
}

/// Rewrites the file with the lines up to `last_step`, if any line is to go.
fn keep_steps(path: &Path, last_step: u64) -> Result<(), Error> {
    let old = match std::fs::read(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut kept = Vec::with_capacity(old.len());
    let mut lines = old
        .split_inclusive(|&byte| byte == b'\n')
        .enumerate()
        .peekable();
    while let Some((index, line)) = lines.next() {
        match serde_json::from_slice::<Row>(line) {
            Ok(row) if row.step <= last_step => {
                kept.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                kept.push(b'\n');
            }
            Ok(_) => {}
            // Only the last line can be torn; one before it was changed by someone.
            Err(_) if lines.peek().is_none() => {}
            Err(source) => {
                return Err(Error::Metrics {
                    path: path.to_path_buf(),
                    line: index + 1,
                    source,
                });
            }
        }
    }
    if kept == old {
        return Ok(());
    }
    fs::write_atomic(path, &kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metrics file that holds `content`, reopened.
    fn reopened(content: &str) -> (tempfile::TempDir, PathBuf, Result<Metrics, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, content).unwrap();
        let metrics = Metrics::open(&path);
        (dir, path, metrics)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_keep_their_order_and_are_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let metrics = Metrics::open(&path).unwrap();
        assert!(!path.exists());
        metrics.log(1, &[("loss", 2.5), ("accuracy", 0.1)]).unwrap();
        metrics.log(2, &[("loss", f64::NAN)]).unwrap();
        assert_eq!(
            text(&path),
            "{\"step\":1,\"loss\":2.5,\"accuracy\":0.1}\n{\"step\":2,\"loss\":null}\n"
        );
    }

    #[test]
    fn a_torn_last_line_is_dropped() {
        for torn in ["{\"st", "{\"step\":3,\"loss\":0.", "\0\0\0\0", "{}\n"] {
            let (_dir, path, metrics) = reopened(&format!("{{\"step\":1}}\n{torn}"));
            metrics.unwrap().log(2, &[]).unwrap();
            assert_eq!(text(&path), "{\"step\":1}\n{\"step\":2}\n", "{torn:?}");
        }
    }

    #[test]
    fn a_last_line_that_lacks_only_its_end_is_kept() {
        let (_dir, path, metrics) = reopened("{\"step\":1}");
        metrics.unwrap().log(2, &[]).unwrap();
        assert_eq!(text(&path), "{\"step\":1}\n{\"step\":2}\n");
    }

    #[test]
    fn truncation_goes_by_step_and_logging_goes_on() {
        let (_dir, path, metrics) =
            reopened("{\"step\":1,\"loss\":3.0}\n{\"step\":2}\n{\"step\":3}\n{\"step\"");
        let metrics = metrics.unwrap();
        metrics.log(4, &[]).unwrap();
        metrics.truncate_after(2).unwrap();
        metrics.log(3, &[("loss", 1.0)]).unwrap();
        assert_eq!(
            text(&path),
            "{\"step\":1,\"loss\":3.0}\n{\"step\":2}\n{\"step\":3,\"loss\":1.0}\n"
        );
    }

    #[test]
    fn truncating_nothing_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::open(&dir.path().join("metrics.jsonl")).unwrap();
        metrics.truncate_after(0).unwrap();
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
        let (_dir, _path, metrics) = reopened("{\"step\":1}\nbroken\n{\"step\":2}\n");
        let message = metrics.unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl`, line 2"), "{message}");
    }

    #[test]
    fn events_hold_what_the_lines_do_also_after_a_cut() {
        let (dir, _path, metrics) =
            reopened("{\"step\":1,\"first\":1.0}\n{\"step\":2,\"second\":2.0}\n");
        let metrics = metrics.unwrap();
        metrics.truncate_after(1).unwrap();
        metrics.log(2, &[("third", 3.0)]).unwrap();
        let files: Vec<_> = std::fs::read_dir(dir.path().join("tb"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        let bytes = std::fs::read(&files[0]).unwrap();
        let has = |name: &str| bytes.windows(name.len()).any(|at| at == name.as_bytes());
        assert!(has("first") && has("third") && !has("second"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named_with_its_remedy() {
        let mut file = File::options().append(true).open("/dev/full").unwrap();
        let error = append(&mut file, b"{}\n").map_err(Error::io("write", Path::new("/dev/full")));
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("`/dev/full`: the disk is full"),
            "{message}"
        );
    }
}
