//! The rows of a finished run: what its summary says of each policy, and what making it took.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;
use crate::study::known::Run;
use crate::summary::{self, BEST_OF_N, Summary, TRAINED};

use super::cases::{Case, Line, RANKERS};
use super::results::{NO_REWARD, Row, UNTOUCHED};

/// A finished run.
struct Found<'a> {
    case: &'a Case,
    summary: &'a Summary,
    sft: &'a summary::Row,
    run_dir: &'a Path,
}

/// The rows of a finished run.
pub(super) fn rows(case: &Case, summary: &Summary, run_dir: &Path) -> Result<Vec<Row>, Error> {
    let found = Found {
        case,
        summary,
        sft: summary.sft().ok_or_else(|| missing(case, "sft"))?,
        run_dir,
    };
    let mut rows = Vec::new();
    for line in &case.lines {
        match line.makes() {
            true => rows.extend(found.made(line)?),
            false => rows.extend(found.chosen(line)?),
        }
    }
    Ok(rows)
}

fn missing(case: &Case, what: &str) -> Error {
    Error::MissingRows {
        path: case.folder().into(),
        missing: vec![what.to_owned()],
    }
}

impl Found<'_> {
    /// The policies of a line.
    fn made(&self, line: &Line) -> Result<Vec<Row>, Error> {
        let of_place = |&place: &usize| {
            let name = line.policy(place);
            let mut rows = self.summary.rows.iter();
            let row =
                rows.find(|row| row.id.policy == TRAINED && row.id.name.as_ref() == Some(&name));
            let row = row.ok_or_else(|| missing(self.case, &name))?;
            let (own, of_sft) = (row.figures.proxy_mean, row.figures.proxy_mean_sft);
            let length = row.figures.mean_length;
            Ok(Row {
                strength: Some(line.strengths[place]),
                proxy_gain: own.zip(of_sft).map(|(own, of_sft)| own - of_sft),
                training_tokens: self.training_tokens(line, place)?,
                inference_tokens: length.map(|length| length * line.passes()),
                ..self.row(line.name, line.reward, row)
            })
        };
        self.case.places.iter().map(of_place).collect()
    }

    /// What making a policy read and wrote, and what it was made on top of.
    fn training_tokens(&self, line: &Line, place: usize) -> Result<u64, Error> {
        if line.only_samples() {
            return Ok(0);
        }
        let first = if line.goes_on() { 0 } else { place };
        let mut all = 0;
        for place in first..=place {
            let name = line.policy(place);
            all += tokens(&self.run_dir.join("policy").join(&name))?;
            // Of a policy made in rounds the stages that made it.
            let rounds = self.run_dir.join("rounds").join(&name);
            for stage in stages_below(&rounds)? {
                all += tokens(&stage)?;
            }
        }
        Ok(all)
    }

    /// What was chosen among the fine-tuned policy's answers, and before it what that is beside.
    fn chosen(&self, line: &Line) -> Result<Vec<Row>, Error> {
        let mut rows = self.untouched()?;
        for ranker in RANKERS {
            let of_n = |n: f64| {
                let mut rows = self.summary.rows.iter();
                let what = format!("{BEST_OF_N} by {ranker}, N = {n}");
                rows.find(|row| {
                    let id = &row.id;
                    id.policy == BEST_OF_N
                        && id.ranker.as_deref() == Some(ranker)
                        && id.n.map(f64::from) == Some(n)
                })
                .ok_or_else(|| missing(self.case, &what))
            };
            // The first of one is the fine-tuned policy's answer as it comes.
            let of_sft = of_n(1.0)?.figures.proxy_mean;
            for &place in &self.case.places {
                let n = line.strengths[place];
                let row = of_n(n)?;
                let own = row.figures.proxy_mean;
                rows.push(Row {
                    strength: Some(n),
                    proxy_gain: own.zip(of_sft).map(|(own, of_sft)| own - of_sft),
                    inference_tokens: self.sft.figures.mean_length.map(|length| length * n),
                    ..self.row(line.name, ranker, row)
                });
            }
        }
        Ok(rows)
    }

    /// The initial policy, the fine-tuned one and the demonstrator.
    fn untouched(&self) -> Result<Vec<Row>, Error> {
        let [init, sft, demonstrator] = UNTOUCHED;
        let mut rows = self.summary.rows.iter();
        let of_init = rows.find(|row| row.id.policy == init);
        let of_init = of_init.ok_or_else(|| missing(self.case, init))?;
        let reference = self.summary.reference.as_ref();
        let reference = reference.ok_or_else(|| missing(self.case, demonstrator))?;
        let golden = reference.demonstrator.golden_mean;
        // The divergences that the summary has of these two are from the initial policy.
        let unmeasured = |row: Row| Row {
            kl: None,
            kl_se: None,
            kl_kind: None,
            inference_tokens: row.mean_length,
            ..row
        };
        let nobody = summary::Row {
            golden_mean: golden,
            figures: summary::Figures::default(),
            ..self.sft.clone()
        };
        Ok(vec![
            unmeasured(self.row(init, NO_REWARD, of_init)),
            Row {
                kl: Some(0.0),
                ..unmeasured(self.row(sft, NO_REWARD, self.sft))
            },
            unmeasured(self.row(demonstrator, NO_REWARD, &nobody)),
        ])
    }

    /// What the summary says of a policy as it stands; strength, proxy and costs are the caller's.
    fn row(&self, line: &str, reward: &str, row: &summary::Row) -> Row {
        let (golden, sft) = (row.golden_mean, self.sft.golden_mean);
        let figures = &row.figures;
        Row {
            seed: self.case.seed,
            line: line.to_owned(),
            reward: reward.to_owned(),
            strength: None,
            gain: figures.delta_vs_sft.unwrap_or(golden - sft),
            length_controlled_gain: figures.length_controlled_gain,
            kl: figures.kl_nats,
            kl_se: figures.kl_se,
            kl_kind: figures.kl_kind.clone(),
            proxy_gain: None,
            proxy_rank: figures.proxy_spearman_within_prompt_golden,
            entropy: figures.entropy_nats,
            eos_rate: figures.eos_rate,
            mean_length: figures.mean_length,
            distinct_2: figures.distinct_2,
            training_tokens: 0,
            inference_tokens: None,
            golden,
            sft,
        }
    }
}

