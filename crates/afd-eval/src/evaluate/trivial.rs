//! Rankers that need no training.

use crate::{
    golden::GoldenRow,
    inputs::{Answers, Ranker},
    summary::RankerKind,
};

/// Whose scores mean nothing.
pub(crate) const RANDOM: &str = "random";

/// How likely an answer is to the policy that gave it, a token.
pub(crate) const MEAN_LOGPROB: &str = "mean-logprob";

/// The rankers that need no training, and the ceiling.
pub(crate) fn trivial_rankers(sft: &Answers, golden: &[GoldenRow]) -> Vec<(Ranker, RankerKind)> {
    // By an answer's log-probability and number of tokens.
    let ranker = |name: &str, score: fn(f64, f64) -> f64| {
        let prompts = sft.log_probs.iter().zip(&sft.tokens);
        let scores = prompts.map(|(log_probs, tokens)| {
            let answers = log_probs.iter().zip(tokens);
            answers.map(|(log_prob, tokens)| score(*log_prob, *tokens))
        });
        (
            Ranker {
                name: name.to_owned(),
                scores: scores.map(Iterator::collect).collect(),
            },
            RankerKind::Trivial,
        )
    };
    let ceiling = golden.iter().map(|row| row.sft.clone()).collect();
    vec![
        ranker(MEAN_LOGPROB, |log_prob, tokens| log_prob / tokens),
        ranker("longest", |_, tokens| tokens),
        ranker("shortest", |_, tokens| -tokens),
        // Equal scores give every answer the same chance: this is the expected value of chance.
        ranker(RANDOM, |_, _| 0.0),
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
