//! What a study found: means and spread over seeds, and how often a policy beat fine-tuning.

use serde::Serialize;

use crate::error::Error;
use crate::summary::{BEST_OF_N, Row, RowId, Summary, TRAINED};

/// One finished run.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) seed: u64,
    pub(super) summary: Summary,
}

/// The content of `study.json`; it holds no time, path or host, so equal runs give equal files.
#[derive(Debug, Serialize)]
pub(super) struct Study {
    format: u32,
    config: String,
    set: Vec<String>,
    seeds: Vec<u64>,
    cases: Vec<CaseResult>,
}

/// The results for one value of the sweep.
#[derive(Debug, Serialize)]
struct CaseResult {
    /// `KEY=VALUE`; none in a study without a sweep.
    value: Option<String>,
    rows: Vec<ResultRow>,
}

/// One policy over all seeds.
#[derive(Debug, Serialize)]
struct ResultRow {
    policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ranker: Option<String>,
    n: Option<u32>,
    /// Mean over seeds of the golden mean.
    golden_mean: f64,
    /// Sample standard deviation over seeds; none for a single seed.
    golden_std: Option<f64>,
    /// Golden mean per seed, in the order of the study's seeds.
    golden_means: Vec<f64>,
    /// Seeds in which Best-of-N or a trained policy is better than `sft` with disjoint 95 %
    /// intervals; none for other policies, and where `sft` was not evaluated.
    beats_sft: Option<usize>,
}

