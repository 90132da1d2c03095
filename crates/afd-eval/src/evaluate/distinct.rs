//! How much a policy's answers to a prompt differ: distinct-n.

use std::collections::BTreeSet;

use afd_data::records::Sample;
use afd_stats::{mean, six_digits};

/// Different n-grams of words among all of them, over the first `answers` answers to a prompt; the
/// mean over prompts. `None` where no answer has `n` words.
///
/// Formula: `(1 / X) Σ_x |set of n-grams| / |n-grams|`, n-grams being runs of `n` words within one
/// answer.
///
/// Source: Li et al., *A Diversity-Promoting Objective Function for Neural Conversation Models*,
/// arXiv 1510.03055.
///
/// Departures: by prompt instead of over all answers, so that a variety of prompts is no variety of
/// the policy; words are what whitespace separates. The figure falls with the number of answers and
/// with their length: compare policies on equally many answers, and look at the lengths.
///
/// Sign: 1 if no n-gram occurs twice; towards 0 as answers repeat themselves and each other.
pub(super) fn distinct_n(groups: &[&[Sample]], n: usize, answers: usize) -> Option<f64> {
    let share = |samples: &&[Sample]| {
        let words: Vec<Vec<&str>> = samples
            .iter()
            .take(answers)
            .map(|sample| sample.completion.split_whitespace().collect())
            .collect();
        let n_grams = words.iter().flat_map(|words| words.windows(n));
        let all = n_grams.clone().count();
        let different: BTreeSet<&[&str]> = n_grams.collect();
        (all > 0).then(|| different.len() as f64 / all as f64)
    };
    let shares: Vec<f64> = groups.iter().filter_map(share).collect();
    (!shares.is_empty()).then(|| six_digits(mean(&shares)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(texts: &[&str]) -> Vec<Sample> {
        let sample = |(index, text): (usize, &&str)| Sample {
            prompt: String::new(),
            index: index as u32,
            completion: (*text).to_owned(),
            completion_ids: vec![0],
            logprobs: vec![0.0],
            sampler_logprobs: None,
            finish_reason: "stop".to_owned(),
        };
        texts.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn repetition_within_and_between_answers_counts() {
        let groups = [samples(&["a b a b", "a c"]), samples(&["x", "", "y z"])];
        let groups: Vec<&[Sample]> = groups.iter().map(Vec::as_slice).collect();
        // First prompt: a, b, c of 6 words; ab, ba, ac of 4 pairs. Second: x alone, no pair.
        assert_eq!(distinct_n(&groups, 1, 2), Some(0.75));
        assert_eq!(distinct_n(&groups, 2, 2), Some(0.75));
        // With the third answer: 3 of 3 words, 1 of 1 pair.
        assert_eq!(distinct_n(&groups, 2, 3), Some(0.875));
        // One answer each: 2 of 4 words, 1 of 1.
        assert_eq!(distinct_n(&groups, 1, 1), Some(0.75));
        assert_eq!(distinct_n(&groups, 3, 1), Some(1.0), "aba, bab");
        assert_eq!(distinct_n(&groups[1..], 2, 1), None);
    }
}
