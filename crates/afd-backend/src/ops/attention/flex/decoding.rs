//! A single query for each sequence, as in decoding: products of a row, for which a matrix kernel's preparations would
//! take longer than they save.

use std::ops::Range;

use burn::backend::Flex;
use pulp::{Arch, Simd, WithSimd};

use super::{Attended, Heads, Prefix, Problem, over_blocks};
use crate::ops::flex::matrix::Matrix;

/// Keys whose values are added at once, so that a sum is read and written once for all of them.
const KEYS: usize = 4;

/// The results of all sequences' only queries.
pub(super) fn forward(problem: &Problem<'_>) -> Attended<Flex> {
    let d = problem.d;
    over_blocks(problem, |row, head, query, weights, out, sums| {
        let keys = problem.keys(row, &query);
        let kv_head = problem.kv_head(head);
        let pieces = pieces(problem, row, &keys);
        weights.resize(keys.len(), 0.0);
        for piece in pieces.clone() {
            Arch::new().dispatch(Scores {
                q: &problem.q.head(row, head).from(0, 0)[..d],
                keys: piece.of(&problem.k, kv_head),
                scale: problem.scale,
                scores: &mut weights[piece.among(&keys)],
            });
        }
        let (total, sum) = problem.soften(row, 0, &keys, weights);
        sums[0] = sum;
        let out = &mut out[..d];
        out.fill(0.0);
        for piece in pieces {
            Arch::new().dispatch(Sum {
                weights: &weights[piece.among(&keys)],
                values: piece.of(&problem.v, kv_head),
                out,
            });
        }
        let share = total.recip();
        out.iter_mut().for_each(|out| *out *= share);
    })
}

/// Keys that are read in sequence `row`.
struct Piece {
    row: usize,
    keys: Range<usize>,
}

impl Piece {
    /// These keys' rows of a head.
    fn of<'a>(&self, heads: &Heads<'a>, head: usize) -> Matrix<'a> {
        heads
            .head(self.row, head)
            .narrow(self.keys.start, self.keys.len())
    }

    /// Where they stand among `keys`.
    fn among(&self, keys: &Range<usize>) -> Range<usize> {
        self.keys.start - keys.start..self.keys.end - keys.start
    }
}

/// Where the keys that a sequence sees are read: those of its prefix in another. Groups of [`KEYS`] stay whole, so
/// that the sums are the same.
fn pieces(
    problem: &Problem<'_>,
    row: usize,
    keys: &Range<usize>,
) -> impl Iterator<Item = Piece> + Clone {
    let own = Prefix { row, end: 0 };
    let prefix = problem.prefixes.map_or(own, |prefixes| prefixes[row]);
    let shared = prefix.end.clamp(keys.start, keys.end) - keys.start;
    let end = keys.start + shared / KEYS * KEYS;
    let pieces = [(prefix.row, keys.start..end), (row, end..keys.end)];
    let pieces = pieces.into_iter().filter(|(_, keys)| !keys.is_empty());
    pieces.map(|(row, keys)| Piece { row, keys })
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
                sum = simd.mul_add_e_f32s(*q, *key, sum);
            }
            let rest: f32 = rest_q.iter().zip(rest).map(|(q, key)| q * key).sum();
            *score = self.scale * (simd.reduce_sum_f32s(sum) + rest);
        }
    }
}

/// `out ← out + Σ wⱼ·vⱼ`.
struct Sum<'a> {
    weights: &'a [f32],
    values: Matrix<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.out.len();
        let (groups, rest) = self.weights.as_chunks::<KEYS>();
        for (group, weights) in groups.iter().enumerate() {
            let values: [&[f32]; KEYS] =
                std::array::from_fn(|i| &self.values.from(group * KEYS + i, 0)[..d]);
            let (out, rest) = S::as_mut_simd_f32s(self.out);
            let lanes = values.map(|value| S::as_simd_f32s(value).0);
            let by = weights.map(|weight| simd.splat_f32s(weight));
            for (at, out) in out.iter_mut().enumerate() {
                let first = simd.mul_add_e_f32s(by[0], lanes[0][at], *out);
                let second = simd.mul_f32s(by[1], lanes[1][at]);
                let first = simd.mul_add_e_f32s(by[2], lanes[2][at], first);
                let second = simd.mul_add_e_f32s(by[3], lanes[3][at], second);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{
        ScoreOptions,
        attention::{Context, Inputs, Kernel},
        flex::{tensor, values},
    };

    /// The second sequence has no numbers where it shares those of the first.
    #[test]
    fn a_prefix_is_read_where_it_is_shared() {
        let (keys, width, end) = (13, 20, 8);
        let numbers = |count: usize| (0..count).map(|i| (i as f32).sin()).collect::<Vec<f32>>();
        let twice = |numbers: Vec<f32>, from: usize| {
            let mut second = numbers.clone();
            second[..from].fill(f32::NAN);
            [numbers, second].concat()
        };
        let of_keys = || twice(numbers(keys * width), end * width);
        let prefixes = [0, 0].map(|row| Prefix { row, end });
        let attended = Flex::forward(&Inputs {
            q: tensor(twice(numbers(width), 0), [2, 1, 1, width]),
            k: tensor(of_keys(), [2, 1, keys, width]),
            v: tensor(of_keys(), [2, 1, keys, width]),
            context: Context {
                mask: None,
                prefixes: Some(prefixes.into()),
            },
            options: ScoreOptions::of_width(width),
        });
        let (first, second) = values(&attended.out).split_at(width);
        assert!(first.iter().all(|number| number.is_finite()));
        assert_eq!(first, second);
    }
}
