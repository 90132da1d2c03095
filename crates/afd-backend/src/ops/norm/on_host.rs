//! The kernel on numbers in the host's memory: a row at a time, several rows at once.

use crate::host::{Threads, for_rows, sum_pairs, wide};

/// Rows whose share of the weight's gradient is added up before it meets the others'.
const ROWS: usize = 256;

/// What is done to each row, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) eps: f64,
    pub(super) centred: bool,
    pub(super) threads: Threads,
}

/// Writes rows of `x`, each as long as `weight`, normalised into `out`.
pub(super) fn forward(x: &[f32], weight: &[f32], rule: Rule, out: &mut [f32]) {
    let width = weight.len();
    for_rows(rule.threads, out, width, |i, out| {
        let x = &x[i * width..(i + 1) * width];
        wide(
            #[inline(always)]
            || {
                let (mean, scale) = moments(x, rule);
                for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = (x - mean) * scale * weight;
                }
            },
        );
    });
}

/// Writes the gradient of `x` into `of_x` and returns that of `weight`.
pub(super) fn backward(
    [x, weight, gradient]: [&[f32]; 3],
    rule: Rule,
    of_x: &mut [f32],
) -> Vec<f32> {
    let width = weight.len();
    let block = (ROWS * width).max(1);
    let mut shares = vec![vec![0.0; width]; of_x.len().div_ceil(block)];
    let blocks = of_x.chunks_mut(block).zip(&mut shares);
    rule.threads.for_each(blocks, |block, (of_x, share)| {
        for (i, of_x) in of_x.chunks_mut(width).enumerate() {
            let at = (block * ROWS + i) * width;
            let (x, gradient) = (&x[at..at + width], &gradient[at..at + width]);
            wide(
                #[inline(always)]
                || back(rule, [x, weight, gradient], of_x, share),
            );
        }
    });
    // In the order of the blocks, so that the sum does not depend on the threads.
    let mut of_weight = vec![0.0; width];
    for share in shares {
        let both = of_weight.iter_mut().zip(share);
        both.for_each(|(sum, share)| *sum += share);
    }
    of_weight
}

/// What is taken off a row, and what it is then multiplied by.
#[inline(always)]
fn moments(x: &[f32], rule: Rule) -> (f32, f32) {
    let width = x.len() as f32;
    let mean = match rule.centred {
        true => sum_pairs(x, x, |x, _| x) / width,
        false => 0.0,
    };
    let mean_square = sum_pairs(x, x, |x, _| (x - mean) * (x - mean)) / width;
    (mean, (mean_square + rule.eps as f32).sqrt().recip())
}

/// The gradient of a row, and what it adds to that of the weight.
#[inline(always)]
fn back(rule: Rule, [x, weight, gradient]: [&[f32]; 3], of_x: &mut [f32], of_weight: &mut [f32]) {
    let width = x.len() as f32;
    let (mean, scale) = moments(x, rule);
    for ((of_n, gradient), weight) in of_x.iter_mut().zip(gradient).zip(weight) {
        *of_n = gradient * weight;
    }
    for ((of_weight, gradient), x) in of_weight.iter_mut().zip(gradient).zip(x) {
        *of_weight += gradient * (x - mean) * scale;
    }
    let along = sum_pairs(of_x, x, |of_n, x| of_n * (x - mean)) * scale / width;
    let centre = match rule.centred {
        true => sum_pairs(of_x, of_x, |of_n, _| of_n) / width,
        false => 0.0,
    };
    for (of_x, x) in of_x.iter_mut().zip(x) {
        *of_x = (*of_x - centre - (x - mean) * scale * along) * scale;
    }
}
