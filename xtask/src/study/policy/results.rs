//! What the runs found, one line for each policy of each.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::study::lines;

use super::cases::{Case, Line, SELECTION};

/// The lines of policies that nothing was done to, and their reward.
pub(super) const UNTOUCHED: [&str; 3] = ["init", "sft", "demonstrator"];
pub(super) const NO_REWARD: &str = "none";

/// A policy in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) seed: u64,
    /// The way to it.
    pub(super) line: String,
    /// What it was paid by, or chosen by.
    pub(super) reward: String,
    /// How far it was gone that way; none for [`UNTOUCHED`].
    pub(super) strength: Option<f64>,
    /// Golden reward less that of the fine-tuned policy.
    pub(super) gain: f64,
    /// The same at the fine-tuned policy's length.
    pub(super) length_controlled_gain: Option<f64>,
    /// Divergence from the fine-tuned policy in nats an answer, if it was measured.
    pub(super) kl: Option<f64>,
    /// Its standard error; none for a bound.
    pub(super) kl_se: Option<f64>,
    /// What it is worth: `estimate` or `upper bound`.
    pub(super) kl_kind: Option<String>,
    /// Mean score by its reward, less that of the fine-tuned policy; none where no reward model
    /// was learned from, or chose.
    pub(super) proxy_gain: Option<f64>,
    /// Rank correlation of that reward with the golden one, among the policy's own answers to a prompt.
    pub(super) proxy_rank: Option<f64>,
    /// Nats an answer.
    pub(super) entropy: Option<f64>,
    /// Share of answers that ended by themselves.
    pub(super) eos_rate: Option<f64>,
    /// Tokens of an answer.
    pub(super) mean_length: Option<f64>,
    pub(super) distinct_2: Option<f64>,
    /// What making it took: tokens learned from, once for each pass, those that a reference read
    /// beforehand, and those drawn on the way, with all of the policies it was made on top of; 0 where
    /// nothing is learned. What rewards, references and value models read on the way is not counted.
    pub(super) training_tokens: u64,
    /// Tokens that models read one by one to give an answer: its own, twice where two models read
    /// each (`logits`), and N answers of the fine-tuned policy for Best-of-N. What a ranker then
    /// reads is not counted. None where nothing is drawn.
    pub(super) inference_tokens: Option<f64>,
    pub(super) golden: f64,
    /// Golden reward of the fine-tuned policy.
    pub(super) sft: f64,
}

/// All results so far.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) rows: Vec<Row>,
}

impl Results {
    /// Reads the file of results; there are none if there is no file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            rows: lines::read(path)?,
        })
    }

    /// Whether there are results of a case.
    pub(super) fn has(&self, case: &Case) -> bool {
        let has = |line: &&'static Line| {
            self.rows.iter().any(|row| {
                let paid = line.name == SELECTION || row.reward == line.reward;
                row.seed == case.seed && row.line == line.name && paid
            })
        };
        case.lines.iter().all(has)
    }

    /// Adds the rows of a case to the file, in one write, and to these.
    pub(super) fn add(&mut self, path: &Path, rows: Vec<Row>) -> Result<(), Error> {
        lines::append(path, &rows)?;
        self.rows.extend(rows);
        Ok(())
    }

    /// The rows of a line with a reward, at a strength or at all, seeds in their order.
    pub(super) fn of(&self, line: &str, reward: &str, strength: Option<f64>) -> Vec<&Row> {
        let is_it = |row: &&Row| {
            let far = strength.is_none() || row.strength == strength;
            row.line == line && row.reward == reward && far
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(is_it).collect();
        rows.sort_by_key(|row| row.seed);
        rows
    }

    /// The rows of one of [`UNTOUCHED`].
    pub(super) fn untouched(&self, line: &str) -> Vec<&Row> {
        self.of(line, NO_REWARD, None)
    }

    /// The seeds there are results of, ascending.
    pub(super) fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.rows.iter().map(|row| row.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::study::policy::cases::all;

    /// A policy by RLOO with the Init-SFT reward, unless a test says otherwise.
    pub(in super::super) fn row(seed: u64, strength: f64, kl: f64, gain: f64) -> Row {
        Row {
            seed,
            line: "rloo".to_owned(),
            reward: "init-sft".to_owned(),
            strength: Some(strength),
            gain,
            length_controlled_gain: Some(gain / 2.0),
            kl: Some(kl),
            kl_se: Some(0.01),
            kl_kind: Some("estimate".to_owned()),
            proxy_gain: Some(gain * 3.0),
            proxy_rank: Some(0.3),
            entropy: Some(12.25),
            eos_rate: Some(0.99),
            mean_length: Some(40.0),
            distinct_2: Some(0.75),
            training_tokens: 123_456,
            inference_tokens: Some(40.0),
            golden: 0.5 + gain,
            sft: 0.5,
        }
    }

    #[test]
    fn results_are_found_again_by_line_and_reward() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let mut results = Results::read(&path).unwrap();
        let of_preference = Row {
            reward: "preference".to_owned(),
            ..row(1, 0.5, 1.0, 0.25)
        };
        results.add(&path, vec![of_preference.clone()]).unwrap();
        let best = Row {
            line: SELECTION.to_owned(),
            ..row(2, 4.0, 1.0, 0.25)
        };
        results.add(&path, vec![best]).unwrap();
        let read = Results::read(&path).unwrap();
        let done: Vec<String> = all()
            .iter()
            .filter(|case| read.has(case))
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            done,
            ["seed 1, rloo (preference)", "seed 2, selection (a ranker)"]
        );
        assert_eq!(read.of("rloo", "preference", Some(0.5)), [&of_preference]);
        assert_eq!(read.of("rloo", "preference", Some(1.0)), [] as [&Row; 0]);
        assert_eq!(read.seeds(), [1, 2]);
    }
}
