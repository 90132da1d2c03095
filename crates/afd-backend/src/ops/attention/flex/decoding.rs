//! A single query for each sequence, as in decoding: products of a row, for which a matrix kernel's preparations would
//! take longer than they save. Keys and values are read once, so that little else than their bytes counts; they may be
//! bf16.

use burn::{backend::Flex, tensor::bf16};
use pulp::{Arch, Simd, WithSimd};

use super::{Attended, Problem, over_blocks};
use crate::ops::flex::matrix::Matrix;

/// Keys whose values are added at once, so that a sum is read and written once for all of them.
const KEYS: usize = 4;

/// A number as it is stored.
pub(super) trait Stored: Copy + Sync {
    /// Some of them as f32, in the `buffer` if they must be widened.
    fn widened<'a>(numbers: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32];
}

impl Stored for f32 {
    #[inline(always)]
    fn widened<'a>(numbers: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        numbers
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widened<'a>(numbers: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        for (wide, number) in buffer.iter_mut().zip(numbers) {
            *wide = f32::from_bits(u32::from(number.to_bits()) << 16);
        }
        buffer
    }
}

/// The results of all sequences' only queries.
pub(super) fn forward<T: Stored>(problem: &Problem<'_, T>) -> Attended<Flex> {
    let d = problem.d;
    over_blocks(problem, |row, head, query, buffer, out, sums| {
        let keys = problem.keys(row, &query);
        let kv_head = problem.kv_head(head);
        let [k, v] = [&problem.k, &problem.v]
            .map(|heads| heads.head(row, kv_head).narrow(keys.start, keys.len()));
        buffer.resize(keys.len() + KEYS * d, 0.0);
        let (weights, buffer) = buffer.split_at_mut(keys.len());
        Arch::new().dispatch(Scores {
            q: &problem.q.head(row, head).from(0, 0)[..d],
            keys: k,
            scale: problem.scale,
            scores: weights,
            buffer,
        });
        let (total, sum) = problem.soften(row, 0, &keys, weights);
        sums[0] = sum;
        Arch::new().dispatch(Mean {
            weights,
            values: v,
            total,
            out: &mut out[..d],
            buffer,
        });
    })
}

/// `scores[j] ← scale · q·kⱼ`.
struct Scores<'a, T> {
    q: &'a [f32],
    keys: Matrix<'a, T>,
    scale: f32,
    scores: &'a mut [f32],
    /// Room for a key.
    buffer: &'a mut [f32],
}

impl<T: Stored> WithSimd for Scores<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.q.len();
        let (q, rest_q) = S::as_simd_f32s(self.q);
        for (j, score) in self.scores.iter_mut().enumerate() {
            let key = T::widened(&self.keys.from(j, 0)[..d], &mut self.buffer[..d]);
            let (key, rest) = S::as_simd_f32s(key);
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
struct Mean<'a, T> {
    weights: &'a [f32],
    values: Matrix<'a, T>,
    total: f32,
    out: &'a mut [f32],
    /// Room for [`KEYS`] values.
    buffer: &'a mut [f32],
}

impl<T: Stored> WithSimd for Mean<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.out.len();
        self.out.fill(0.0);
        let (groups, rest) = self.weights.as_chunks::<KEYS>();
        let (a, others) = self.buffer.split_at_mut(d);
        let (b, others) = others.split_at_mut(d);
        let (c, e) = others.split_at_mut(d);
        for (group, weights) in groups.iter().enumerate() {
            let value = |i: usize| &self.values.from(group * KEYS + i, 0)[..d];
            let values = [
                T::widened(value(0), a),
                T::widened(value(1), b),
                T::widened(value(2), c),
                T::widened(value(3), e),
            ];
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
            let value = T::widened(&self.values.from(first + j, 0)[..d], a);
            for (out, value) in self.out.iter_mut().zip(value) {
                *out += weight * value;
            }
        }
        let share = self.total.recip();
        self.out.iter_mut().for_each(|out| *out *= share);
    }
}
