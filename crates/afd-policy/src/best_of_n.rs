//! Best-of-N, hard or soft, from stored answers and stored scores: no model runs here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use afd_data::records::{JsonlWriter, Sample, Scores, read_jsonl};
use afd_model::{acceptance_rate, beta_at_kl, selection_kl, tilted_weights};
use afd_stage::{StageContext, seed::derive};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The `[best_of_n]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOfNConfig {
    /// The best of the first `n` stored answers is taken.
    pub n: usize,
    /// Instead of the best, one of them with probability `∝ exp(score/temperature)`: soft
    /// Best-of-N.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The same at the temperature at which the choice lies so many nats from the stored answers, in
    /// the mean over prompts: rejection sampling to a given KL, whatever the unit of the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
}

impl BestOfNConfig {
    /// What is wrong with the way of choosing: the field and its rule.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self
            .temperature
            .is_some_and(|t| !(t > 0.0 && t.is_finite()))
        {
            problems.push(("temperature", "must be above 0".to_owned()));
        }
        let most = (self.n.max(1) as f64).ln();
        if self
            .target_kl
            .is_some_and(|nats| !(nats > 0.0 && nats < most))
        {
            let rule = format!("must be above 0 and below ln n = {most:.3} nats");
            problems.push(("target_kl", rule));
        }
        if self.temperature.is_some() && self.target_kl.is_some() {
            let rule = "cannot stand beside best_of_n.temperature, which it would choose";
            problems.push(("target_kl", rule.to_owned()));
        }
        problems
    }
}

/// An answer that won.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// What was asked.
    pub prompt: String,
    /// The answer chosen by this ranker.
    pub completion: String,
    /// Which of the stored answers it is.
    pub index: u32,
    /// Its score.
    pub score: f32,
}

/// How a ranker's answers were chosen by chance: its part of `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Chosen {
    temperature: f64,
    /// Mean over prompts of the KL from the first `n` stored answers to the choice, in nats.
    kl: f64,
    /// Mean over prompts of the share that rejection sampling accepts.
    acceptance_rate: f64,
    /// The score expected of the choice.
    mean_score: f64,
}

/// For each `(ranker, scores)` writes `RANKER.jsonl`: for every prompt the answer with the
/// highest score among the first `n`, the earliest of equals; or, if the configuration names a
/// temperature or a KL, one chosen by chance, with `summary.json` telling how.
///
/// # Errors
/// When scores and answers do not belong together, or hold fewer than `n` per prompt;
/// [`Error::TargetKl`] when no temperature is as far from the answers as asked.
pub fn run(
    config: &BestOfNConfig,
    samples: &Path,
    rankers: &[(String, PathBuf)],
    ctx: &StageContext,
) -> Result<(), Error> {
    let samples: Vec<Sample> = read_jsonl(samples)?;
    let prompts: Vec<&[Sample]> = samples.chunk_by(|a, b| a.prompt == b.prompt).collect();
    let mut summary = BTreeMap::new();
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
        let mut first = Vec::new();
        for (answers, row) in prompts.iter().zip(&scores) {
            if row.prompt != answers[0].prompt || row.scores.len() != answers.len() {
                return Err(problem(format!("prompt {:?} differs", row.prompt)));
            }
            let scores = row.scores.get(..config.n).filter(|first| !first.is_empty());
            first.push(scores.ok_or_else(|| {
                problem(format!("{} answers for n = {}", row.scores.len(), config.n))
            })?);
        }
        let temperature = temperature(config, &first, path)?;
        if let Some(temperature) = temperature {
            summary.insert(ranker, Chosen::of(&first, temperature));
        }
        let mut writer = JsonlWriter::create(&ctx.dir().join(format!("{ranker}.jsonl")))?;
        for (answers, scores) in prompts.iter().zip(&first) {
            let prompt = &answers[0].prompt;
            let chosen = match temperature {
                None => best(scores),
                Some(temperature) => {
                    let seed = derive(ctx.seed(), prompt, 0);
                    let uniform = ChaCha8Rng::seed_from_u64(seed).random();
                    by_chance(&tilted_weights(&wide(scores), temperature), uniform)
                }
            };
            writer.write(&Winner {
                prompt: prompt.clone(),
                completion: answers[chosen].completion.clone(),
                index: answers[chosen].index,
                score: scores[chosen],
            })?;
        }
        writer.finish()?;
        ctx.progress(done as u64 + 1, rankers.len() as u64, "ranker", ranker);
    }
    if !summary.is_empty() {
        let json = serde_json::json!(summary);
        ctx.write("summary.json", format!("{json:#}\n").as_bytes())?;
    }
    Ok(())
}

