//! A reward among the fine-tuned policy's own answers to a prompt, which is where it chooses.

use std::{collections::BTreeSet, path::Path};

use afd_data::{
    features::{self, NAMES},
    records::{JsonlReader, Sample, Scores},
};
use afd_stats::{Line, line_within, pearson_within, sd_within, spearman_within, ties_within};
use serde::{Deserialize, Serialize};

use super::Samples;
use crate::Error;

/// How the reward orders answers to the same prompt. Correlations are within prompts, averaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnSamples {
    /// Answers in all.
    pub answers: usize,
    /// Standard deviation of the reward within a prompt, in its own units.
    pub sd_within: f64,
    /// Share of the pairs of different answers to a prompt with equal rewards.
    pub ties: f64,
    /// Rank correlation with the number of tokens.
    pub length: Option<f64>,
    /// Rank correlation with each feature; none where answers do not differ in it.
    pub features: Vec<(String, Option<f64>)>,
    /// Correlation with the closed form.
    pub closed_form_pearson: Option<f64>,
    /// Rank correlation with the closed form.
    pub closed_form_spearman: Option<f64>,
    /// The reward against the closed form, by deviations from the prompt's mean.
    pub closed_form_line: Option<Line>,
}

impl OnSamples {
    /// Reads samples and scores.
    pub(super) fn read(files: &Samples<'_>) -> Result<Self, Error> {
        let scores = scores(files.scores)?;
        let closed_form = scores_like(files.closed_form, files.scores, &scores)?;
        // Features by name, then by prompt and answer, as all of these are.
        let mut features = vec![Vec::<Vec<f64>>::new(); NAMES.len()];
        let mut lengths: Vec<Vec<f64>> = Vec::new();
        // Rewards of each prompt's answers, of equal ones the first's.
        let mut different: Vec<Vec<f64>> = Vec::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for sample in JsonlReader::<Sample>::open(files.samples)? {
            let sample = sample?;
            if sample.index == 0 || lengths.is_empty() {
                lengths.push(Vec::new());
                different.push(Vec::new());
                seen.clear();
                features.iter_mut().for_each(|all| all.push(Vec::new()));
            }
            let values = features::readable(&sample.completion);
            let last = lengths.len() - 1;
            let score = scores
                .get(last)
                .and_then(|scores| scores.get(lengths[last].len()));
            if let Some(score) = score.filter(|_| seen.insert(sample.completion)) {
                different[last].push(*score);
            }
            lengths[last].push(sample.completion_ids.len() as f64);
            for (all, value) in features.iter_mut().zip(values) {
                all[last].push(value);
            }
        }
        same_shape(files.samples, files.scores, &lengths, &scores)?;
        let named = NAMES.iter().zip(&features);
        let named = named.map(|(name, x)| ((*name).to_owned(), spearman_within(x, &scores)));
        Ok(Self {
            answers: scores.iter().map(Vec::len).sum(),
            sd_within: sd_within(&scores),
            ties: ties_within(&different).unwrap_or(0.0),
            length: spearman_within(&lengths, &scores),
            features: named.collect(),
            closed_form_pearson: pearson_within(&closed_form, &scores),
            closed_form_spearman: spearman_within(&closed_form, &scores),
            closed_form_line: line_within(&closed_form, &scores),
        })
    }
}

fn scores(path: &Path) -> Result<Vec<Vec<f64>>, Error> {
    let rows = JsonlReader::<Scores>::open(path)?;
    let widen = |row: Scores| row.scores.into_iter().map(f64::from).collect();
    rows.map(|row| Ok(widen(row?))).collect()
}

fn scores_like(path: &Path, other: &Path, like: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Error> {
    let scores = scores(path)?;
    same_shape(path, other, &scores, like)?;
    Ok(scores)
}

fn same_shape(path: &Path, other: &Path, a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<(), Error> {
    let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len());
    match same {
        true => Ok(()),
        false => Err(Error::RewardModelFile {
            path: path.into(),
            problem: format!(
                "does not hold as many answers to each prompt as {}; score the samples again",
                other.display()
            ),
        }),
    }
}
