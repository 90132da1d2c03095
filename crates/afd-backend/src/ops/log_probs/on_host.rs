//! What is done to rows of logits in the host's memory: a row at a time, several at once.

use std::borrow::Cow;

use crate::host::{Threads, exp, for_rows, log_sum_exp, wide};

/// Numbers that are worked on in one call.
pub(super) const PART: usize = 4096;

/// Makes logits `c·tanh(logit/c)`, if there is a `c`.
pub(super) fn soft_cap(threads: Threads, logits: &mut [f32], c: Option<f64>) {
    if let Some(c) = c {
        for_rows(threads, logits, PART, |_, part| cap(part, c as f32));
    }
}

/// The logarithm of the softmax's denominator, and the target's logit, of each row.
pub(super) fn sums_and_targets(
    threads: Threads,
    logits: &[f32],
    vocab: usize,
    targets: &[usize],
    softcap: Option<f64>,
    pairs: &mut [f32],
) {
    for_rows(threads, pairs, 2, |i, pair| {
        let mut row = Cow::from(&logits[i * vocab..(i + 1) * vocab]);
        if let Some(c) = softcap {
            cap(row.to_mut(), c as f32);
        }
        pair[0] = wide(
            #[inline(always)]
            || log_sum_exp(&row),
        );
        pair[1] = row[targets[i]];
    });
}

/// Makes logits, which are capped already, the gradients of logits. `of_row` tells each row's target, the gradient of
/// its log-probability, and the logarithm of its denominator.
pub(super) fn differentiate(
    threads: Threads,
    logits: &mut [f32],
    vocab: usize,
    softcap: Option<f64>,
    of_row: impl Fn(usize) -> (usize, f32, f32) + Sync,
) {
    // ∂ log p(target) / ∂ logit = [target] − p.
    for_rows(threads, logits, vocab, |i, row| {
        let (target, g, sum) = of_row(i);
        match softcap {
            None => {
                wide(
                    #[inline(always)]
                    || row.iter_mut().for_each(|l| *l = -g * exp(*l - sum)),
                );
                row[target] += g;
            }
            Some(c) => {
                let c = c as f32;
                for (id, l) in row.iter_mut().enumerate() {
                    let chosen = if id == target { 1.0 } else { 0.0 };
                    let slope = 1.0 - (*l / c) * (*l / c);
                    *l = g * (chosen - exp(*l - sum)) * slope;
                }
            }
        }
    });
}

fn cap(row: &mut [f32], c: f32) {
    row.iter_mut()
        .for_each(|logit| *logit = c * (*logit / c).tanh());
}
