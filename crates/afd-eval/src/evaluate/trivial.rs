//! Rankers that need no training.

use afd_data::records::Sample;

use super::length;
use crate::{
    golden::GoldenRow,
    inputs::{Dialogue, Ranker},
    summary::RankerKind,
};

/// Whose scores mean nothing.
pub(crate) const RANDOM: &str = "random";

/// The rankers that need no training, and the ceiling.
pub(crate) fn trivial_rankers(
    dialogues: &[Dialogue],
    golden: &[GoldenRow],
) -> Vec<(Ranker, RankerKind)> {
    let ranker = |name: &str, kind, score: &dyn Fn(&Sample) -> f64| {
        let scores = dialogues
            .iter()
            .map(|dialogue| dialogue.sft.iter().map(score).collect());
        (
            Ranker {
                name: name.to_owned(),
                scores: scores.collect(),
            },
            kind,
        )
    };
    let mean_logprob = |sample: &Sample| {
        let sum: f64 = sample.logprobs.iter().copied().map(f64::from).sum();
        sum / sample.logprobs.len() as f64
    };
    let ceiling = golden.iter().map(|row| row.sft.clone()).collect();
    vec![
        ranker("mean-logprob", RankerKind::Trivial, &mean_logprob),
        ranker("longest", RankerKind::Trivial, &length),
        ranker("shortest", RankerKind::Trivial, &|sample| -length(sample)),
        // Equal scores give every answer the same chance: this is the expected value of chance.
        ranker(RANDOM, RankerKind::Trivial, &|_| 0.0),
        (
            Ranker {
                name: "golden".to_owned(),
                scores: ceiling,
            },
            RankerKind::Ceiling,
        ),
    ]
}

/// Whether the ranker's scores mean anything.
pub(super) fn has_score(ranker: &Ranker, kind: RankerKind) -> bool {
    kind != RankerKind::Trivial || ranker.name != RANDOM
}