impl Study {
    /// Joins the runs; all runs of a case must report the same rows.
    pub(super) fn new(
        config: &str,
        set: &[String],
        cases: Vec<(Option<String>, Vec<Seed>)>,
    ) -> Result<Study, Error> {
        let seeds = cases.first().map_or_else(Vec::new, |(_, seeds)| {
            seeds.iter().map(|seed| seed.seed).collect()
        });
        let cases = cases
            .into_iter()
            .map(|(value, seeds)| {
                Ok(CaseResult {
                    value,
                    rows: join(&seeds)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Study {
            format: 1,
            config: config.to_owned(),
            set: set.to_vec(),
            seeds,
            cases,
        })
    }

    /// `study.json`.
    pub(super) fn json(&self) -> String {
        // Strings, numbers and lists always serialise.
        format!("{:#}\n", serde_json::json!(self))
    }

    /// `study.md`.
    pub(super) fn markdown(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let mut text = format!("# Study of {}\n\nSeeds: {}.", self.config, seeds.join(", "));
        for assignment in &self.set {
            text.push_str(&format!(" `{assignment}`."));
        }
        text.push_str(
            " Golden rewards: mean ± standard deviation over seeds. \
             The last column counts the seeds in which the policy is better than sft \
             with disjoint 95 % intervals.\n",
        );
        for case in &self.cases {
            if let Some(value) = &case.value {
                text.push_str(&format!("\n## {value}\n"));
            }
            text.push_str(
                "\n| policy | ranker | N | golden | beats sft |\n| --- | --- | ---: | ---: | ---: |\n",
            );
            for row in &case.rows {
                text.push_str(&row.line());
            }
        }
        text
    }
}

impl ResultRow {
    fn line(&self) -> String {
        let id = RowId {
            policy: self.policy.clone(),
            name: self.name.clone(),
            ranker: self.ranker.clone(),
            n: self.n,
        };
        let spread = self
            .golden_std
            .map_or_else(String::new, |std| format!(" ± {std:.3}"));
        let beats = self.beats_sft.map_or_else(String::new, |wins| {
            format!("{wins} of {}", self.golden_means.len())
        });
        format!(
            "| {} | {:.3}{spread} | {beats} |\n",
            id.cells(),
            self.golden_mean
        )
    }
}

fn join(seeds: &[Seed]) -> Result<Vec<ResultRow>, Error> {
    let Some(reference) = seeds.first() else {
        return Ok(Vec::new());
    };
    for other in seeds {
        let ids = |seed: &Seed| -> Vec<RowId> {
            seed.summary.rows.iter().map(|row| row.id.clone()).collect()
        };
        if ids(other) != ids(reference) {
            return Err(Error::OtherRows {
                seed: other.seed,
                reference: reference.seed,
            });
        }
    }
    let has_sft = reference.summary.sft().is_some();
    let joined = reference
        .summary
        .rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let rows: Vec<&Row> = seeds.iter().map(|seed| &seed.summary.rows[index]).collect();
            let golden_means: Vec<f64> = rows.iter().map(|row| row.golden_mean).collect();
            let (golden_mean, golden_std) = mean_and_std(&golden_means);
            let made_from_sft = [BEST_OF_N, TRAINED].contains(&row.id.policy.as_str());
            let beats_sft = (made_from_sft && has_sft).then(|| {
                let beats = |seed: &&Seed| {
                    let row = &seed.summary.rows[index];
                    seed.summary.sft().is_some_and(|sft| row.beats(sft))
                };
                seeds.iter().filter(beats).count()
            });
            ResultRow {
                policy: row.id.policy.clone(),
                name: row.id.name.clone(),
                ranker: row.id.ranker.clone(),
                n: row.id.n,
                golden_mean,
                golden_std,
                golden_means,
                beats_sft,
            }
        });
    Ok(joined.collect())
}

/// The mean and the sample standard deviation, which needs two values.
fn mean_and_std(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let std = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
    (mean, std)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::{row, summary};

    /// sft at 0; Best-of-8 at 1, 3 and 0.15: with intervals of ±0.1 it wins in two of three seeds.
    fn study() -> Study {
        let seeds = [(0, 1.0), (1, 3.0), (2, 0.15)].map(|(seed, best)| Seed {
            seed,
            summary: summary(vec![
                row("sft", "", 1, 0.0),
                row(BEST_OF_N, "init-sft", 8, best),
            ]),
        });
        let cases = vec![(Some("world.quality=1".to_owned()), Vec::from(seeds))];
        Study::new("quickstart.toml", &["a=b".to_owned()], cases).unwrap()
    }

    #[test]
    fn means_spread_and_wins_are_those_worked_out_by_hand() {
        // Mean of 1 and 3 is 2; the squares sum to 2, over n − 1 = 1: the root of 2.
        assert_eq!(mean_and_std(&[1.0, 3.0]), (2.0, Some(2.0_f64.sqrt())));
        assert_eq!(mean_and_std(&[5.0]), (5.0, None));
        let rows = &study().cases[0].rows;
        assert_eq!(rows[0].beats_sft, None);
        assert_eq!(rows[1].beats_sft, Some(2));
        assert_eq!(rows[1].golden_means, [1.0, 3.0, 0.15]);
    }

    #[test]
    fn the_table_and_the_file_carry_the_same_rows() {
        let text = study().markdown();
        assert!(text.contains("## world.quality=1\n"), "{text}");
        assert!(
            text.contains("| sft |  | 1 | 0.000 ± 0.000 |  |\n"),
            "{text}"
        );
        assert!(
            text.contains("| best-of-n | init-sft | 8 | 1.383 ± 1.463 | 2 of 3 |\n"),
            "{text}"
        );
        let file: serde_json::Value = serde_json::from_str(&study().json()).unwrap();
        assert_eq!(file["format"], 1);
        assert_eq!(file["seeds"], serde_json::json!([0, 1, 2]));
        assert_eq!(file["cases"][0]["rows"][1]["beats_sft"], 2);
    }

    #[test]
    fn seeds_with_other_rows_are_not_averaged() {
        let seed = |seed, rows| Seed {
            seed,
            summary: summary(rows),
        };
        let full = vec![row("init", "", 1, 0.0), row("sft", "", 1, 0.0)];
        let seeds = vec![seed(0, full), seed(1, vec![row("sft", "", 1, 0.0)])];
        let error = Study::new("c.toml", &[], vec![(None, seeds)]).unwrap_err();
        assert!(matches!(
            error,
            Error::OtherRows {
                seed: 1,
                reference: 0
            }
        ));
    }
}
