//! Best-of-N worked out exactly from stored samples, instead of by drawing again and again.

use std::cmp::Ordering;

/// The probability of each of M stored samples to be the answer of Best-of-N.
///
/// N of the M samples are drawn without replacement and the highest score wins; those that share
/// it have equal chances. `n = 1` gives the uniform distribution, `n = M` the best samples only.
/// A group of equal scores that covers the ranks `a + 1 ..= b` from below wins with probability
/// `[C(b, n) − C(a, n)] / C(M, n)`.
///
/// # Panics
///
/// When `n` is not in `1..=M`, or a score is NaN.
pub fn best_of_n_weights(scores: &[f64], n: usize) -> Vec<f64> {
    let m = scores.len();
    assert!(
        (1..=m).contains(&n),
        "best of {n} needs 1 ≤ {n} ≤ {m}, the number of samples"
    );
    assert!(scores.iter().all(|score| !score.is_nan()), "a score is NaN");
    if n == 1 {
        return vec![1.0 / m as f64; m];
    }

    let below = among_lowest(m, n);
    let ascending = ascending(scores);
    let mut weights = vec![0.0; m];
    let mut rank = 0;
    for group in ascending.chunk_by(|&i, &j| scores[i] == scores[j]) {
        let share = (below[rank + group.len()] - below[rank]) / group.len() as f64;
        for &index in group {
            weights[index] = share;
        }
        rank += group.len();
    }
    weights
}

