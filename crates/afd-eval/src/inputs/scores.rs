//! Scores of stored answers: rewards, log-ratios.

use std::path::Path;

use afd_data::records::{JsonlReader, Scores};
use afd_stats::is_constant;

use super::{Asked, Ranker, SampleFile, asked::same_prompts};
use crate::Error;

/// A ranker's scores of SFT's answers.
pub(super) fn ranker(name: &str, path: &Path, asked: &Asked<'_>) -> Result<Ranker, Error> {
    let scores = scores(path, &asked.sft, asked)?;
    all_finite(&scores, |prompt, index, score| Error::ScoreNotFinite {
        ranker: name.to_owned(),
        path: path.into(),
        prompt,
        index,
        score,
    })?;
    // Scores that differ between prompts only are as useless for choosing an answer.
    if asked.sft.answers > 1 && scores.iter().all(|scores| is_constant(scores)) {
        return Err(Error::ConstantScores {
            ranker: name.to_owned(),
            path: path.into(),
        });
    }
    Ok(Ranker {
        name: name.to_owned(),
        scores,
    })
}

/// The scores in `path` of the answers in `file`, `[prompt][answer]`.
pub(super) fn scores(
    path: &Path,
    file: &SampleFile<'_>,
    asked: &Asked<'_>,
) -> Result<Vec<Vec<f64>>, Error> {
    let (mut prompts, mut scores) = (Vec::new(), Vec::new());
    for row in JsonlReader::<Scores>::open(path)? {
        let row = row?;
        prompts.push(row.prompt);
        let widened = row.scores.into_iter().map(f64::from);
        scores.push(widened.collect::<Vec<f64>>());
    }
    same_prompts(path, &prompts, file.path, &asked.dialogues)?;
    let other = scores.iter().position(|row| row.len() != file.answers);
    if let Some(number) = other {
        return Err(Error::ScoreCount {
            path: path.into(),
            prompt: number + 1,
            expected: file.answers,
            got: scores[number].len(),
        });
    }
    Ok(scores)
}

/// Hands prompt, index and score of the first that is no finite number to `error`.
pub(super) fn all_finite(
    scores: &[Vec<f64>],
    error: impl Fn(usize, usize, f64) -> Error,
) -> Result<(), Error> {
    for (number, scores) in scores.iter().enumerate() {
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(error(number + 1, index, scores[index]));
        }
    }
    Ok(())
}
