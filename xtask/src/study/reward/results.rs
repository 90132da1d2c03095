//! What the runs found, one line for each ranker of each.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::study::known::Run;
use crate::study::lines;
use crate::summary::{BEST_OF_N, Summary};

use super::cases::Case;

/// The N of Best-of-N that is reported.
pub(super) const N: u32 = 8;

/// A ranker in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) variant: String,
    pub(super) heterogeneity: f64,
    pub(super) seed: u64,
    pub(super) ranker: String,
    /// Golden reward of its Best-of-8, less that of the fine-tuned policy.
    pub(super) gain: f64,
    /// That of the fine-tuned policy.
    pub(super) sft: f64,
    /// Correlations within a prompt, averaged.
    pub(super) golden_spearman: Option<f64>,
    pub(super) length_pearson: Option<f64>,
    /// How well the classes are told apart on held-out answers: by the reward model, …
    pub(super) auc: Option<f64>,
    /// … by the best classifier on surface features, …
    pub(super) shallow_auc: Option<f64>,
    /// … by the log-ratio of the two policies.
    pub(super) closed_form_auc: Option<f64>,
}

/// All results so far.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) rows: Vec<Row>,
}

/// The rows of a finished run.
pub(super) fn rows(case: &Case, summary: &Summary) -> Result<Vec<Row>, Error> {
    let missing = |what: &str| Error::MissingRows {
        path: case.folder().into(),
        missing: vec![what.to_owned()],
    };
    let sft = summary.sft().ok_or_else(|| missing("sft"))?.golden_mean;
    let row = |ranker: &crate::summary::Ranker| {
        let best = summary.rows.iter().find(|row| {
            let id = &row.id;
            id.policy == BEST_OF_N && id.ranker.as_ref() == Some(&ranker.ranker) && id.n == Some(N)
        });
        Ok(Row {
            variant: case.variant.to_owned(),
            heterogeneity: case.heterogeneity,
            seed: case.seed,
            ranker: ranker.ranker.clone(),
            gain: best.ok_or_else(|| missing(&ranker.ranker))?.golden_mean - sft,
            sft,
            golden_spearman: ranker.spearman_within_prompt_golden,
            length_pearson: ranker.pearson_within_prompt_length,
            auc: ranker.eval_auc,
            shallow_auc: ranker.shallow_auc,
            closed_form_auc: ranker.closed_form_auc,
        })
    };
    summary.rankers.iter().map(row).collect()
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
        self.rows.iter().any(|row| {
            row.variant == case.variant
                && row.heterogeneity == case.heterogeneity
                && row.seed == case.seed
        })
    }

    /// Adds the rows of a case to the file, in one write, and to these.
    pub(super) fn add(&mut self, path: &Path, rows: Vec<Row>) -> Result<(), Error> {
        lines::append(path, &rows)?;
        self.rows.extend(rows);
        Ok(())
    }

    /// The rows of a variant at a position of the dial by a ranker, seeds in their order.
    pub(super) fn of(&self, variant: &str, heterogeneity: f64, ranker: &str) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| {
                row.variant == variant && row.heterogeneity == heterogeneity && row.ranker == ranker
            })
            .collect();
        rows.sort_by_key(|row| row.seed);
        rows
    }

    /// Positions of the dial with results of a variant, ascending.
    pub(super) fn dials(&self, variant: &str) -> Vec<f64> {
        let mut dials: Vec<f64> = self
            .rows
            .iter()
            .filter(|row| row.variant == variant)
            .map(|row| row.heterogeneity)
            .collect();
        dials.sort_by(f64::total_cmp);
        dials.dedup();
        dials
    }

    /// Names in the order they first come up.
    pub(super) fn names(&self, of: impl Fn(&Row) -> &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for row in &self.rows {
            if !names.iter().any(|name| name == of(row)) {
                names.push(of(row).to_owned());
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::reward::cases::all;

    #[test]
    fn results_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let cases = all();
        let row = Row {
            variant: cases[1].variant.to_owned(),
            heterogeneity: cases[1].heterogeneity,
            seed: cases[1].seed,
            ranker: "init-sft".to_owned(),
            gain: 0.25,
            sft: 0.5,
            golden_spearman: Some(0.2),
            length_pearson: None,
            auc: None,
            shallow_auc: None,
            closed_form_auc: None,
        };
        let mut results = Results::read(&path).unwrap();
        results.add(&path, vec![row.clone()]).unwrap();
        let read = Results::read(&path).unwrap();
        assert!(read.has(&cases[1]) && !read.has(&cases[0]));
        assert_eq!(read.of(&row.variant, 0.25, "init-sft"), [&row]);
        assert_eq!(read.dials(&row.variant), [0.25]);
    }
}
