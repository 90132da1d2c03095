//! How much a policy's answers to a prompt are like each other: self-BLEU.

use afd_stats::mean;

use super::runs::{ORDER, Runs};

/// What counts for no run in common, so that one order without any does not hide the others.
const EPSILON: f64 = 0.1;

/// BLEU-4 of an answer with the other answers to its prompt as references, the mean over the answers to a prompt; of
/// a policy the mean over prompts. `None` of a single answer.
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
pub(super) fn self_bleu(runs: &[Runs; ORDER]) -> Option<f64> {
    (runs[0].of.len() > 1).then(|| mean(&each_against_the_others(runs)))
}

/// How often the answer that has a run most has it, which answer that is, and how often the next one does.
#[derive(Clone, Default)]
struct Most {
    count: usize,
    answer: usize,
    next: usize,
}

fn each_against_the_others(runs: &[Runs; ORDER]) -> Vec<f64> {
    let lengths: Vec<usize> = runs[0].of.iter().map(Vec::len).collect();
    let mut logs = vec![0.0; lengths.len()];
    for (n, runs) in (1..).zip(runs) {
        let counts = counts(runs);
        let most = most(&counts, runs.different);
        for (answer, counts) in counts.iter().enumerate() {
            let shared = counts.iter().map(|&(run, count)| {
                let most = &most[run];
                let other = match most.answer == answer {
                    true => most.next,
                    false => most.count,
                };
                other.min(count)
            });
            let shared: usize = shared.sum();
            let all = runs.of[answer].len().max(1);
            logs[answer] += match (shared, n) {
                (0, 1) => f64::NEG_INFINITY,
                (0, _) => (EPSILON / all as f64).ln(),
                _ => (shared as f64 / all as f64).ln(),
            };
        }
    }
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

/// Of each answer its runs, and how often it has each.
fn counts(runs: &Runs) -> Vec<Vec<(usize, usize)>> {
    let mut counts = vec![0; runs.different];
    let of_answer = |answer: &Vec<usize>| {
        let mut found = Vec::new();
        for &run in answer {
            if counts[run] == 0 {
                found.push(run);
            }
            counts[run] += 1;
        }
        let take = |run| (run, std::mem::take(&mut counts[run]));
        found.into_iter().map(take).collect()
    };
    runs.of.iter().map(of_answer).collect()
}

/// By the numbers of the runs, of which there are so many `different` ones.
fn most(counts: &[Vec<(usize, usize)>], different: usize) -> Vec<Most> {
    let mut found = vec![Most::default(); different];
    for (answer, counts) in counts.iter().enumerate() {
        for &(run, count) in counts {
            let most = &mut found[run];
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
            let found = each_against_the_others(&Runs::of_words(texts));
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "{texts:?}: {found} for {expected}"
                );
            }
        }
    }
}
