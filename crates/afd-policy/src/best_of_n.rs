//! Best-of-N from stored answers and stored scores: no model runs here.

use std::path::{Path, PathBuf};

use afd_data::records::{JsonlWriter, Sample, Scores, read_jsonl};
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The `[best_of_n]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOfNConfig {
    /// The best of the first `n` stored answers is taken.
    pub n: usize,
}

/// An answer that won.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// What was asked.
    pub prompt: String,
    /// The best answer by this ranker.
    pub completion: String,
    /// Which of the stored answers it is.
    pub index: u32,
    /// Its score.
    pub score: f32,
}

/// For each `(ranker, scores)` writes `RANKER.jsonl`: for every prompt the answer with the
/// highest score among the first `n`, the earliest of equals.
///
/// # Errors
/// When scores and answers do not belong together, or hold fewer than `n` per prompt.
pub fn run(
    config: &BestOfNConfig,
    samples: &Path,
    rankers: &[(String, PathBuf)],
    ctx: &StageContext,
) -> Result<(), Error> {
    let samples: Vec<Sample> = read_jsonl(samples)?;
    let prompts: Vec<&[Sample]> = samples.chunk_by(|a, b| a.prompt == b.prompt).collect();
    for (done, (ranker, path)) in rankers.iter().enumerate() {
        let scores: Vec<Scores> = read_jsonl(path)?;
        let problem = |problem: String| Error::Scores {
            path: path.clone(),
            problem,
        };
        if scores.len() != prompts.len() {
            return Err(problem(format!(
                "{} prompts against {}",
                scores.len(),
                prompts.len()
            )));
        }
        let mut writer = JsonlWriter::create(&ctx.dir().join(format!("{ranker}.jsonl")))?;
        for (answers, row) in prompts.iter().zip(&scores) {
            if row.prompt != answers[0].prompt || row.scores.len() != answers.len() {
                return Err(problem(format!("prompt {:?} differs", row.prompt)));
            }
            let best = winner(&row.scores, config.n).ok_or_else(|| {
                problem(format!("{} answers for n = {}", row.scores.len(), config.n))
            })?;
            writer.write(&Winner {
                prompt: row.prompt.clone(),
                completion: answers[best].completion.clone(),
                index: answers[best].index,
                score: row.scores[best],
            })?;
        }
        writer.finish()?;
        ctx.progress(done as u64 + 1, rankers.len() as u64, "ranker", ranker);
    }
    Ok(())
}

/// The index of the highest of the first `n` scores, the earliest of equals; `None` when
/// there are fewer than `n` or none is asked for.
fn winner(scores: &[f32], n: usize) -> Option<usize> {
    let scores = scores.get(..n)?;
    (0..n).reduce(|best, i| if scores[i] > scores[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::winner;

    #[test]
    fn the_earliest_best_of_the_first_n_wins() {
        assert_eq!(winner(&[0.0, 2.0, 2.0, 9.0], 3), Some(1));
        assert_eq!(winner(&[0.0, 2.0, 2.0, 9.0], 4), Some(3));
        assert_eq!(winner(&[0.0], 2), None);
        assert_eq!(winner(&[0.0], 0), None);
    }
}
