//! The kernel on Flex: a block of queries of one head at a time, against the keys any of them sees.
//!
//! A block's scores fit into the cache; nothing of the size `Tq·Tk` is ever made.

mod decoding;

use std::ops::Range;

use burn::backend::{Flex, flex::FlexTensor};
use rayon::prelude::*;

use super::{Attended, Inputs, Kernel, Prefix, composed, masks::MASKED};
use crate::host::{exp, map_sum, max, sum_pairs, wide};
use crate::ops::flex::{
    all_f32,
    matrix::{Matrix, multiply},
    tensor, unwritten, values,
};

/// Queries in a block.
const BLOCK: usize = 64;

impl Kernel for Flex {
    fn forward(inputs: &Inputs<Self>) -> Attended<Self> {
        let Some(views) = Views::of(inputs) else {
            return composed::forward(inputs);
        };
        let problem = views.problem();
        match problem.tq {
            1 => decoding::forward(&problem),
            _ => over_blocks(&problem, |row, head, queries, scores, out, sums| {
                problem.attend(row, head, queries, scores, out, sums);
            }),
        }
    }

    fn backward(
        inputs: &Inputs<Self>,
        attended: &Attended<Self>,
        gradient: FlexTensor,
    ) -> [FlexTensor; 3] {
        let (Some(views), Some(sums)) = (Views::of(inputs), &attended.log_sum_exp) else {
            return composed::backward(inputs, gradient);
        };
        let problem = views.problem();
        let Problem {
            b,
            tq,
            tk,
            h,
            kv,
            d,
            ..
        } = problem;
        let gradient = gradient.to_contiguous();
        let after = After {
            out: values(&attended.out),
            sums: values(sums),
            gradient: values(&gradient),
        };
        let group = h / kv;
        let mut of_q = unwritten(b * h * tq * d);
        let mut of_k = vec![0.0; b * kv * tk * d];
        let mut of_v = vec![0.0; b * kv * tk * d];
        // A key/value head with all queries that read it.
        of_q.par_chunks_mut(group * tq * d)
            .zip(of_k.par_chunks_mut(tk * d))
            .zip(of_v.par_chunks_mut(tk * d))
            .enumerate()
            .for_each_init(Buffers::default, |buffers, (i, ((of_q, of_k), of_v))| {
                let (row, kv_head) = (i / kv, i % kv);
                for (member, of_q) in of_q.chunks_mut(tq * d).enumerate() {
                    let head = kv_head * group + member;
                    for (block, of_q) in of_q.chunks_mut(BLOCK * d).enumerate() {
                        let queries = block * BLOCK..block * BLOCK + of_q.len() / d;
                        problem.back(row, head, queries, &after, buffers, [of_q, of_k, of_v]);
                    }
                }
            });
        [
            tensor(of_q, [b, h, tq, d]).transpose(1, 2),
            tensor(of_k, [b, kv, tk, d]),
            tensor(of_v, [b, kv, tk, d]),
        ]
    }
}

/// All results, by an `attend` that computes those of a block of queries of a head as [`Problem::attend`] does.
fn over_blocks(
    problem: &Problem<'_>,
    attend: impl Fn(usize, usize, Range<usize>, &mut Vec<f32>, &mut [f32], &mut [f32]) + Sync,
) -> Attended<Flex> {
    let Problem { b, tq, h, d, .. } = *problem;
    let mut out = unwritten(b * tq * h * d);
    let mut sums = unwritten(b * tq * h);
    // Blocks of queries, all heads of each, lie together in the result.
    let of_rows = out.chunks_mut(tq * h * d).zip(sums.chunks_mut(tq * h));
    let blocks: Vec<_> = of_rows
        .enumerate()
        .flat_map(|(row, (out, sums))| {
            let blocks = out
                .chunks_mut(BLOCK * h * d)
                .zip(sums.chunks_mut(BLOCK * h));
            blocks
                .enumerate()
                .map(move |(i, block)| (row, i * BLOCK, block))
        })
        .collect();
    let work = |buffer: &mut Vec<f32>,
                (row, first, (out, sums)): (_, usize, (&mut [f32], &mut [f32]))| {
        let queries = first..first + sums.len() / h;
        for head in 0..h {
            let (out, sums) = (&mut out[head * d..], &mut sums[head..]);
            attend(row, head, queries.clone(), buffer, out, sums);
        }
    };
    match problem.is_small() {
        true => {
            let mut buffer = Vec::new();
            blocks
                .into_iter()
                .for_each(|block| work(&mut buffer, block));
        }
        false => blocks.into_par_iter().for_each_init(Vec::new, work),
    }
    Attended {
        out: tensor(out, [b, tq, h * d]),
        log_sum_exp: Some(tensor(sums, [b, tq, h])),
    }
}

