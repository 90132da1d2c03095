//! Finished batches of an unfinished stage, or of a shard: one JSON line each.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use afd_data::records::Sample;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The answers of one batch of the plan, portion by portion in its order.
#[derive(Serialize, Deserialize)]
pub(super) struct FinishedBatch {
    pub(super) batch: usize,
    pub(super) answers: Vec<Vec<Sample>>,
}

/// Opens the file of finished batches behind its last whole line, and reads what it holds.
pub(super) fn resume(
    path: &Path,
    batches: usize,
) -> Result<(File, Vec<Option<FinishedBatch>>), Error> {
    let failed = |source| Error::Write {
        path: PathBuf::from(path),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    let mut finished: Vec<Option<FinishedBatch>> = (0..batches).map(|_| None).collect();
    let mut whole = 0;
    let mut reader = BufReader::new(&file);
    // Bytes, not text: a kill may have cut a line within a character.
    let mut line = Vec::new();
    let unreadable = |source| Error::Read {
        path: path.into(),
        source,
    };
    while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 && line.ends_with(b"\n") {
        let Ok(row) = serde_json::from_slice::<FinishedBatch>(&line) else {
            break;
        };
        whole += line.len() as u64;
        line.clear();
        if let Some(slot) = finished.get_mut(row.batch) {
            let batch = row.batch;
            *slot = Some(FinishedBatch { batch, ..row });
        }
    }
    file.set_len(whole).map_err(failed)?;
    file.seek(SeekFrom::Start(whole)).map_err(failed)?;
    Ok((file, finished))
}

pub(super) fn append(file: &mut File, path: &Path, row: &FinishedBatch) -> Result<(), Error> {
    let mut line = serde_json::to_vec(row).map_err(|error| Error::Write {
        path: path.into(),
        source: error.into(),
    })?;
    line.push(b'\n');
    file.write_all(&line).map_err(|source| Error::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_the_last_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("partial.jsonl");
        let sample = Sample {
            prompt: "p".into(),
            index: 0,
            completion: " caf\u{e9}".into(),
            completion_ids: vec![1],
            logprobs: vec![-0.5],
            sampler_logprobs: None,
            finish_reason: "stop".into(),
        };
        let (mut file, _) = resume(&path, 3).unwrap();
        for batch in [0, 2] {
            let answers = vec![vec![sample.clone()]];
            append(&mut file, &path, &FinishedBatch { batch, answers }).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        // Cut within the two bytes of the last é.
        let cut = whole.iter().rposition(|byte| *byte == 0xa9).unwrap();
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (_, finished) = resume(&path, 3).unwrap();
        let found: Vec<bool> = finished.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false, false]);
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), first_line as u64);
    }
}
