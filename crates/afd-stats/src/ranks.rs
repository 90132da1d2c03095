//! Ranks, and what they say of order within prompts.

use std::cmp::Ordering;

use crate::{
    correlation::pearson_within,
    moments::{is_constant, mean},
};

/// The ranks of `values` from 1; equal values share the average of their places.
///
/// ```
/// assert_eq!(afd_stats::average_ranks(&[0.5, 7.0, 0.5, -1.0]), [2.5, 4.0, 2.5, 1.0]);
/// ```
///
/// NaN ranks above everything.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &place in tied {
            ranks[place] = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        }
        below += tied.len();
    }
    ranks
}

/// Spearman's correlation of ranks within a prompt, averaged over the prompts where both vary;
/// `None` if none does.
///
/// `x` and `y` are `[prompt][answer]`, in -1 to 1. Ties share ranks.
///
/// # Panics
///
/// If shapes differ.
pub fn spearman_within(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
    check(x, y);
    let ranked = |values: &[Vec<f64>]| -> Vec<Vec<f64>> {
        values.iter().map(|values| average_ranks(values)).collect()
    };
    pearson_within(&ranked(x), &ranked(y))
}

/// Kendall's tau-b within a prompt, averaged over the prompts where both vary; `None` if none does.
///
/// Concordant less discordant pairs, by the geometric mean of the pairs untied in `x` and those
/// untied in `y`. `x` and `y` are `[prompt][answer]`. Time grows with the square of the answers.
///
/// # Panics
///
/// If shapes differ.
pub fn kendall_within(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
    check(x, y);
    let each: Vec<f64> = x.iter().zip(y).filter_map(|(x, y)| kendall(x, y)).collect();
    (!each.is_empty()).then(|| mean(&each))
}

fn kendall(x: &[f64], y: &[f64]) -> Option<f64> {
    if is_constant(x) || is_constant(y) {
        return None;
    }
    let (mut agreement, mut untied_x, mut untied_y) = (0_i64, 0_i64, 0_i64);
    for i in 0..x.len() {
        for j in 0..i {
            let (of_x, of_y) = (sign(x[i], x[j]), sign(y[i], y[j]));
            agreement += of_x * of_y;
            untied_x += of_x.abs();
            untied_y += of_y.abs();
        }
    }
    let scale = (untied_x as f64).sqrt() * (untied_y as f64).sqrt();
    (scale > 0.0).then(|| agreement as f64 / scale)
}

fn sign(a: f64, b: f64) -> i64 {
    match a.partial_cmp(&b) {
        Some(Ordering::Greater) => 1,
        Some(Ordering::Less) => -1,
        Some(Ordering::Equal) | None => 0,
    }
}

/// Of all pairs of answers to the same prompt, the share with equal values, in 0 to 1; `None` if
/// no prompt has two answers.
///
/// `x` is `[prompt][answer]`.
pub fn ties_within(x: &[Vec<f64>]) -> Option<f64> {
    let choose_two = |count: usize| (count * count.saturating_sub(1) / 2) as f64;
    let pairs: f64 = x.iter().map(|values| choose_two(values.len())).sum();
    let tied = |values: &Vec<f64>| -> f64 {
        let mut ascending = values.clone();
        ascending.sort_by(f64::total_cmp);
        let equal = ascending.chunk_by(|a, b| a == b);
        equal.map(|chunk| choose_two(chunk.len())).sum()
    };
    (pairs > 0.0).then(|| x.iter().map(tied).sum::<f64>() / pairs)
}

fn check(x: &[Vec<f64>], y: &[Vec<f64>]) {
    let same = x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.len() == y.len());
    assert!(same, "both sides need the same prompts and answers");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::close;

    #[test]
    fn ties_share_the_average_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 3.0]), [3.0, 1.0, 3.0, 3.0]);
        assert_eq!(average_ranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
        assert!(average_ranks(&[]).is_empty());
    }

    #[test]
    fn spearman_on_paper() {
        // Ranks 1 2 3 4 against 1 2.5 2.5 4 for any values in that order: centred
        // (-1.5, -0.5, 0.5, 1.5) and (-1.5, 0, 0, 1.5): 4.5 / sqrt(5 · 4.5).
        let rho = spearman_within(&[vec![1.0, 2.0, 9.0, 10.0]], &[vec![0.0, 5.0, 5.0, 6.0]]);
        assert!(close(rho.unwrap(), 4.5 / (5.0_f64 * 4.5).sqrt(), 1e-15));
        // A monotone curve is a full correlation of ranks, though not of values.
        let x = [vec![1.0, 2.0, 3.0]];
        let y = [vec![1.0, 10.0, 1000.0]];
        assert!(close(spearman_within(&x, &y).unwrap(), 1.0, 1e-15));
        assert!(pearson_within(&x, &y).unwrap() < 0.9);
    }

    #[test]
    fn kendall_on_paper() {
        // Pairs: (1,2) + +, (1,3) + +, (1,4) + +, (2,3) + tie, (2,4) + +, (3,4) + +:
        // 5 concordant, 6 untied in x, 5 in y.
        let tau = kendall_within(&[vec![1.0, 2.0, 9.0, 10.0]], &[vec![0.0, 5.0, 5.0, 6.0]]);
        assert!(close(tau.unwrap(), 5.0 / 30.0_f64.sqrt(), 1e-15));
        // One swap of neighbours among three: 2 concordant, 1 discordant.
        let tau = kendall_within(&[vec![1.0, 2.0, 3.0]], &[vec![1.0, 3.0, 2.0]]);
        assert!(close(tau.unwrap(), 1.0 / 3.0, 1e-15));
    }

    #[test]
    fn prompts_are_averaged_and_constant_ones_skipped() {
        let x = [
            vec![1.0, 2.0],
            vec![10.0, 20.0],
            vec![5.0, 5.0],
            vec![1.0],
            vec![],
        ];
        let y = [
            vec![1.0, 3.0],
            vec![9.0, 7.0],
            vec![0.0, 1.0],
            vec![4.0],
            vec![],
        ];
        for within in [spearman_within, kendall_within] {
            assert_eq!(within(&x, &y), Some(0.0));
            assert_eq!(within(&x[..1], &y[..1]), Some(1.0));
            assert_eq!(within(&x[1..], &y[1..]), Some(-1.0));
            assert_eq!(within(&x[2..], &y[2..]), None);
        }
    }

    #[test]
    fn ties_are_counted_among_pairs_of_one_prompt() {
        // 1 1 1 2: 3 of 6 pairs; 1 2: none of 1; the 1s of different prompts are no pair.
        let x = [vec![1.0, 1.0, 2.0, 1.0], vec![1.0, 2.0], vec![1.0]];
        assert_eq!(ties_within(&x), Some(3.0 / 7.0));
        assert_eq!(ties_within(&x[2..]), None);
        assert_eq!(ties_within(&[vec![0.0, -0.0]]), Some(1.0));
    }

    #[test]
    #[should_panic(expected = "the same prompts")]
    fn shapes_have_to_agree() {
        let _ = kendall_within(&[vec![1.0, 2.0]], &[vec![1.0]]);
    }
}