/// The inputs with the numbers of a head side by side, copied only where they were not.
struct Views<'a> {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    mask: Option<FlexTensor>,
    prefixes: Option<&'a [Prefix]>,
    scale: f32,
    softcap: Option<f32>,
}

impl<'a> Views<'a> {
    /// None for numbers that are not f32.
    fn of(inputs: &'a Inputs<Flex>) -> Option<Self> {
        if !all_f32(&[&inputs.q, &inputs.k, &inputs.v]) {
            return None;
        }
        let side_by_side = |x: &FlexTensor| match x.layout().strides() {
            [.., 1] if x.layout().has_positive_strides() => x.clone(),
            _ => x.to_contiguous(),
        };
        let mask = match &inputs.context.mask {
            None => None,
            Some(mask) => {
                let mask = mask.clone().try_into_primitive::<Flex>().ok()?;
                all_f32(&[&mask]).then(|| Some(mask.to_contiguous()))?
            }
        };
        Some(Self {
            q: side_by_side(&inputs.q),
            k: side_by_side(&inputs.k),
            v: side_by_side(&inputs.v),
            mask,
            prefixes: inputs.context.prefixes.as_deref(),
            scale: inputs.options.scale as f32,
            softcap: inputs.options.softcap.map(|c| c as f32),
        })
    }

    fn problem(&self) -> Problem<'_> {
        let dims = |x: &FlexTensor| {
            let shape = x.layout().shape();
            [shape[0], shape[1], shape[2], shape[3]]
        };
        let ([b, tq, h, d], [_, kv, tk, _]) = (dims(&self.q), dims(&self.k));
        let mask = self.mask.as_ref().map(|mask| (values(mask), dims(mask)[0]));
        let seen = mask.map(|(values, _)| values.chunks(tk.max(1)).map(seen).collect());
        Problem {
            q: Heads::of(&self.q, [0, 2, 1]),
            k: Heads::of(&self.k, [0, 1, 2]),
            v: Heads::of(&self.v, [0, 1, 2]),
            mask,
            seen,
            prefixes: self.prefixes,
            scale: self.scale,
            softcap: self.softcap,
            b,
            tq,
            tk,
            h,
            kv,
            d,
        }
    }
}

/// From the first key a query sees to the last; all where it sees none.
fn seen(mask: &[f32]) -> Range<usize> {
    let sees = |bias: &f32| *bias > MASKED / 2.0;
    match (mask.iter().position(sees), mask.iter().rposition(sees)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..mask.len(),
    }
}

/// A tensor by sequences, heads and tokens, in any order.
#[derive(Clone, Copy)]
struct Heads<'a> {
    values: &'a [f32],
    /// How far apart sequences, heads and tokens are.
    strides: [usize; 3],
    tokens: usize,
    d: usize,
}

impl<'a> Heads<'a> {
    /// `axes` are those of sequences, heads and tokens.
    fn of(x: &'a FlexTensor, axes: [usize; 3]) -> Self {
        let layout = x.layout();
        Self {
            values: &x.storage::<f32>()[layout.start_offset()..],
            strides: axes.map(|axis| layout.strides()[axis].unsigned_abs()),
            tokens: layout.shape()[axes[2]],
            d: layout.shape()[3],
        }
    }

    /// `[T, d]` of one head of one sequence.
    fn head(&self, row: usize, head: usize) -> Matrix<'a> {
        let [by_row, by_head, by_token] = self.strides;
        let values = &self.values[row * by_row + head * by_head..];
        Matrix::new(values, self.tokens, self.d, by_token)
    }
}

