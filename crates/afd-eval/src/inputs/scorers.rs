//! Reads what further scorers said, and checks that it is of these answers.

use std::path::{Path, PathBuf};

use afd_data::records::read_jsonl;

use super::{Data, same_prompts};
use crate::{Error, GoldenRow};

/// The rows of each file, by the scorer's name.
pub(super) fn read(
    files: &[(String, PathBuf)],
    samples: &Path,
    data: &Data,
) -> Result<Vec<(String, Vec<GoldenRow>)>, Error> {
    let one = |(name, path): &(String, PathBuf)| {
        let rows: Vec<GoldenRow> = read_jsonl(path)?;
        let prompts = rows.iter().map(|row| row.prompt.as_str());
        same_prompts(path, prompts, samples, data.prompts())?;
        for (number, row) in rows.iter().enumerate() {
            let dialogue = &data.dialogues[number];
            let counts = |scores: &[f64], expected: usize| match scores.len() {
                got if got == expected => Ok(()),
                got => Err(Error::ScoreCount {
                    path: path.clone(),
                    prompt: number + 1,
                    expected,
                    got,
                }),
            };
            counts(&row.init, dialogue.init.len())?;
            counts(&row.sft, dialogue.sft.len())?;
            for policy in &data.policies {
                counts(row.policy(&policy.name), policy.samples[number].len())?;
            }
        }
        Ok((name.clone(), rows))
    };
    files.iter().map(one).collect()
}