/// The chance that the winner of Best-of-N has a higher value than one further sample, ties counting half; none
/// where all M samples are drawn and no further one is left.
///
/// The mean over all samples for an opponent, and over all ways to draw N from the others: a choice that its opponent
/// took part in is no choice against a fresh answer.
///
/// # Panics
///
/// When `n` is 0, scores and values differ in number, or a score is NaN.
pub fn best_of_n_win_rate(scores: &[f64], values: &[f64], n: usize) -> Option<f64> {
    let m = scores.len();
    assert!(n > 0, "the best of no answers");
    assert_eq!(m, values.len(), "a value for each sample");
    assert!(scores.iter().all(|score| !score.is_nan()), "a score is NaN");
    if n >= m {
        return None;
    }
    let below = among_lowest(m - 1, n);
    let ascending = ascending(scores);
    let groups: Vec<&[usize]> = ascending
        .chunk_by(|&i, &j| scores[i] == scores[j])
        .collect();
    // Of 0 and −0 neither is higher.
    let won = |one: f64, other: f64| match one.partial_cmp(&other) {
        Some(Ordering::Greater) => 1.0,
        Some(Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let mut sum = 0.0;
    for (own, opponents) in groups.iter().enumerate() {
        for &opponent in *opponents {
            let mut rank = 0;
            for (place, group) in groups.iter().enumerate() {
                let others = group.len() - usize::from(place == own);
                let chance = below[rank + others] - below[rank];
                rank += others;
                if chance > 0.0 {
                    let others_of = group.iter().filter(|&&i| i != opponent);
                    let wins: f64 = others_of.map(|&i| won(values[i], values[opponent])).sum();
                    sum += chance / others as f64 * wins;
                }
            }
        }
    }
    Some(sum / m as f64)
}

/// `C(b, n) / C(m, n)` for each `b` from 0 to `m`: the chance that all `n` of `m` samples are among the `b` lowest.
fn among_lowest(m: usize, n: usize) -> Vec<f64> {
    // From the top down it is a product of factors in [0, 1], which neither overflows nor loses digits.
    let mut below = vec![0.0; m + 1];
    below[m] = 1.0;
    for b in (n..m).rev() {
        below[b] = below[b + 1] * (b + 1 - n) as f64 / (b + 1) as f64;
    }
    below
}

/// The places of the scores, the lowest first.
fn ascending(scores: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&i, &j| scores[i].total_cmp(&scores[j]));
    places
}

/// The most that Best-of-N can differ from the policy it draws from: `ln N − (N − 1)/N` nats.
///
/// An upper bound on `KL(Best-of-N ‖ policy)`, reached when no two answers are equal in score.
///
/// # Panics
///
/// When `n` is 0.
pub fn best_of_n_kl_bound(n: usize) -> f64 {
    assert!(n > 0, "best of 0 is no policy");
    let n = n as f64;
    n.ln() - (n - 1.0) / n
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Every subset of size n in turn.
    fn by_enumeration(scores: &[f64], n: usize) -> Vec<f64> {
        let mut weights = vec![0.0; scores.len()];
        let mut subsets = 0.0;
        for subset in 0_u32..1 << scores.len() {
            if subset.count_ones() as usize != n {
                continue;
            }
            subsets += 1.0;
            let drawn = (0..scores.len()).filter(|&i| subset & (1 << i) != 0);
            let best = drawn
                .clone()
                .map(|i| scores[i])
                .fold(f64::NEG_INFINITY, f64::max);
            let winners: Vec<usize> = drawn.filter(|&i| scores[i] == best).collect();
            for &winner in &winners {
                weights[winner] += 1.0 / winners.len() as f64;
            }
        }
        weights.iter().map(|weight| weight / subsets).collect()
    }

    /// Scores with many ties, from few levels.
    fn cases() -> impl Iterator<Item = Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..60).map(move |case| {
            let levels = 1 + case % 8;
            (0..1 + case % 9)
                .map(|_| f64::from(rng.random_range(0..levels)))
                .collect()
        })
    }

    fn expectation(scores: &[f64], n: usize) -> f64 {
        best_of_n_weights(scores, n)
            .iter()
            .zip(scores)
            .map(|(weight, score)| weight * score)
            .sum()
    }

    #[test]
    fn two_of_three_on_paper() {
        // Pairs {1,2}, {1,3}, {2,3}: sample 2 wins one of three, sample 3 wins two.
        let weights = best_of_n_weights(&[1.0, 2.0, 3.0], 2);
        for (weight, expected) in weights.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0]) {
            assert!((weight - expected).abs() < 1e-15, "{weights:?}");
        }
    }

    #[test]
    fn equals_the_enumeration_of_all_subsets() {
        for scores in cases() {
            for n in 1..=scores.len() {
                let (exact, counted) = (best_of_n_weights(&scores, n), by_enumeration(&scores, n));
                for (a, b) in exact.iter().zip(&counted) {
                    assert!(
                        (a - b).abs() < 1e-12,
                        "{scores:?}, {n}: {exact:?}, {counted:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_win_against_a_sample_that_was_not_drawn_is_that_of_all_draws() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for scores in cases() {
            let values: Vec<f64> = scores
                .iter()
                .map(|_| f64::from(rng.random_range(0..4)))
                .collect();
            let m = scores.len();
            for n in 1..m {
                let mut chances = Vec::new();
                for opponent in 0..m {
                    let without = |all: &[f64]| [&all[..opponent], &all[opponent + 1..]].concat();
                    let weights = by_enumeration(&without(&scores), n);
                    let won = |value: &f64| match *value - values[opponent] {
                        0.0 => 0.5,
                        difference => f64::from(u8::from(difference > 0.0)),
                    };
                    let others = without(&values);
                    let each = weights.iter().zip(&others).map(|(w, v)| w * won(v));
                    chances.push(each.sum::<f64>());
                }
                let expected = chances.iter().sum::<f64>() / m as f64;
                let found = best_of_n_win_rate(&scores, &values, n).unwrap();
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{scores:?}, {values:?}, {n}"
                );
            }
            assert_eq!(best_of_n_win_rate(&scores, &values, m), None);
        }
        assert_eq!(best_of_n_win_rate(&[1.0, 2.0], &[0.0, -0.0], 1), Some(0.5));
    }

    #[test]
    fn sums_to_one_and_improves_with_n_also_for_many_samples() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let scores: Vec<f64> = (0..500).map(|_| rng.random_range(-3.0..3.0)).collect();
        let mut last = f64::NEG_INFINITY;
        for n in [1, 2, 5, 10, 30, 50, 100, 300, 500] {
            let sum: f64 = best_of_n_weights(&scores, n).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{n}: {sum}");
            let mean = expectation(&scores, n);
            assert!(mean > last, "{n}: {mean}");
            last = mean;
        }
    }

    #[test]
    fn one_is_uniform_and_all_is_the_best_group() {
        assert_eq!(best_of_n_weights(&[3.0, 1.0, 2.0], 1), [1.0 / 3.0; 3]);
        assert_eq!(
            best_of_n_weights(&[3.0, 1.0, 3.0, 2.0], 4),
            [0.5, 0.0, 0.5, 0.0]
        );
        assert_eq!(best_of_n_weights(&[7.0; 4], 3), [0.25; 4]);
        // Signed zeros are one group.
        assert_eq!(best_of_n_weights(&[0.0, -0.0], 2), [0.5, 0.5]);
    }

    #[test]
    #[should_panic(expected = "best of 4 needs")]
    fn more_than_there_is_panics() {
        best_of_n_weights(&[1.0, 2.0, 3.0], 4);
    }

    #[test]
    fn the_bound_has_its_known_values() {
        let table = [
            (1, 0.0),
            (2, 0.193),
            (5, 0.809),
            (10, 1.403),
            (30, 2.435),
            (50, 2.932),
            (100, 3.615),
            (300, 4.707),
            (500, 5.217),
        ];
        for (n, nats) in table {
            assert!((best_of_n_kl_bound(n) - nats).abs() < 5e-4, "{n}");
        }
    }
}
