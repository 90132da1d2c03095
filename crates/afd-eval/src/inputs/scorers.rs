//! Reads what further scorers said, and checks that it is of these answers.

use std::path::PathBuf;

use afd_data::records::read_jsonl;

use super::{Asked, EvalInputs, asked::same_prompts};
use crate::{Error, GoldenRow};

/// The rows of each file, by the scorer's name.
pub(super) fn read(
    inputs: &EvalInputs<'_>,
    asked: &Asked<'_>,
) -> Result<Vec<(String, Vec<GoldenRow>)>, Error> {
    let one = |(name, path): &(String, PathBuf)| {
        let rows: Vec<GoldenRow> = read_jsonl(path)?;
        let prompts: Vec<&str> = rows.iter().map(|row| row.prompt.as_str()).collect();
        same_prompts(path, &prompts, asked.sft.path, &asked.dialogues)?;
        for (number, row) in rows.iter().enumerate() {
            let counts = |scores: &[f64], expected: usize| match scores.len() {
                got if got == expected => Ok(()),
                got => Err(Error::ScoreCount {
                    path: path.clone(),
                    prompt: number + 1,
                    expected,
                    got,
                }),
            };
            counts(&row.init, asked.init.answers)?;
            counts(&row.sft, asked.sft.answers)?;
            for file in &asked.policies {
                counts(row.policy(file.policy), file.answers)?;
            }
        }
        Ok((name.clone(), rows))
    };
    inputs.scorers.iter().map(one).collect()
}
