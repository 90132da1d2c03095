//! What a policy's answers are like beside the demonstrations: what it covers of them, and what of it they
//! would have said; refusals and repetition.

use std::collections::{HashMap, HashSet};

use afd_data::{features, records::Sample};
use afd_stats::{mean, six_digits};

/// Runs of two words, by how often they occur.
type Pairs<'a> = HashMap<(&'a str, &'a str), usize>;

/// What there is to say of a policy's answers.
#[derive(Debug, PartialEq)]
pub(super) struct Behaviour {
    /// Share of answers with a stock phrase of refusal.
    pub(super) refusals: f64,
    /// Share of an answer's runs of two words that it has had before.
    pub(super) repetition: f64,
    /// Share of the demonstrations' runs of two words that the policy's answers have somewhere, …
    pub(super) coverage: Option<f64>,
    /// … and share of the policy's that the demonstrations have somewhere.
    pub(super) precision: Option<f64>,
}

/// Of the first `answers` answers to each prompt, beside a demonstration to each.
///
/// Source: precision and recall of what generates, Kynkäänniemi et al., arXiv 1904.06991. Departure: runs
/// of two words in the place of neighbourhoods in a space of features, over all prompts together; more
/// answers cover more, so policies are compared on equally many.
pub(super) fn behaviour(
    groups: &[&[Sample]],
    answers: usize,
    demonstrations: &[&str],
) -> Behaviour {
    let texts = || {
        groups
            .iter()
            .flat_map(|samples| samples.iter().take(answers))
    };
    let figure = |name: &str| {
        let place = features::NAMES.iter().position(|other| *other == name);
        let of = |sample: &Sample| {
            place.map_or(0.0, |place| features::readable(&sample.completion)[place])
        };
        texts().map(of).collect::<Vec<f64>>()
    };
    let refuses = figure("refusals")
        .into_iter()
        .map(|count| f64::from(u8::from(count > 0.0)));
    let own = pairs(texts().map(|sample| sample.completion.as_str()));
    let theirs = pairs(demonstrations.iter().copied());
    Behaviour {
        refusals: six_digits(mean(&refuses.collect::<Vec<f64>>())),
        repetition: six_digits(mean(&figure("repeated_bigram_share"))),
        coverage: shared(&theirs, &own).map(six_digits),
        precision: shared(&own, &theirs).map(six_digits),
    }
}

fn pairs<'a>(texts: impl Iterator<Item = &'a str>) -> Pairs<'a> {
    let mut pairs = Pairs::new();
    for text in texts {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            *pairs.entry((pair[0], pair[1])).or_default() += 1;
        }
    }
    pairs
}

/// The share of `these`, as often as they occur, that are among `those`; `None` of none.
fn shared(these: &Pairs<'_>, those: &Pairs<'_>) -> Option<f64> {
    let all: usize = these.values().sum();
    let known: HashSet<_> = those.keys().collect();
    let there = these.iter().filter(|(pair, _)| known.contains(pair));
    let there: usize = there.map(|(_, count)| count).sum();
    (all > 0).then(|| there as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(completion: &str) -> Sample {
        Sample {
            prompt: "p".to_owned(),
            index: 0,
            completion: completion.to_owned(),
            completion_ids: vec![1],
            logprobs: vec![0.0],
            sampler_logprobs: None,
            finish_reason: "stop".to_owned(),
        }
    }

    #[test]
    fn figures_on_paper() {
        let first = [
            sample("a b a b"),
            sample("I'm sorry, no"),
            sample("not looked at"),
        ];
        let second = [sample("b c"), sample("x y")];
        let found = behaviour(&[&first, &second], 2, &["a b c", "d e"]);
        // Pairs: "a b" twice and "b a" once; "I'm sorry," and "sorry, no"; "b c"; "x y". Of the
        // demonstrations' three, "a b" and "b c" are covered; of the policy's seven they have three.
        assert_eq!(found.coverage, Some(0.666667));
        assert_eq!(found.precision, Some(0.428571));
        assert_eq!(found.refusals, 0.25);
        // One pair in three of one answer in four.
        assert!((found.repetition - 1.0 / 12.0).abs() < 1e-6, "{found:?}");
        let nothing = behaviour(&[&[sample("word")]], 1, &[]);
        assert_eq!((nothing.coverage, nothing.precision), (None, None));
    }
}
