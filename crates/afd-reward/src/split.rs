//! Pairs for training and pairs for evaluation, no prompt among both.

use std::path::Path;

use afd_data::records::{JsonlReader, PreferenceRow};
use afd_stage::seed::derive;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, RewardConfig};

/// Pairs as something that reads them wants them, chosen side first.
#[derive(Debug)]
pub(crate) struct Split<T> {
    pub(crate) training: Vec<Pair<T>>,
    pub(crate) held_out: Vec<Pair<T>>,
    /// Rows left out because a side of them is too long.
    pub(crate) too_long: usize,
}

/// Two answers, and where they come from.
#[derive(Debug)]
pub(crate) struct Pair<T> {
    pub(crate) chosen: T,
    pub(crate) rejected: T,
    /// The rows of the file they are in, from 0; the same one unless a row's prompts differ.
    pub(crate) rows: [usize; 2],
    /// The number of the chosen side's prompt.
    prompt: u64,
}

/// Reads pairs and splits them by prompt: the draw belongs to the prompt, so no prompt is on both
/// sides. Of rows with a prompt for each answer, each answer goes where its own prompt does, and
/// pairs are made anew.
///
/// # Errors
/// Those of `read`; [`Error::EqualAnswers`] on a preference that is none, [`Error::TooFewPairs`]
/// when a part is empty.
pub(crate) fn split<T>(
    path: &Path,
    config: &RewardConfig,
    seed: u64,
    mut read: impl FnMut(&str, &str) -> Result<Option<T>, Error>,
) -> Result<Split<T>, Error> {
    // [training, held out], each of [chosen, rejected].
    let mut sides: [[Vec<(T, usize, u64)>; 2]; 2] = Default::default();
    let (mut too_long, mut usable) = (0, 0);
    let mut rows = JsonlReader::<PreferenceRow>::open(path)?;
    let mut number = 0;
    while let Some(row) = rows.next() {
        let row = row?;
        let stated = row.chosen_source == "chosen" && row.rejected_source == "rejected";
        if stated && row.chosen == row.rejected && row.rejected_prompt.is_none() {
            let place = format!("{}:{}", path.display(), rows.line());
            return Err(Error::EqualAnswers { place });
        }
        let prompts = [&row.prompt[..], row.rejected_prompt()];
        let chosen = read(prompts[0], &row.chosen)?;
        let rejected = read(prompts[1], &row.rejected)?;
        match (chosen, rejected) {
            (Some(chosen), Some(rejected)) => {
                usable += 1;
                for (side, item) in [chosen, rejected].into_iter().enumerate() {
                    let draw = derive(seed, prompts[side], 0);
                    let held_out = (draw as f64 / u64::MAX as f64) < config.eval_fraction;
                    sides[usize::from(held_out)][side].push((item, number, draw));
                }
            }
            _ => too_long += 1,
        }
        number += 1;
    }
    let [training, held_out] = sides.map(|[chosen, rejected]| {
        let pairs = chosen.into_iter().zip(rejected);
        let pair = |((chosen, i, prompt), (rejected, j, _))| Pair {
            chosen,
            rejected,
            rows: [i, j],
            prompt,
        };
        pairs.map(pair).collect::<Vec<_>>()
    });
    if training.is_empty() || held_out.is_empty() {
        return Err(Error::TooFewPairs {
            path: path.into(),
            usable,
            max_length: config.max_length,
        });
    }
    Ok(Split {
        training,
        held_out,
        too_long,
    })
}

impl<T> Split<T> {
    /// The training pairs a member of an ensemble learns from: those of prompts drawn with
    /// replacement, as many as there are. Answers to one prompt stay together, for they are not
    /// independent.
    pub(crate) fn bootstrap(&self, seed: u64) -> Vec<usize> {
        let mut prompts: Vec<(u64, Vec<usize>)> = Vec::new();
        let mut order: Vec<usize> = (0..self.training.len()).collect();
        order.sort_by_key(|&pair| (self.training[pair].prompt, pair));
        for pair in order {
            let prompt = self.training[pair].prompt;
            match prompts.last_mut() {
                Some((last, pairs)) if *last == prompt => pairs.push(pair),
                _ => prompts.push((prompt, vec![pair])),
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, "bootstrap", 0));
        let draws = (0..prompts.len()).map(|_| rng.random_range(0..prompts.len()));
        draws.flat_map(|prompt| prompts[prompt].1.clone()).collect()
    }
}
