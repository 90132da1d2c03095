//! The answers that a reward model did not learn from, with its logits of them, among all others.

use std::{collections::HashMap, path::Path};

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer,
    features::{self, ngrams},
    records::{JsonlReader, PreferenceRow},
};
use afd_model::{CausalLm, Sequence};
use afd_stage::StageContext;

use super::Policies;
use crate::{Error, learn::Prediction, objective::sequence};

/// Held-out answers, one entry each in all lists, and all answers as shallow classifiers read them.
pub(super) struct HeldOut {
    /// The reward model's logit.
    pub(super) logits: Vec<f64>,
    /// Whether it is the chosen side's.
    pub(super) labels: Vec<bool>,
    /// The number of its prompt.
    pub(super) prompts: Vec<usize>,
    /// Prompt and answer.
    texts: Vec<(String, String)>,
    /// Which of all answers it is.
    pub(super) places: Vec<usize>,
    pub(super) all: Shallow,
}

/// All answers of the pairs, held out or not.
#[derive(Default)]
pub(super) struct Shallow {
    pub(super) labels: Vec<bool>,
    pub(super) prompts: Vec<usize>,
    pub(super) features: Vec<Vec<f64>>,
    pub(super) ngrams: Vec<Vec<(u32, f32)>>,
}

impl HeldOut {
    /// Reads pairs and predictions.
    pub(super) fn read(pairs: &Path, predictions: &Path) -> Result<Self, Error> {
        // Logit by row and side.
        let mut logits: HashMap<(usize, bool), f32> = HashMap::new();
        for prediction in JsonlReader::<Prediction>::open(predictions)? {
            let prediction = prediction?;
            logits.insert((prediction.chosen_row, true), prediction.chosen);
            logits.insert((prediction.rejected_row, false), prediction.rejected);
        }
        let mut held_out = Self {
            logits: Vec::new(),
            labels: Vec::new(),
            prompts: Vec::new(),
            texts: Vec::new(),
            places: Vec::new(),
            all: Shallow::default(),
        };
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for (row, pair) in JsonlReader::<PreferenceRow>::open(pairs)?.enumerate() {
            let pair = pair?;
            let rejected_prompt = pair.rejected_prompt().to_owned();
            for (prompt, answer, label) in [
                (pair.prompt, pair.chosen, true),
                (rejected_prompt, pair.rejected, false),
            ] {
                let next = numbers.len();
                let number = *numbers.entry(prompt.clone()).or_insert(next);
                let all = &mut held_out.all;
                all.labels.push(label);
                all.prompts.push(number);
                all.features.push(features::readable(&answer).to_vec());
                all.ngrams.push(ngrams(&answer));
                if let Some(&logit) = logits.get(&(row, label)) {
                    held_out.places.push(all.labels.len() - 1);
                    held_out.logits.push(f64::from(logit));
                    held_out.labels.push(label);
                    held_out.prompts.push(number);
                    held_out.texts.push((prompt, answer));
                }
            }
        }
        Ok(held_out)
    }

    /// Share of pairs in the right order. A pair's answers follow one another.
    pub(super) fn accuracy(&self) -> f64 {
        let side = |label: bool| {
            let answers = self.logits.iter().zip(&self.labels);
            answers
                .filter(move |(_, of)| **of == label)
                .map(|(logit, _)| *logit)
        };
        let right = side(true).zip(side(false)).map(|(chosen, rejected)| {
            let order = chosen.partial_cmp(&rejected);
            order.map_or(0.5, |order| 0.5 + 0.5 * f64::from(order as i8))
        });
        right.sum::<f64>() / (self.labels.len() / 2).max(1) as f64
    }

    /// `log π_SFT − log π_0` of each held-out answer as the reward model reads it: tokenised anew,
    /// the end token appended.
    pub(super) fn closed_form(
        &self,
        policies: &Policies<'_>,
        batch_size: usize,
        form: DialogueForm,
        placement: &Placement,
        ctx: &StageContext,
    ) -> Result<Vec<f64>, Error> {
        let tokenizer = Tokenizer::open(policies.initial, form)?;
        let mut rows = Vec::new();
        for (prompt, answer) in &self.texts {
            let row = TokenRow::example(&tokenizer, prompt, answer, usize::MAX)?;
            rows.extend(row);
        }
        let sequences: Vec<Sequence<'_>> = rows.iter().map(sequence).collect();
        let sums = |dir: &Path| -> Result<Vec<f64>, Error> {
            let model = CausalLm::load(dir, placement)?;
            let each = model.score_log_probs(&sequences, batch_size)?;
            let sum = |tokens: &Vec<f32>| tokens.iter().map(|v| f64::from(*v)).sum();
            Ok(each.iter().map(sum).collect())
        };
        let (initial, sft) = (sums(policies.initial)?, sums(policies.sft)?);
        ctx.add_tokens(2 * rows.iter().map(|row| row.ids.len() as u64).sum::<u64>());
        Ok(sft
            .iter()
            .zip(&initial)
            .map(|(sft, initial)| sft - initial)
            .collect())
    }
}
