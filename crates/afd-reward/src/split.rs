//! Pairs for training and pairs for evaluation, no prompt among both.

use std::{collections::VecDeque, path::Path};

use afd_data::{
    encode_all,
    records::{JsonlReader, PreferenceRow},
};
use afd_stage::seed::derive;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, RewardConfig};

/// Rows read at a time, by all processors.
const AT_A_TIME: usize = 1024;

/// Pairs as something that reads them wants them, chosen side first.
#[derive(Debug)]
pub(crate) struct Split<T> {
    pub(crate) training: Vec<Pair<T>>,
    pub(crate) held_out: Vec<Pair<T>>,
    /// Rows left out because a side of them is too long.
    pub(crate) too_long: usize,
    /// Answers to prompts of their own that found no other side.
    pub(crate) unpaired: usize,
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
/// sides. A row whose answers are to different prompts is taken apart: each answer goes where its own
/// prompt does, and there the first chosen one meets the first rejected one, and so on.
///
/// # Errors
/// Those of `read`; [`Error::TooFewPairs`] when a part is empty.
pub(crate) fn split<T: Send>(
    path: &Path,
    config: &RewardConfig,
    seed: u64,
    read: impl Fn(&str, &str) -> Result<Option<T>, Error> + Sync,
) -> Result<Split<T>, Error> {
    let mut parts: [Vec<Pair<T>>; 2] = Default::default();
    // Of each part, answers of rows that were taken apart: chosen ones, rejected ones.
    let mut single: [[VecDeque<(T, usize, u64)>; 2]; 2] = Default::default();
    let (mut too_long, mut usable) = (0, 0);
    let part = |draw: u64| usize::from((draw as f64 / u64::MAX as f64) < config.eval_fraction);
    let mut rows = JsonlReader::<PreferenceRow>::open(path)?.enumerate();
    loop {
        let some = rows.by_ref().take(AT_A_TIME);
        let some = some.map(|(number, row)| Ok((number, row?)));
        let some: Vec<(usize, PreferenceRow)> = some.collect::<Result<_, Error>>()?;
        if some.is_empty() {
            break;
        }
        let sides = encode_all(&some, |(_, row)| {
            let chosen = read(&row.prompt, &row.chosen)?;
            Ok::<_, Error>((chosen, read(row.rejected_prompt(), &row.rejected)?))
        })?;
        for ((number, row), sides) in some.into_iter().zip(sides) {
            let (Some(chosen), Some(rejected)) = sides else {
                too_long += 1;
                continue;
            };
            usable += 1;
            let prompts = [&row.prompt[..], row.rejected_prompt()];
            let [prompt, other] = prompts.map(|prompt| derive(seed, prompt, 0));
            if prompt == other {
                parts[part(prompt)].push(Pair {
                    chosen,
                    rejected,
                    rows: [number; 2],
                    prompt,
                });
                continue;
            }
            single[part(prompt)][0].push_back((chosen, number, prompt));
            single[part(other)][1].push_back((rejected, number, other));
        }
    }
    for (pairs, [chosen, rejected]) in parts.iter_mut().zip(&mut single) {
        while !chosen.is_empty() && !rejected.is_empty() {
            if let (Some((chosen, i, prompt)), Some((rejected, j, _))) =
                (chosen.pop_front(), rejected.pop_front())
            {
                pairs.push(Pair {
                    chosen,
                    rejected,
                    rows: [i, j],
                    prompt,
                });
            }
        }
    }
    let unpaired = single.iter().flatten().map(VecDeque::len).sum();
    let [training, held_out] = parts;
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
        unpaired,
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

#[cfg(test)]
mod tests {
    use afd_data::records::JsonlWriter;

    use super::*;
    use crate::config::tests::config;

    fn row(prompt: &str, other: Option<&str>, text: &str) -> PreferenceRow {
        PreferenceRow {
            prompt: prompt.to_owned(),
            chosen: format!("+{text}"),
            rejected: format!("-{text}"),
            rejected_prompt: other.map(str::to_owned),
            chosen_source: "sft".to_owned(),
            rejected_source: "init".to_owned(),
        }
    }

    fn split_of(rows: &[PreferenceRow]) -> Split<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        let mut writer = JsonlWriter::create(&path).unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        let read = |prompt: &str, answer: &str| {
            Ok((answer != "+long").then(|| format!("{prompt}{answer}")))
        };
        split(&path, &config(), 3, read).unwrap()
    }

    #[test]
    fn rows_of_one_prompt_stay_together_whatever_stands_between() {
        let mut rows = Vec::new();
        // Twice as many rows as this, more than are read at a time.
        let count = AT_A_TIME * 3 / 4;
        for i in 0..count {
            let (own, other) = (format!("p{i}"), format!("q{i}"));
            rows.push(row(&own, None, &i.to_string()));
            rows.push(row(&format!("r{i}"), Some(&other), &format!("x{i}")));
        }
        rows.push(row("p0", None, "long"));
        let split = split_of(&rows);
        assert_eq!(split.too_long, 1);
        let mut prompts = [Vec::new(), Vec::new()];
        for (part, pairs) in [&split.training, &split.held_out].into_iter().enumerate() {
            for pair in pairs {
                let [i, j] = pair.rows;
                let of = |row: usize, sign: char| format!("{sign}{}", &rows[row].chosen[1..]);
                assert!(pair.chosen.ends_with(&of(i, '+')) && pair.rejected.ends_with(&of(j, '-')));
                // What was a row without a prompt of its own for either side is one still.
                let whole = rows[i].rejected_prompt.is_none();
                assert_eq!(whole, rows[j].rejected_prompt.is_none());
                assert!(!whole || i == j, "{:?}", pair.rows);
                prompts[part].push(rows[i].prompt.clone());
                prompts[part].push(rows[j].rejected_prompt().to_owned());
            }
        }
        assert!(prompts[0].iter().all(|prompt| !prompts[1].contains(prompt)));
        let taken = split.training.len() + split.held_out.len();
        assert!(
            taken > count && taken + split.unpaired / 2 == 2 * count,
            "{taken}"
        );
    }

    #[test]
    fn a_bootstrap_draws_whole_prompts() {
        let rows: Vec<PreferenceRow> = (0..90)
            .map(|i| row(&format!("p{}", i / 3), None, &i.to_string()))
            .collect();
        let split = split_of(&rows);
        let drawn = split.bootstrap(1);
        assert_eq!(drawn.len(), split.training.len());
        for three in drawn.chunks(3) {
            assert!(
                three[1] == three[0] + 1 && three[2] == three[0] + 2,
                "{three:?}"
            );
        }
        assert_ne!(drawn, split.bootstrap(2));
    }
}
