//! Minimises a smooth convex function of many parameters: L-BFGS with backtracking.

use std::collections::VecDeque;

/// Pairs of steps and changes of gradient that stand for the curvature.
const MEMORY: usize = 8;

/// Steps after which the search ends in any case.
const STEPS: usize = 500;

/// The point from `start` on where no entry of the gradient is above `tolerance`.
///
/// `evaluate` gives value and gradient. Ends early where rounding leaves nothing to gain.
pub(super) fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    evaluate: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Vec<f64> {
    let mut at = start;
    let (mut value, mut gradient) = evaluate(&at);
    let mut history = VecDeque::new();
    for _ in 0..STEPS {
        if gradient.iter().all(|entry| entry.abs() <= tolerance) {
            break;
        }
        let direction = descent(&gradient, &history);
        let promise = dot(&direction, &gradient);
        let step = |share: f64| -> Vec<f64> {
            at.iter()
                .zip(&direction)
                .map(|(a, d)| a - share * d)
                .collect()
        };
        let mut share = 1.0;
        let found = loop {
            let next = step(share);
            let (lower, slope) = evaluate(&next);
            if lower <= value - 1e-4 * share * promise {
                break Some((next, lower, slope));
            }
            share *= 0.5;
            if share < 1e-10 {
                break None;
            }
        };
        let Some((next, lower, slope)) = found else {
            break;
        };
        let moved: Vec<f64> = next.iter().zip(&at).map(|(b, a)| b - a).collect();
        let bent: Vec<f64> = slope.iter().zip(&gradient).map(|(b, a)| b - a).collect();
        let curvature = dot(&moved, &bent);
        if curvature > 0.0 {
            if history.len() == MEMORY {
                history.pop_front();
            }
            history.push_back((moved, bent, curvature));
        }
        (at, value, gradient) = (next, lower, slope);
    }
    at
}

/// The gradient times an estimate of the inverse Hessian, by the two loops over the history.
fn descent(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction = gradient.to_vec();
    let mut shares = Vec::with_capacity(history.len());
    for (moved, bent, curvature) in history.iter().rev() {
        let share = dot(moved, &direction) / curvature;
        add(&mut direction, bent, -share);
        shares.push(share);
    }
    if let Some((_, bent, curvature)) = history.back() {
        let scale = curvature / dot(bent, bent);
        direction.iter_mut().for_each(|entry| *entry *= scale);
    }
    for ((moved, bent, curvature), share) in history.iter().zip(shares.into_iter().rev()) {
        let other = dot(bent, &direction) / curvature;
        add(&mut direction, moved, share - other);
    }
    direction
}

fn add(to: &mut [f64], what: &[f64], scale: f64) {
    for (entry, value) in to.iter_mut().zip(what) {
        *entry += scale * value;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::close;

    #[test]
    fn finds_the_bottom_of_an_ill_conditioned_bowl() {
        // Σ k² (x_k - k)² / 2 for k in 1 to 30: curvatures from 1 to 900.
        let found = minimise(vec![0.0; 30], 1e-10, |at| {
            let from = |(k, x): (usize, &f64)| {
                let k = (k + 1) as f64;
                (k * k * (x - k).powi(2) / 2.0, k * k * (x - k))
            };
            let (values, gradient): (Vec<f64>, Vec<f64>) = at.iter().enumerate().map(from).unzip();
            (values.iter().sum(), gradient)
        });
        for (k, x) in found.iter().enumerate() {
            assert!(close(*x, (k + 1) as f64, 1e-8), "{k} {x}");
        }
    }
}
