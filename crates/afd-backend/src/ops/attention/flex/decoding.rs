//! A single query: products of a row, for which a matrix kernel's preparations would take longer than they save.

use crate::ops::flex::matrix::Matrix;

/// Numbers of a head that are worked on at once.
const LANES: usize = 16;

/// `scores[j] ← scale · q·kⱼ`.
#[inline(always)]
pub(super) fn scores(q: &[f32], keys: Matrix<'_>, scale: f32, scores: &mut [f32]) {
    for (j, score) in scores.iter_mut().enumerate() {
        *score = scale * dot(q, &keys.from(j, 0)[..q.len()]);
    }
}

/// `out ← Σ wⱼ·vⱼ / total`.
#[inline(always)]
pub(super) fn mean(weights: &[f32], values: Matrix<'_>, total: f32, out: &mut [f32]) {
    let share = total.recip();
    let whole = out.len() / LANES * LANES;
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (c, out) in chunks.iter_mut().enumerate() {
        let mut sums = [0.0f32; LANES];
        for (j, weight) in weights.iter().enumerate() {
            if let Some(value) = values.from(j, c * LANES).first_chunk::<LANES>() {
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum += weight * value;
                }
            }
        }
        *out = sums.map(|sum| sum * share);
    }
    for (at, out) in rest.iter_mut().enumerate() {
        let terms = weights.iter().enumerate();
        let sum: f32 = terms
            .map(|(j, weight)| weight * values.from(j, whole + at)[0])
            .sum();
        *out = sum * share;
    }
}

/// Halves are added to each other, so that the last sums take few steps.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}