/// The stages `ROUND/TURN` in a folder of rounds; none if there is no such folder.
fn stages_below(rounds: &Path) -> Result<Vec<PathBuf>, Error> {
    let within = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
        let paths = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path()));
        paths.collect()
    };
    let mut stages = Vec::new();
    if rounds.is_dir() {
        for round in within(rounds)? {
            stages.extend(within(&round)?);
        }
    }
    Ok(stages)
}

/// The tokens that a finished stage read and wrote.
fn tokens(stage: &Path) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Manifest {
        cost: Cost,
    }
    #[derive(Deserialize)]
    struct Cost {
        tokens: u64,
    }
    let path = stage.join("manifest.json");
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?;
    Ok(manifest.cost.tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::policy::cases::{SELECTION, quick};
    use crate::study::policy::results::{Results, tests::row};

    fn summary(text: &str) -> Summary {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        fs::write(&path, text).unwrap();
        Summary::read(&path).unwrap()
    }

    fn trained(name: &str) -> String {
        format!(
            r#"{{"policy": "trained", "name": "{name}", "golden_mean": 0.75, "golden_ci95": [0.5, 1],
            "delta_vs_sft": 0.25, "length_controlled_gain": 0.125, "kl_nats": 1.5, "kl_se": 0.25,
            "kl_kind": "estimate", "proxy_mean": 2.0, "proxy_mean_sft": 0.5,
            "proxy_spearman_within_prompt_golden": 0.375, "entropy_nats": 20,
            "eos_rate": 0.9, "mean_length": 50, "distinct_2": 0.75}}"#
        )
    }

    /// What the quick cut leaves, with golden rewards that are made up.
    fn of_quick() -> Summary {
        let best = |ranker: &str, n: u32| {
            let gain = 0.25 * f64::from(n - 1);
            format!(
                r#"{{"policy": "best-of-n", "ranker": "{ranker}", "n": {n}, "golden_mean": {},
                "golden_ci95": [0, 1], "delta_vs_sft": {gain}, "kl_nats": 0.5,
                "kl_kind": "upper bound", "proxy_mean": {n}, "mean_length": 60}}"#,
                0.5 + gain
            )
        };
        let plain = |policy: &str, golden: f64, kl: f64| {
            format!(
                r#"{{"policy": "{policy}", "golden_mean": {golden}, "golden_ci95": [0, 1],
                "kl_nats": {kl}, "kl_kind": "estimate", "mean_length": 40}}"#
            )
        };
        let mut rows = vec![plain("init", -0.5, 0.0), plain("sft", 0.5, 2.5)];
        rows.extend(["raft-init-sft-2", "rloo-init-sft-2"].map(trained));
        rows.extend(["dpo-init-sft-2", "logits-log-ratio-2"].map(trained));
        rows.extend(
            RANKERS
                .iter()
                .flat_map(|ranker| [best(ranker, 1), best(ranker, 4)]),
        );
        summary(&format!(
            r#"{{"format": 1, "rows": [{}], "reference": {{"demonstrator": {{"golden_mean": 2.5}}}}}}"#,
            rows.join(",")
        ))
    }

    /// A run's folder with what making policies took.
    fn run_dir() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["raft-init-sft-2", "rloo-init-sft-2", "dpo-init-sft-2"] {
            let stage = folder.path().join("policy").join(name);
            fs::create_dir_all(&stage).unwrap();
            let manifest = r#"{"stage": "policy", "cost": {"tokens": 1234, "seconds": 1.5}}"#;
            fs::write(stage.join("manifest.json"), manifest).unwrap();
        }
        folder
    }

    #[test]
    fn rows_say_what_a_summary_and_the_manifests_say() {
        let (case, summary, run_dir) = (&quick()[0], of_quick(), run_dir());
        let results = Results {
            rows: rows(case, &summary, run_dir.path()).unwrap(),
        };
        assert_eq!(results.rows.len(), 3 + RANKERS.len() + 4);
        let only = |line: &str, reward: &str| {
            let found = results.of(line, reward, None);
            assert_eq!(found.len(), 1, "{line}");
            found[0].clone()
        };
        let rloo = only("rloo", "init-sft");
        let expected = Row {
            line: "rloo".to_owned(),
            strength: Some(0.5),
            length_controlled_gain: Some(0.125),
            kl_se: Some(0.25),
            proxy_gain: Some(1.5),
            proxy_rank: Some(0.375),
            entropy: Some(20.0),
            eos_rate: Some(0.9),
            mean_length: Some(50.0),
            training_tokens: 1234,
            inference_tokens: Some(50.0),
            ..row(0, 0.5, 1.5, 0.25)
        };
        assert_eq!(rloo, expected);

        let logits = only("logits", "log-ratio");
        assert_eq!(logits.training_tokens, 0);
        assert_eq!(logits.inference_tokens, Some(100.0));

        let best = only(SELECTION, "init-sft");
        assert_eq!((best.strength, best.gain), (Some(4.0), 0.75));
        assert_eq!(best.kl_kind.as_deref(), Some("upper bound"));
        // Its ranker's mean is 4 at N = 4 and 1 at N = 1; four answers of 40 tokens are drawn.
        assert_eq!(best.proxy_gain, Some(3.0));
        assert_eq!(
            (best.training_tokens, best.inference_tokens),
            (0, Some(160.0))
        );

        let of = |line: &str| results.untouched(line)[0];
        assert_eq!((of("init").kl, of("init").gain), (None, -1.0));
        assert_eq!((of("sft").kl, of("sft").gain), (Some(0.0), 0.0));
        let demonstrator = of("demonstrator");
        assert_eq!((demonstrator.golden, demonstrator.gain), (2.5, 2.0));
        assert_eq!(demonstrator.inference_tokens, None);
    }

    #[test]
    fn what_a_run_lacks_is_named() {
        let (case, run_dir) = (&quick()[0], run_dir());
        let mut summary = of_quick();
        summary
            .rows
            .retain(|row| row.id.name.as_deref() != Some("rloo-init-sft-2"));
        let error = rows(case, &summary, run_dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("rloo-init-sft-2"), "{error}");
        let mut summary = of_quick();
        summary
            .rows
            .retain(|row| row.id.ranker.as_deref() != Some("longest"));
        let error = rows(case, &summary, run_dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("by longest"), "{error}");
        let gone = run_dir.path().join("policy/raft-init-sft-2/manifest.json");
        fs::remove_file(gone).unwrap();
        let error = rows(case, &of_quick(), run_dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("manifest.json"), "{error}");
    }
}