/// What to choose by chance at; none where the best is taken.
fn temperature(
    config: &BestOfNConfig,
    prompts: &[&[f32]],
    path: &Path,
) -> Result<Option<f64>, Error> {
    let Some(nats) = config.target_kl else {
        return Ok(config.temperature);
    };
    let scores: Vec<Vec<f64>> = prompts.iter().map(|scores| wide(scores)).collect();
    let scores: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
    match beta_at_kl(&scores, nats) {
        Some(beta) => Ok(Some(beta)),
        None => Err(Error::TargetKl {
            path: path.into(),
            nats,
            n: config.n,
        }),
    }
}

impl Chosen {
    fn of(prompts: &[&[f32]], temperature: f64) -> Self {
        let mean = |of: &dyn Fn(&[f64], &[f64]) -> f64| {
            let each = prompts.iter().map(|scores| {
                let scores = wide(scores);
                of(&scores, &tilted_weights(&scores, temperature))
            });
            each.sum::<f64>() / prompts.len() as f64
        };
        Self {
            temperature,
            kl: mean(&|_, weights| selection_kl(weights)),
            acceptance_rate: mean(&|scores, _| acceptance_rate(scores, temperature)),
            mean_score: mean(&|scores, weights| {
                scores.iter().zip(weights).map(|(s, w)| s * w).sum()
            }),
        }
    }
}

fn wide(scores: &[f32]) -> Vec<f64> {
    scores.iter().map(|score| f64::from(*score)).collect()
}

/// The index of the highest score, the earliest of equals.
fn best(scores: &[f32]) -> usize {
    let better = |best: usize, i: usize| if scores[i] > scores[best] { i } else { best };
    (0..scores.len()).reduce(better).unwrap_or_default()
}

