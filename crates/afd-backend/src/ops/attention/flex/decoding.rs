//! A single query for each sequence, as in decoding: products of a row, for which a matrix kernel's preparations would
//! take longer than they save.
use burn::backend::Flex;
use pulp::{Arch, Simd, WithSimd};

use super::{Attended, Problem, over_blocks};
use crate::ops::flex::matrix::Matrix;

/// Keys whose values are added at once, so that a sum is read and written once for all of them.
const KEYS: usize = 4;

/// The results of all sequences' only queries.
pub(super) fn forward(problem: &Problem<'_>) -> Attended<Flex> {
    let d = problem.d;
    over_blocks(problem, |row, head, query, weights, out, sums| {
        let keys = problem.keys(row, &query);
        let kv_head = problem.kv_head(head);
        let [k, v] = [&problem.k, &problem.v]
            .map(|heads| heads.head(row, kv_head).narrow(keys.start, keys.len()));
        weights.resize(keys.len(), 0.0);
        Arch::new().dispatch(Scores {
            q: &problem.q.head(row, head).from(0, 0)[..d],
            keys: k,
            scale: problem.scale,
            scores: weights,
        });
        let (total, sum) = problem.soften(row, 0, &keys, weights);
        sums[0] = sum;
        Arch::new().dispatch(Mean {
            weights,
            values: v,
            total,
            out: &mut out[..d],
        });
    })
}

/// `scores[j] ← scale · q·kⱼ`.
struct Scores<'a> {
    q: &'a [f32],
    keys: Matrix<'a>,
    scale: f32,
    scores: &'a mut [f32],
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.q.len();
        let (q, rest_q) = S::as_simd_f32s(self.q);
        for (j, score) in self.scores.iter_mut().enumerate() {
            let (key, rest) = S::as_simd_f32s(&self.keys.from(j, 0)[..d]);
            let mut sum = simd.splat_f32s(0.0);
            for (q, key) in q.iter().zip(key) {
                sum = simd.mul_add_f32s(*q, *key, sum);
            }
            let rest: f32 = rest_q.iter().zip(rest).map(|(q, key)| q * key).sum();
            *score = self.scale * (simd.reduce_sum_f32s(sum) + rest);
        }
    }
}

/// `out ← Σ wⱼ·vⱼ / total`.
struct Mean<'a> {
    weights: &'a [f32],
    values: Matrix<'a>,
    total: f32,
    out: &'a mut [f32],
}

impl WithSimd for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.out.len();
        self.out.fill(0.0);
        let (groups, rest) = self.weights.as_chunks::<KEYS>();
        for (group, weights) in groups.iter().enumerate() {
            let values: [&[f32]; KEYS] =
                std::array::from_fn(|i| &self.values.from(group * KEYS + i, 0)[..d]);
            let (out, rest) = S::as_mut_simd_f32s(self.out);
            let lanes = values.map(|value| S::as_simd_f32s(value).0);
            let by = weights.map(|weight| simd.splat_f32s(weight));
            for (at, out) in out.iter_mut().enumerate() {
                let first = simd.mul_add_f32s(by[0], lanes[0][at], *out);
                let second = simd.mul_f32s(by[1], lanes[1][at]);
                let first = simd.mul_add_f32s(by[2], lanes[2][at], first);
                let second = simd.mul_add_f32s(by[3], lanes[3][at], second);
                *out = simd.add_f32s(first, second);
            }
            let whole = d - rest.len();
            for (at, out) in rest.iter_mut().enumerate() {
                let terms = weights.iter().zip(values);
                *out += terms.map(|(w, value)| w * value[whole + at]).sum::<f32>();
            }
        }
        let first = groups.len() * KEYS;
        for (j, weight) in rest.iter().enumerate() {
            let value = &self.values.from(first + j, 0)[..d];
            for (out, value) in self.out.iter_mut().zip(value) {
                *out += weight * value;
            }
        }
        let share = self.total.recip();
        self.out.iter_mut().for_each(|out| *out *= share);
    }
}