/// All that the blocks have in common.
struct Problem<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    /// `[rows, Tq, Tk]`, and how many rows that is: one for each sequence, or one for all.
    mask: Option<(&'a [f32], usize)>,
    /// Which keys each query sees at most; `[rows, Tq]`.
    seen: Option<Vec<Range<usize>>>,
    prefixes: Option<&'a [Prefix]>,
    scale: f32,
    softcap: Option<f32>,
    b: usize,
    tq: usize,
    tk: usize,
    h: usize,
    kv: usize,
    d: usize,
}

/// What backward knows besides, `[B, Tq, H, d]` and `[B, Tq, H]`.
struct After<'a> {
    out: &'a [f32],
    sums: &'a [f32],
    gradient: &'a [f32],
}

/// Room for the numbers of one block.
#[derive(Default)]
struct Buffers {
    weights: Vec<f32>,
    of_weights: Vec<f32>,
    slopes: Vec<f32>,
}

impl Problem<'_> {
    /// Whether threads would cost more than they bring.
    fn is_small(&self) -> bool {
        self.b * self.h * self.tq * self.tk * self.d < 1 << 18
    }

    /// The line of the mask that is a query's.
    fn line(&self, row: usize, query: usize) -> Option<(usize, &[f32])> {
        let (mask, rows) = self.mask?;
        let line = if rows == 1 {
            query
        } else {
            row * self.tq + query
        };
        Some((line, &mask[line * self.tk..][..self.tk]))
    }

    /// The keys that any of the queries sees.
    fn keys(&self, row: usize, queries: &Range<usize>) -> Range<usize> {
        let Some(seen) = &self.seen else {
            return 0..self.tk;
        };
        let of = |query| self.line(row, query).map(|(line, _)| &seen[line]);
        let ranges = || queries.clone().filter_map(of);
        let first = ranges().map(|range| range.start).min().unwrap_or(0);
        let last = ranges().map(|range| range.end).max().unwrap_or(self.tk);
        first..last
    }

    /// Makes scores weights, but for their sum, which is returned with its logarithm and what was taken off.
    fn soften(
        &self,
        row: usize,
        query: usize,
        keys: &Range<usize>,
        scores: &mut [f32],
    ) -> (f32, f32) {
        if let Some(c) = self.softcap {
            scores.iter_mut().for_each(|s| *s = c * (*s / c).tanh());
        }
        let mask = self.line(row, query).map(|(_, line)| &line[keys.clone()]);
        let (top, total) = wide(
            #[inline(always)]
            || {
                if let Some(mask) = mask {
                    scores.iter_mut().zip(mask).for_each(|(s, bias)| *s += bias);
                }
                let top = max(scores);
                (top, map_sum(scores, |s| exp(s - top)))
            },
        );
        (total, top + total.ln())
    }

    fn kv_head(&self, head: usize) -> usize {
        head / (self.h / self.kv)
    }

    /// Scores of a block of queries of a head against some keys, scaled, not capped nor masked.
    fn scores(
        &self,
        row: usize,
        head: usize,
        queries: &Range<usize>,
        keys: &Range<usize>,
        scores: &mut Vec<f32>,
    ) {
        let n = keys.len();
        scores.resize(queries.len() * n, 0.0);
        let q = self.q.head(row, head).narrow(queries.start, queries.len());
        let k = self.k.head(row, self.kv_head(head)).narrow(keys.start, n);
        multiply(scores, n, false, self.scale, q, k.t(), false);
    }

    /// The results of a block of queries of a head: row `i` of `out` begins at `i·H·d`, the logarithm
    /// of its denominator stands at `i·H` of `sums`.
    fn attend(
        &self,
        row: usize,
        head: usize,
        queries: Range<usize>,
        scores: &mut Vec<f32>,
        out: &mut [f32],
        sums: &mut [f32],
    ) {
        let keys = self.keys(row, &queries);
        let (n, d, apart) = (keys.len(), self.d, self.h * self.d);
        self.scores(row, head, &queries, &keys, scores);
        let mut totals = [0.0; BLOCK];
        for (i, query) in queries.clone().enumerate() {
            let scores = &mut scores[i * n..(i + 1) * n];
            (totals[i], sums[i * self.h]) = self.soften(row, query, &keys, scores);
        }
        let v = self.v.head(row, self.kv_head(head)).narrow(keys.start, n);
        let weights = Matrix::new(scores, queries.len(), n, n);
        multiply(out, apart, false, 1.0, weights, v, false);
        for (i, total) in totals[..queries.len()].iter().enumerate() {
            out[i * apart..][..d].iter_mut().for_each(|x| *x /= total);
        }
    }

    /// Gradients of a block of queries of a head, `[queries, d]`, and what these queries add to those
    /// of its keys and values, `[Tk, d]`.
    fn back(
        &self,
        row: usize,
        head: usize,
        queries: Range<usize>,
        after: &After<'_>,
        buffers: &mut Buffers,
        [of_q, of_k, of_v]: [&mut [f32]; 3],
    ) {
        let keys = self.keys(row, &queries);
        let (m, n, d, apart) = (queries.len(), keys.len(), self.d, self.h * self.d);
        let Buffers {
            weights,
            of_weights,
            slopes,
        } = buffers;
        self.scores(row, head, &queries, &keys, weights);
        if let Some(c) = self.softcap {
            slopes.resize(m * n, 0.0);
            for (score, slope) in weights.iter_mut().zip(slopes.iter_mut()) {
                let t = (*score / c).tanh();
                (*score, *slope) = (c * t, 1.0 - t * t);
            }
        }
        for (i, query) in queries.clone().enumerate() {
            let weights = &mut weights[i * n..(i + 1) * n];
            let sum = after.sums[(row * self.tq + query) * self.h + head];
            match self.line(row, query) {
                Some((_, line)) => {
                    let mask = &line[keys.clone()];
                    wide(
                        #[inline(always)]
                        || {
                            let both = weights.iter_mut().zip(mask);
                            both.for_each(|(w, bias)| *w = exp(*w + bias - sum));
                        },
                    );
                }
                None => wide(
                    #[inline(always)]
                    || weights.iter_mut().for_each(|w| *w = exp(*w - sum)),
                ),
            }
        }
        let at = (row * self.tq + queries.start) * apart + head * d;
        let gradient = Matrix::new(&after.gradient[at..], m, d, apart);
        let k = self.k.head(row, self.kv_head(head)).narrow(keys.start, n);
        let v = self.v.head(row, self.kv_head(head)).narrow(keys.start, n);
        let q = self.q.head(row, head).narrow(queries.start, m);
        let matrix = |values| Matrix::new(values, m, n, n);

        let of_v = &mut of_v[keys.start * d..keys.end * d];
        multiply(of_v, d, true, 1.0, matrix(weights).t(), gradient, false);
        of_weights.resize(m * n, 0.0);
        multiply(of_weights, n, false, 1.0, gradient, v.t(), false);
        for i in 0..m {
            let (out, gradient) = (
                &after.out[at + i * apart..],
                &after.gradient[at + i * apart..],
            );
            let weights = &weights[i * n..(i + 1) * n];
            let of_weights = &mut of_weights[i * n..(i + 1) * n];
            wide(
                #[inline(always)]
                || {
                    // Σ_j w_j ∂w_j, from the other end: the result is Σ_j w_j v_j.
                    let mean = sum_pairs(&out[..d], &gradient[..d], |o, g| o * g);
                    let both = of_weights.iter_mut().zip(weights);
                    both.for_each(|(g, w)| *g = w * (*g - mean));
                },
            );
        }
        if self.softcap.is_some() {
            let both = of_weights.iter_mut().zip(slopes.iter());
            both.for_each(|(g, slope)| *g *= slope);
        }
        let of_k = &mut of_k[keys.start * d..keys.end * d];
        multiply(of_k, d, true, self.scale, matrix(of_weights).t(), q, false);
        multiply(of_q, d, false, self.scale, matrix(of_weights), k, false);
    }
}
