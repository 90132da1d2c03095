//! The part of a run's `eval/summary.json` that automation reads.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;

/// The format of `eval/summary.json` that this file describes.
const FORMAT: u32 = 1;

/// The policy that samples once per prompt and keeps what a ranker likes best.
pub(crate) const BEST_OF_N: &str = "best-of-n";

/// A policy made from the fine-tuned one, with answers of its own.
pub(crate) const TRAINED: &str = "trained";

/// Golden rewards per policy.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    format: u32,
    pub(crate) rows: Vec<Row>,
    #[serde(default)]
    pub(crate) rankers: Vec<Ranker>,
    #[serde(default)]
    pub(crate) reference: Option<Reference>,
}

/// Policies known by their answers only.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reference {
    pub(crate) demonstrator: Demonstrator,
}

/// Who wrote the demonstrations.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Demonstrator {
    pub(crate) golden_mean: f64,
}

/// What is known of what chooses.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ranker {
    pub(crate) ranker: String,
    #[serde(default)]
    pub(crate) spearman_within_prompt_golden: Option<f64>,
    #[serde(default)]
    pub(crate) pearson_within_prompt_length: Option<f64>,
    #[serde(default)]
    pub(crate) eval_auc: Option<f64>,
    #[serde(default)]
    pub(crate) shallow_auc: Option<f64>,
    #[serde(default)]
    pub(crate) closed_form_auc: Option<f64>,
}

/// One policy's golden reward over the held-out prompts.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) id: RowId,
    /// Mean golden reward.
    pub(crate) golden_mean: f64,
    /// Its 95 % interval, low and high.
    pub(crate) golden_ci95: [f64; 2],
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What is known of a policy beside its golden reward, where it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Golden mean less that of the fine-tuned policy.
    pub(crate) delta_vs_sft: Option<f64>,
    /// The same at the fine-tuned policy's length.
    pub(crate) length_controlled_gain: Option<f64>,
    /// Divergence in nats; from the fine-tuned policy, but for that one itself and the initial one.
    pub(crate) kl_nats: Option<f64>,
    pub(crate) kl_se: Option<f64>,
    /// `estimate` or `upper bound`.
    pub(crate) kl_kind: Option<String>,
    /// Mean score by the ranker itself, or by the reward that was learned from.
    pub(crate) proxy_mean: Option<f64>,
    /// That of the fine-tuned policy's answers.
    pub(crate) proxy_mean_sft: Option<f64>,
    #[serde(default)]
    pub(crate) proxy_spearman_within_prompt_golden: Option<f64>,
    /// Nats an answer.
    pub(crate) entropy_nats: Option<f64>,
    pub(crate) eos_rate: Option<f64>,
    /// Tokens.
    pub(crate) mean_length: Option<f64>,
    pub(crate) distinct_2: Option<f64>,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RowId {
    pub(crate) policy: String,
    /// Which of the trained policies.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What chose among the samples; none where nothing was chosen.
    #[serde(default)]
    pub(crate) ranker: Option<String>,
    /// Samples per prompt to choose from; 1 or absent where nothing was chosen.
    #[serde(default)]
    pub(crate) n: Option<u32>,
}

impl Summary {
    /// Reads a summary.
    pub(crate) fn read(path: &Path) -> Result<Summary, Error> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let summary: Summary = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })?;
        if summary.format != FORMAT {
            return Err(Error::SummaryFormat {
                path: path.to_owned(),
                found: summary.format,
                expected: FORMAT,
            });
        }
        Ok(summary)
    }

    /// The row of the fine-tuned policy, which the others have to beat.
    pub(crate) fn sft(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.id.policy == "sft")
    }

    /// The rows as a table of Markdown, in the order of the file.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| policy | ranker | N | golden mean | 95 % interval |\n| --- | --- | ---: | ---: | --- |\n",
        );
        for row in &self.rows {
            let [low, high] = row.golden_ci95;
            table.push_str(&format!(
                "| {} | {:.3} | {low:.3} … {high:.3} |\n",
                row.id.cells(),
                row.golden_mean
            ));
        }
        table
    }
}

impl Row {
    /// Whether this policy is better than `other` with intervals that do not meet.
    pub(crate) fn beats(&self, other: &Row) -> bool {
        self.golden_ci95[0] > other.golden_ci95[1]
    }
}

impl RowId {
    /// Policy, ranker and N as the first three cells of a table's row.
    pub(crate) fn cells(&self) -> String {
        let ranker = self.ranker.as_deref().unwrap_or("");
        let n = self.n.map_or_else(String::new, |n| n.to_string());
        let policy = self.name.as_deref().unwrap_or(&self.policy);
        format!("{policy} | {ranker} | {n}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row whose interval reaches 0.1 to either side.
    pub(crate) fn row(policy: &str, ranker: &str, n: u32, golden_mean: f64) -> Row {
        Row {
            id: RowId {
                policy: policy.into(),
                name: None,
                ranker: (!ranker.is_empty()).then(|| ranker.into()),
                n: Some(n),
            },
            golden_mean,
            golden_ci95: [golden_mean - 0.1, golden_mean + 0.1],
            figures: Figures::default(),
        }
    }

    pub(crate) fn summary(rows: Vec<Row>) -> Summary {
        Summary {
            format: FORMAT,
            rows,
            rankers: Vec::new(),
            reference: None,
        }
    }

    #[test]
    fn a_summary_is_read_and_columns_of_later_versions_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let text = r#"{"format": 1, "rows": [
            {"policy": "sft", "golden_mean": 0.5, "golden_ci95": [0.4, 0.6], "kl": 1.0},
            {"policy": "best-of-n", "ranker": "init-sft", "n": 8, "golden_mean": 1, "golden_ci95": [0.9, 1.1]},
            {"policy": "trained", "name": "rloo", "ranker": null, "n": 1, "golden_mean": 2, "golden_ci95": [1, 3],
             "kl_nats": 1, "kl_kind": "estimate"}
        ]}"#;
        fs::write(&path, text).unwrap();
        let summary = Summary::read(&path).unwrap();
        assert_eq!(summary.sft().unwrap().id.ranker, None);
        assert_eq!(summary.rows[1].id.cells(), "best-of-n | init-sft | 8");
        assert_eq!(summary.rows[2].id.policy, TRAINED);
        assert_eq!(summary.rows[2].id.cells(), "rloo |  | 1");
        assert_eq!(summary.rows[2].figures.kl_nats, Some(1.0));
        assert_eq!(summary.rows[0].figures.kl_kind, None);
        assert!(summary.rows[1].beats(&summary.rows[0]));
        assert!(
            summary
                .table()
                .contains("| best-of-n | init-sft | 8 | 1.000 | 0.900 … 1.100 |\n")
        );

        fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        let error = Summary::read(&path).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
    }

    #[test]
    fn intervals_that_touch_are_no_win() {
        let sft = row("sft", "", 1, 0.0);
        let mut better = row(BEST_OF_N, "golden", 8, 0.5);
        better.golden_ci95 = [0.1, 0.9];
        assert!(!better.beats(&sft));
        better.golden_ci95 = [0.11, 0.9];
        assert!(better.beats(&sft));
    }
}
