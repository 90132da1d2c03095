//! The N that would be chosen without seeing the golden reward.

use afd_model::best_of_n_weights;
use afd_stats::{is_constant, mean, weighted};

use crate::inputs::Ranker;

/// The place among `all_n` where the `others` like `ranker`'s choice best: a reward that is over-optimised
/// finds no longer what others find. `None` without others.
///
/// Formula: the largest mean, over prompts and others, of the chosen answer's score in standard deviations
/// from the mean of the prompt's answers; the smallest N of equals.
pub(super) fn without_golden(
    ranker: &Ranker,
    others: &[&Ranker],
    all_n: &[usize],
) -> Option<usize> {
    let standardised: Vec<Vec<Vec<f64>>> = others
        .iter()
        .map(|other| other.scores.iter().map(|scores| standard(scores)).collect())
        .collect();
    if standardised.is_empty() {
        return None;
    }
    let liked = |n: usize| {
        let each = ranker.scores.iter().enumerate().map(|(prompt, scores)| {
            let weights = best_of_n_weights(scores, n);
            let of_others = standardised
                .iter()
                .map(|other| weighted(&weights, &other[prompt]));
            mean(&of_others.collect::<Vec<f64>>())
        });
        mean(&each.collect::<Vec<f64>>())
    };
    let mut best: Option<(usize, f64)> = None;
    for (place, &n) in all_n.iter().enumerate() {
        let liked = liked(n);
        if best.is_none_or(|(_, most)| liked > most + 1e-12) {
            best = Some((place, liked));
        }
    }
    best.map(|(place, _)| place)
}

/// Scores in standard deviations from their mean; all 0 where they do not vary.
fn standard(scores: &[f64]) -> Vec<f64> {
    if is_constant(scores) {
        return vec![0.0; scores.len()];
    }
    let centre = mean(scores);
    let squares: Vec<f64> = scores
        .iter()
        .map(|score| (score - centre).powi(2))
        .collect();
    let sd = mean(&squares).sqrt();
    scores.iter().map(|score| (score - centre) / sd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranker(scores: [f64; 3]) -> Ranker {
        Ranker {
            name: String::new(),
            scores: vec![scores.to_vec()],
        }
    }

    #[test]
    fn others_say_where_to_stop_on_paper() {
        let (own, all_n) = (ranker([1.0, 2.0, 3.0]), [1, 2, 3]);
        // They like what it likes: on to the last N.
        let same = ranker([0.0, 5.0, 9.0]);
        assert_eq!(without_golden(&own, &[&same], &all_n), Some(2));
        // They like the middle one: of two it is chosen one time in three, of three never.
        let middle = ranker([0.0, 1.0, 0.0]);
        assert_eq!(without_golden(&own, &[&middle], &all_n), Some(0));
        // Against it, or of no opinion: stay.
        let against = ranker([3.0, 2.0, 1.0]);
        assert_eq!(without_golden(&own, &[&against], &all_n), Some(0));
        assert_eq!(without_golden(&own, &[&ranker([1.0; 3])], &all_n), Some(0));
        assert_eq!(without_golden(&own, &[], &all_n), None);
    }
}
