//! Following an expected update: natural steps on whole answers, and whether a table stands still.

use crate::policy::{Policy, log_softmax};

/// Follows `weights` (see [`crate::estimator`]) uphill by natural steps: `pi ∝ pi·exp(rate·w/pi)`.
///
/// Exact for a table, whose logits can be any distribution over answers: a step of the natural
/// gradient on whole answers is one on its logits. Plain gradients stand still at the same points.
pub fn ascend(
    start: &[f64],
    weights: impl Fn(&[f64]) -> Vec<f64>,
    rate: f64,
    steps: usize,
) -> Vec<f64> {
    let mut policy = start.to_vec();
    for _ in 0..steps {
        let moved = policy.iter().zip(weights(&policy));
        let moved: Vec<f64> = moved.map(|(p, w)| log_moved(*p, w, rate)).collect();
        policy = log_softmax(&moved).iter().map(|l| l.exp()).collect();
    }
    policy
}

/// Whether the expected gradient over the logits of a table is 0, none larger than `tolerance`.
pub fn is_stationary(
    policy: &Policy<'_>,
    weights: impl Fn(&[f64]) -> Vec<f64>,
    tolerance: f64,
) -> bool {
    let gradient = policy.gradient(&weights(&policy.distribution()));
    gradient.iter().all(|g| g.abs() <= tolerance)
}

/// By how much a small departure `policy = target·(1 + departure)` grows in one natural step of
/// `rate`: below 1 in absolute value, `target` attracts; above, it repels.
///
/// `departure` is less its mean under `target`, so that probabilities sum to 1, and should be
/// small.
pub fn growth(
    target: &[f64],
    departure: &[f64],
    weights: impl Fn(&[f64]) -> Vec<f64>,
    rate: f64,
) -> f64 {
    let mean: f64 = target.iter().zip(departure).map(|(p, d)| p * d).sum();
    let start = target.iter().zip(departure);
    let start: Vec<f64> = start.map(|(p, d)| p * (1.0 + d - mean)).collect();
    let end = ascend(&start, weights, rate, 1);
    let size = |p: &[f64]| {
        let terms = p.iter().zip(target).map(|(p, t)| t * (p / t - 1.0).powi(2));
        terms.sum::<f64>().sqrt()
    };
    size(&end) / size(&start)
}

/// `log p + rate·w/p`, and nothing to move where there is nothing.
fn log_moved(p: f64, w: f64, rate: f64) -> f64 {
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    p.ln() + rate * w / p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::close, check::close_all, space::Space};

    #[test]
    fn a_step_tilts_by_the_reward() {
        // Weights pi·r: a step of 1 multiplies by exp(r).
        let weights = |p: &[f64]| vec![p[0] * 3f64.ln(), 0.0];
        close_all(&ascend(&[0.5, 0.5], weights, 1.0, 1), &[0.75, 0.25], 1e-12);
        close_all(&ascend(&[0.5, 0.5], weights, 0.5, 2), &[0.75, 0.25], 1e-12);
    }

    #[test]
    fn a_table_stands_still_where_weights_are_a_multiple_of_it_and_only_there() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let policy = Policy::random(&space, 1.0, seed);
            let twice = |p: &[f64]| p.iter().map(|p| 2.0 * p).collect();
            assert!(is_stationary(&policy, twice, 1e-12));
            let mut other: Vec<f64> = policy.distribution();
            other[seed as usize % 15] *= 1.1;
            assert!(!is_stationary(&policy, |_| other.clone(), 1e-6));
        }
    }

    #[test]
    fn growth_of_a_pull_towards_the_target() {
        // Weights −pi·log(pi/target) shrink a departure by 1 − rate.
        let target = [0.2, 0.3, 0.5];
        let pull = |p: &[f64]| -> Vec<f64> {
            let pairs = p.iter().zip(&target);
            pairs.map(|(p, t)| -p * (p / t).ln()).collect()
        };
        let departure = [1e-5, -2e-5, 1e-5];
        close(growth(&target, &departure, pull, 0.25), 0.75, 1e-4);
    }
}
