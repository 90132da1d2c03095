//! How much a policy's answers to a prompt are like each other: self-BLEU.

use std::collections::{HashMap, hash_map::Entry};

use afd_data::records::Sample;
use afd_stats::{mean, six_digits};

/// Longest runs of words that are looked at.
const ORDER: usize = 4;

/// What counts for no run in common, so that one order without any does not hide the others.
const EPSILON: f64 = 0.1;

/// BLEU-4 of an answer with the other answers to its prompt as references, over the first `answers` answers to a
/// prompt; the mean over answers, then over prompts. `None` where no prompt has two.
///
/// Formula: `exp(¼ Σ_n ln p_n) · min(1, exp(1 − r/c))`, with `p_n` the share of the answer's runs of n words that a
/// reference has, each as often as the one that has it most, `c` the answer's length and `r` the reference's that is
/// closest to it. An answer that shares no word has 0.
///
/// Source: Zhu et al., *Texygen*, arXiv 1802.01886; Papineni et al., BLEU, ACL 2002; for `p_n` of nothing in common
/// method 1 of Chen & Cherry, WMT 2014 (ε = 0.1), as in NLTK.
///
/// Departures: by prompt instead of over all answers; words are what whitespace separates.
///
/// Sign: 1 if all answers are the same; towards 0 as they share less.
pub(super) fn self_bleu(groups: &[&[Sample]], answers: usize) -> Option<f64> {
    let of_prompt = |samples: &&[Sample]| {
        let words: Vec<Vec<&str>> = samples
            .iter()
            .take(answers)
            .map(|sample| sample.completion.split_whitespace().collect())
            .collect();
        (words.len() > 1).then(|| mean(&each_against_the_others(&words)))
    };
    let prompts: Vec<f64> = groups.iter().filter_map(of_prompt).collect();
    (!prompts.is_empty()).then(|| six_digits(mean(&prompts)))
}

/// How often the answer that has a run most has it, which answer that is, and how often the next one does.
struct Most {
    count: usize,
    answer: usize,
    next: usize,
}

fn each_against_the_others(words: &[Vec<&str>]) -> Vec<f64> {
    let mut logs = vec![0.0; words.len()];
    for n in 1..=ORDER {
        let counts: Vec<HashMap<&[&str], usize>> =
            words.iter().map(|words| runs(words, n)).collect();
        let most = most(&counts);
        for (answer, counts) in counts.iter().enumerate() {
            let shared = counts.iter().map(|(run, count)| {
                let other = most.get(run).map_or(0, |most| match most.answer == answer {
                    true => most.next,
                    false => most.count,
                });
                other.min(*count)
            });
            let shared: usize = shared.sum();
            let all = words[answer].len().saturating_sub(n - 1).max(1);
            logs[answer] += match (shared, n) {
                (0, 1) => f64::NEG_INFINITY,
                (0, _) => (EPSILON / all as f64).ln(),
                _ => (shared as f64 / all as f64).ln(),
            };
        }
    }
    let lengths: Vec<usize> = words.iter().map(Vec::len).collect();
    let penalised = logs.iter().enumerate().map(|(answer, log)| {
        let own = lengths[answer];
        let others = lengths
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != answer);
        let closest = others
            .map(|(_, length)| *length)
            .min_by_key(|length| (length.abs_diff(own), *length));
        let ratio = closest.unwrap_or(own) as f64 / own.max(1) as f64;
        (log / ORDER as f64).exp() * (1.0 - ratio).exp().min(1.0)
    });
    penalised.collect()
}

/// Runs of `n` words, by how often they occur.
fn runs<'a>(words: &'a [&'a str], n: usize) -> HashMap<&'a [&'a str], usize> {
    let mut runs = HashMap::new();
    for run in words.windows(n) {
        *runs.entry(run).or_default() += 1;
    }
    runs
}

fn most<'a>(counts: &[HashMap<&'a [&'a str], usize>]) -> HashMap<&'a [&'a str], Most> {
    let mut found: HashMap<&[&str], Most> = HashMap::new();
    for (answer, counts) in counts.iter().enumerate() {
        for (run, &count) in counts {
            match found.entry(run) {
                Entry::Vacant(entry) => {
                    entry.insert(Most {
                        count,
                        answer,
                        next: 0,
                    });
                }
                Entry::Occupied(mut entry) => {
                    let most = entry.get_mut();
                    if count > most.count {
                        *most = Most {
                            count,
                            answer,
                            next: most.count,
                        };
                    } else {
                        most.next = most.next.max(count);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By NLTK 3.10.4, words split at spaces:
    /// `sentence_bleu(others, answer, smoothing_function=SmoothingFunction().method1)`.
    #[test]
    fn figures_are_those_of_nltk() {
        let cases: [(&[&str], [f64; 3]); 3] = [
            (
                &[
                    "the cat sat on the mat today",
                    "the cat sat on a mat",
                    "a dog ran",
                ],
                [0.434720871945, 0.476011654924, 0.041799174558],
            ),
            (
                &["a b a b a", "a b", "b a b a b a b"],
                [0.670320046036, 0.070559952075, 0.614788152951],
            ),
            (
                &["x y", "x y z w v", "q"],
                [0.316227766017, 0.113621936647, 0.0],
            ),
        ];
        for (texts, expected) in cases {
            let words: Vec<Vec<&str>> = texts
                .iter()
                .map(|text| text.split_whitespace().collect())
                .collect();
            for (found, expected) in each_against_the_others(&words).iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "{texts:?}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn the_same_answers_have_one_and_single_ones_none() {
        let sample = |text: &str| Sample {
            prompt: String::new(),
            index: 0,
            completion: text.to_owned(),
            completion_ids: vec![0],
            logprobs: vec![0.0],
            sampler_logprobs: None,
            finish_reason: "stop".to_owned(),
        };
        let same = [sample("one two three four"), sample("one two three four")];
        let apart = [sample("a b c d"), sample("e f g h"), sample("a b c d")];
        assert_eq!(self_bleu(&[&same], 2), Some(1.0));
        assert_eq!(self_bleu(&[&same, &apart], 2), Some(0.5));
        assert_eq!(self_bleu(&[&same], 1), None);
        // Empty answers are like nothing.
        assert_eq!(self_bleu(&[&[sample(""), sample("")]], 2), Some(0.0));
    }
}
