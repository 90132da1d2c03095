//! A single query for each sequence, as in decoding: products of a row, for which a matrix kernel's preparations would
//! take longer than they save. Keys and values are read once, so that little else than their bytes counts; they may be
//! bf16.

use burn::{backend::Flex, tensor::bf16};

use super::{Attended, Problem, over_blocks};
use crate::{host::wide, ops::flex::matrix::Matrix};

/// Numbers of a head that are worked on at once.
const LANES: usize = 16;

/// A number as it is stored.
pub(super) trait Stored: Copy + Sync {
    fn f32(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn f32(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// The results of all sequences' only queries.
pub(super) fn forward<T: Stored>(problem: &Problem<'_, T>) -> Attended<Flex> {
    let d = problem.d;
    over_blocks(problem, |row, head, query, weights, out, sums| {
        let keys = problem.keys(row, &query);
        let q = &problem.q.head(row, head).from(0, 0)[..d];
        let kv_head = problem.kv_head(head);
        let [k, v] = [&problem.k, &problem.v]
            .map(|heads| heads.head(row, kv_head).narrow(keys.start, keys.len()));
        weights.resize(keys.len(), 0.0);
        wide(
            #[inline(always)]
            || scores(q, k, problem.scale, weights),
        );
        let (total, sum) = problem.soften(row, 0, &keys, weights);
        sums[0] = sum;
        wide(
            #[inline(always)]
            || mean(weights, v, total, &mut out[..d]),
        );
    })
}

/// `scores[j] ← scale · q·kⱼ`.
#[inline(always)]
fn scores<T: Stored>(q: &[f32], keys: Matrix<'_, T>, scale: f32, scores: &mut [f32]) {
    for (j, score) in scores.iter_mut().enumerate() {
        *score = scale * dot(q, &keys.from(j, 0)[..q.len()]);
    }
}

/// `out ← Σ wⱼ·vⱼ / total`.
#[inline(always)]
fn mean<T: Stored>(weights: &[f32], values: Matrix<'_, T>, total: f32, out: &mut [f32]) {
    let share = total.recip();
    let whole = out.len() / LANES * LANES;
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (c, out) in chunks.iter_mut().enumerate() {
        let mut sums = [0.0f32; LANES];
        for (j, weight) in weights.iter().enumerate() {
            if let Some(value) = values.from(j, c * LANES).first_chunk::<LANES>() {
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum += weight * value.f32();
                }
            }
        }
        *out = sums.map(|sum| sum * share);
    }
    for (at, out) in rest.iter_mut().enumerate() {
        let terms = weights.iter().enumerate();
        let sum: f32 = terms
            .map(|(j, weight)| weight * values.from(j, whole + at)[0].f32())
            .sum();
        *out = sum * share;
    }
}

/// Halves are added to each other, so that the last sums take few steps.
#[inline(always)]
fn dot<T: Stored>(a: &[f32], b: &[T]) -> f32 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b.f32();
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b.f32()).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}
