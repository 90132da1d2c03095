//! The answers that a reward model did not learn from, with its logits of them, among all others.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

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
    /// Whether only differences between a pair's logits mean anything.
    paired: bool,
    /// Who wrote the sides of the pairs: chosen, rejected.
    pub(super) sources: BTreeSet<(String, String)>,
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
    /// Reads pairs and predictions. Of a `paired` objective an answer's logit is from here on its lead
    /// over the other answer: a constant of the prompt, which the objective leaves free, is no merit.
    pub(super) fn read(pairs: &Path, predictions: &Path, paired: bool) -> Result<Self, Error> {
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
            paired,
            sources: BTreeSet::new(),
            all: Shallow::default(),
        };
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for (row, pair) in JsonlReader::<PreferenceRow>::open(pairs)?.enumerate() {
            let pair = pair?;
            let rejected_prompt = pair.rejected_prompt().to_owned();
            let sources = (pair.chosen_source, pair.rejected_source);
            held_out.sources.insert(sources);
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
        held_out.logits = held_out.read_as(held_out.logits.clone());
        Ok(held_out)
    }

    /// A reader's logits of the held-out answers as they are to be compared.
    pub(super) fn read_as(&self, mut logits: Vec<f64>) -> Vec<f64> {
        if self.paired {
            // A pair's answers follow one another.
            for pair in logits.chunks_exact_mut(2) {
                let lead = pair[0] - pair[1];
                pair.copy_from_slice(&[lead, -lead]);
            }
        }
        logits
    }

    /// Whether the pairs, or some of them, say which answer is preferred, not who wrote it.
    pub(super) fn of_preferences(&self) -> bool {
        self.sources.iter().any(|(chosen, _)| chosen == "chosen")
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
    /// the end token appended. None if an answer exceeds the policies' context.
    pub(super) fn closed_form(
        &self,
        policies: &Policies<'_>,
        batch_size: usize,
        form: DialogueForm,
        placement: &Placement,
        ctx: &StageContext,
    ) -> Result<Option<Vec<f64>>, Error> {
        let tokenizer = Tokenizer::open(policies.initial, form)?;
        let initial = CausalLm::load(policies.initial, placement)?;
        let context = initial.config().context();
        let mut rows = Vec::new();
        for (prompt, answer) in &self.texts {
            match TokenRow::example(&tokenizer, prompt, answer, context)? {
                Some(row) => rows.push(row),
                None => return Ok(None),
            }
        }
        let sequences: Vec<Sequence<'_>> = rows.iter().map(sequence).collect();
        let sums = |model: CausalLm| -> Result<Vec<f64>, Error> {
            let each = model.score_log_probs(&sequences, batch_size)?;
            let sum = |tokens: &Vec<f32>| tokens.iter().map(|v| f64::from(*v)).sum();
            Ok(each.iter().map(sum).collect())
        };
        let (initial, sft) = (
            sums(initial)?,
            sums(CausalLm::load(policies.sft, placement)?)?,
        );
        ctx.add_tokens(2 * rows.iter().map(|row| row.ids.len() as u64).sum::<u64>());
        let ratios = sft.iter().zip(&initial).map(|(sft, initial)| sft - initial);
        Ok(Some(self.read_as(ratios.collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offset: f32, paired: bool) -> HeldOut {
        let dir = tempfile::tempdir().unwrap();
        let pair = |prompt: &str| {
            let row = serde_json::json!({
                "prompt": prompt, "chosen": " Yes, it is.", "rejected": " no",
                "chosen_source": "sft", "rejected_source": "init",
            });
            format!("{row}\n")
        };
        let pairs = dir.path().join("pairs.jsonl");
        std::fs::write(&pairs, ["p", "q", "r"].map(pair).concat()).unwrap();
        let prediction = |(row, chosen, rejected): (usize, f32, f32)| {
            let row = serde_json::json!({
                "chosen_row": row, "rejected_row": row,
                "chosen": chosen + offset, "rejected": rejected + offset,
            });
            format!("{row}\n")
        };
        let predictions = dir.path().join("predictions.jsonl");
        let rows = [(0, 1.0, -0.5), (2, 0.25, 0.25)].map(prediction);
        std::fs::write(&predictions, rows.concat()).unwrap();
        HeldOut::read(&pairs, &predictions, paired).unwrap()
    }

    #[test]
    fn held_out_answers_stand_among_all_with_their_logits() {
        let held_out = read(0.0, false);
        assert_eq!(held_out.logits, [1.0, -0.5, 0.25, 0.25]);
        assert_eq!(held_out.labels, [true, false, true, false]);
        assert_eq!(
            (held_out.prompts.as_slice(), held_out.places.as_slice()),
            (&[0, 0, 2, 2][..], &[0, 1, 4, 5][..])
        );
        assert_eq!(held_out.all.labels.len(), 6);
        // One pair in order, one tied.
        assert_eq!(held_out.accuracy(), 0.75);
        assert!(!held_out.of_preferences());
    }

    #[test]
    fn of_a_paired_objective_only_leads_count() {
        for offset in [0.0, 8.0] {
            let held_out = read(offset, true);
            assert_eq!(held_out.logits, [1.5, -1.5, 0.0, 0.0]);
            assert_eq!(held_out.accuracy(), 0.75);
            assert_eq!(
                held_out.read_as(vec![3.0, 1.0, 0.0, 4.0]),
                [2.0, -2.0, -4.0, 4.0]
            );
        }
    }
}
