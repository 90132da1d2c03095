//! How far apart a policy's answers to a prompt lie, in the embedding space of the initial policy.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer,
    records::{JsonlReader, Sample},
};
use afd_model::CausalLm;
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::{Error, objective::sequence};

/// The stage's `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpreadSummary {
    /// Answers to each prompt that were looked at.
    pub answers: usize,
    /// By policy, the mean over prompts of the mean cosine distance of two answers, 0 to 2; none where no prompt
    /// has two that can be read.
    pub spread: BTreeMap<String, Option<f64>>,
}

/// What is embedded, and how.
#[derive(Debug, Clone, Copy)]
pub struct SpreadInputs<'a> {
    /// The model whose hidden state of the last token is an answer's embedding.
    pub model: &'a Path,
    /// Policies, and files of their [`Sample`]s.
    pub policies: &'a [(String, PathBuf)],
    /// The first so many answers to each prompt are looked at.
    pub answers: usize,
    /// Longer dialogues are left out, in tokens.
    pub max_length: usize,
    /// Answers at a time.
    pub batch_size: usize,
    /// How dialogues become texts.
    pub form: DialogueForm,
}

/// Embeds the first answers of every policy to each prompt, and writes `summary.json`, a [`SpreadSummary`].
///
/// Hidden states of one model point much the same way whatever they are of, so the mean of all embeddings is
/// taken off before angles are measured. Source: the first step of Mu and Viswanath, *All-but-the-Top*, arXiv
/// 1702.01417.
///
/// # Errors
/// On unreadable inputs, or when the model answers NaN.
pub fn run(
    inputs: &SpreadInputs<'_>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
    let lm = CausalLm::load(inputs.model, placement)?;
    let max_length = inputs.max_length.min(lm.config().context());
    // Of each policy, by prompt in the order of the file.
    let mut embedded: Vec<(String, Vec<Vec<Vec<f32>>>)> = Vec::new();
    for (done, (name, path)) in inputs.policies.iter().enumerate() {
        let (mut rows, mut prompts, mut prompt) = (Vec::new(), Vec::new(), None);
        for sample in JsonlReader::<Sample>::open(path)? {
            let sample = sample?;
            if sample.index as usize >= inputs.answers {
                continue;
            }
            if prompt.as_ref() != Some(&sample.prompt) {
                prompts.push(0);
                prompt = Some(sample.prompt.clone());
            }
            let row = TokenRow::joined(&tokenizer, &sample.prompt, &sample.completion, max_length)?;
            if let (Some(row), Some(count)) = (row, prompts.last_mut()) {
                rows.push(row);
                *count += 1;
            }
        }
        let sequences: Vec<_> = rows.iter().map(sequence).collect();
        let mut found = lm
            .model
            .embed_all(&sequences, inputs.batch_size)?
            .into_iter();
        let by_prompt = prompts
            .iter()
            .map(|&count| found.by_ref().take(count).collect());
        embedded.push((name.clone(), by_prompt.collect()));
        ctx.add_tokens(rows.iter().map(|row| row.ids.len() as u64).sum());
        ctx.progress(
            done as u64 + 1,
            inputs.policies.len() as u64,
            "policy",
            name,
        );
    }
    let centre = centre(
        embedded
            .iter()
            .flat_map(|(_, prompts)| prompts.iter().flatten()),
    );
    let spread = embedded.iter().map(|(name, prompts)| {
        let each: Vec<f64> = prompts
            .iter()
            .filter_map(|answers| distance(answers, &centre))
            .collect();
        let mean = (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64);
        (name.clone(), mean)
    });
    let summary = SpreadSummary {
        answers: inputs.answers,
        spread: spread.collect(),
    };
    let json = serde_json::json!(summary);
    Ok(ctx.write("summary.json", format!("{json:#}\n").as_bytes())?)
}

/// The mean of all embeddings.
fn centre<'a>(all: impl Iterator<Item = &'a Vec<f32>>) -> Vec<f64> {
    let (mut sum, mut count) = (Vec::new(), 0.0);
    for embedding in all {
        sum.resize(embedding.len(), 0.0);
        for (sum, value) in sum.iter_mut().zip(embedding) {
            *sum += f64::from(*value);
        }
        count += 1.0;
    }
    sum.iter_mut().for_each(|sum| *sum /= count);
    sum
}

/// The mean of `1 − cos` over all pairs of answers as seen from `centre`; none of fewer than two.
///
/// Of unit vectors `u` the cosines of all ordered pairs sum to `|Σ u|² − n`.
fn distance(answers: &[Vec<f32>], centre: &[f64]) -> Option<f64> {
    let count = answers.len() as f64;
    if answers.len() < 2 {
        return None;
    }
    let mut sum = vec![0.0; centre.len()];
    for answer in answers {
        let seen: Vec<f64> = answer
            .iter()
            .zip(centre)
            .map(|(a, c)| f64::from(*a) - c)
            .collect();
        let length = seen
            .iter()
            .map(|v| v * v)
            .sum::<f64>()
            .sqrt()
            .max(f64::MIN_POSITIVE);
        for (sum, value) in sum.iter_mut().zip(seen) {
            *sum += value / length;
        }
    }
    let squared: f64 = sum.iter().map(|v| v * v).sum();
    Some(1.0 - (squared - count) / (count * (count - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_on_paper() {
        let (right, up, left) = (vec![2.0f32, 0.0], vec![0.0, 0.5], vec![-1.0, 0.0]);
        let origin = [0.0, 0.0];
        let of = |answers: &[&Vec<f32>]| {
            let answers: Vec<Vec<f32>> = answers.iter().map(|a| (*a).clone()).collect();
            distance(&answers, &origin).map(|found| (found * 1e12).round() / 1e12)
        };
        assert_eq!(of(&[&right, &right]), Some(0.0));
        assert_eq!(of(&[&right, &up]), Some(1.0));
        assert_eq!(of(&[&right, &left]), Some(2.0));
        // 1, 2 and 1 over three pairs.
        assert_eq!(of(&[&right, &up, &left]), Some(1.333333333333));
        assert_eq!(of(&[&right]), None);
        // Seen from between them, two that point the same way are opposite.
        let found = distance(&[vec![1.0, 0.0], vec![3.0, 0.0]], &[2.0, 0.0]);
        assert_eq!(found, Some(2.0));
    }

    #[test]
    fn the_centre_is_the_mean_of_all() {
        let all = [vec![1.0f32, 0.0], vec![3.0, -4.0]];
        assert_eq!(centre(all.iter()), [2.0, -2.0]);
        assert!(centre([].iter()).is_empty());
    }
}