/// The index at which the running sum of `weights`, whose sum is 1, passes `uniform`.
fn by_chance(weights: &[f64], uniform: f64) -> usize {
    let mut sum = 0.0;
    let passes = weights.iter().position(|weight| {
        sum += weight;
        sum > uniform
    });
    // Rounding may leave the sum short of a number next to 1.
    passes.unwrap_or(weights.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use afd_stage::{Quiet, RunDir};

    use super::*;

    const HARD: BestOfNConfig = BestOfNConfig {
        n: 4,
        temperature: None,
        target_kl: None,
    };

    #[test]
    fn the_earliest_best_wins() {
        assert_eq!(best(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(best(&[0.0, 2.0, 2.0, 9.0]), 3);
    }

    #[test]
    fn chance_takes_each_by_its_weight() {
        let weights = [0.25, 0.0, 0.75];
        let found = [0.0, 0.24, 0.25, 0.99, 1.0].map(|uniform| by_chance(&weights, uniform));
        assert_eq!(found, [0, 0, 2, 2, 2]);
    }

    #[test]
    fn ways_of_choosing_out_of_range_are_told() {
        let told = |config: BestOfNConfig| -> Vec<&str> {
            config.problems().iter().map(|(field, _)| *field).collect()
        };
        let soft = |temperature, target_kl| BestOfNConfig {
            temperature,
            target_kl,
            ..HARD
        };
        assert!(told(HARD).is_empty());
        assert!(told(soft(Some(0.5), None)).is_empty());
        assert!(told(soft(None, Some(1.3))).is_empty());
        assert_eq!(told(soft(Some(0.0), None)), ["temperature"]);
        // ln 4 is 1.386.
        assert_eq!(told(soft(None, Some(1.4))), ["target_kl"]);
        assert_eq!(told(soft(Some(1.0), Some(1.0))), ["target_kl"]);
    }

    /// 300 prompts with five answers each, of which the fifth, outside `n`, has the best score, and
    /// what the stage makes of them.
    fn chosen(config: &BestOfNConfig, scores: [f32; 5]) -> Result<(Vec<Winner>, String), String> {
        let dir = tempfile::tempdir().unwrap();
        let (samples, path) = (dir.path().join("samples"), dir.path().join("scores"));
        let (mut answers, mut rows) = (
            JsonlWriter::create(&samples).unwrap(),
            JsonlWriter::create(&path).unwrap(),
        );
        for prompt in 0..300 {
            let prompt = format!("p{prompt}");
            for index in 0..5 {
                let answer = Sample {
                    prompt: prompt.clone(),
                    index,
                    completion: format!("{index}"),
                    completion_ids: vec![1],
                    logprobs: vec![-1.0],
                    sampler_logprobs: None,
                    finish_reason: "stop".into(),
                };
                answers.write(&answer).unwrap();
            }
            let row = Scores {
                prompt,
                scores: scores.to_vec(),
                spread: Vec::new(),
                tokens: Vec::new(),
            };
            rows.write(&row).unwrap();
        }
        answers.finish().unwrap();
        rows.finish().unwrap();
        let run = RunDir::open(&dir.path().join("run"), 1, Arc::new(Quiet)).unwrap();
        let rankers = [("r".to_owned(), path)];
        let artifact = run
            .stage("best", 1, config, &[], |ctx| {
                super::run(config, &samples, &rankers, ctx)
            })
            .map_err(|error| std::error::Error::source(&error).unwrap().to_string())?;
        let summary = std::fs::read_to_string(artifact.file("summary.json"));
        Ok((
            read_jsonl(&artifact.file("r.jsonl")).unwrap(),
            summary.unwrap_or_default(),
        ))
    }

    #[test]
    fn the_hard_rule_takes_the_best_and_tells_nothing_more() {
        let (winners, summary) = chosen(&HARD, [0.0, 2.0, 2.0, 1.0, 9.0]).unwrap();
        assert!(winners.iter().all(|row| row.index == 1 && row.score == 2.0));
        assert_eq!(summary, "");
    }

    #[test]
    fn soft_choices_have_their_frequencies_and_a_kl_finds_its_temperature() {
        // A score more by one counts twice: 1, 2, 4, 1 of 8, which lies ln(2)/4 from a choice at
        // random.
        let (temperature, nats) = (1.0 / 2.0_f64.ln(), 0.25 * 2.0_f64.ln());
        let scores = [0.0, 1.0, 2.0, 0.0, 9.0];
        let soft = BestOfNConfig {
            temperature: Some(temperature),
            ..HARD
        };
        let (winners, summary) = chosen(&soft, scores).unwrap();
        for (index, expected) in [0.125, 0.25, 0.5, 0.125].into_iter().enumerate() {
            let count = winners.iter().filter(|row| row.index == index as u32);
            let share = count.count() as f64 / 300.0;
            // Four standard errors of at most 0.029; the seed is fixed.
            assert!((share - expected).abs() < 0.116, "{index}: {share}");
        }
        let json: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let told = |key: &str| json["r"][key].as_f64().unwrap();
        assert!((told("kl") - nats).abs() < 1e-12, "{summary}");
        assert!((told("acceptance_rate") - 0.5).abs() < 1e-12, "{summary}");
        assert!((told("mean_score") - 1.25).abs() < 1e-12, "{summary}");

        let rejecting = BestOfNConfig {
            target_kl: Some(nats),
            ..HARD
        };
        let (same, summary) = chosen(&rejecting, scores).unwrap();
        assert_eq!(same, winners);
        let json: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let found = json["r"]["temperature"].as_f64().unwrap();
        assert!((found - temperature).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_kl_beyond_what_the_scores_tell_apart_is_an_error() {
        let rejecting = BestOfNConfig {
            target_kl: Some(1.0),
            ..HARD
        };
        // Two of four share the best score: ln 2 is as far as it goes.
        let refused = chosen(&rejecting, [1.0, 2.0, 2.0, 1.0, 9.0]).unwrap_err();
        assert!(refused.contains("best_of_n.target_kl"), "{refused}");
    }
}
