//! What is done to rows of logits in the host's memory: a row at a time, several at once.

use crate::host::{Threads, exp, for_rows, log_sum_exp, wide};

/// Logits that a thread takes at a time.
const PART: usize = 16 * 1024;

/// The logarithm of the softmax's denominator, and the target's logit, of each row.
pub(super) fn sums_and_targets(
    threads: Threads,
    logits: &[f32],
    vocab: usize,
    targets: &[usize],
    pairs: &mut [f32],
) {
    let rows = (PART / vocab).max(1);
    let parts = pairs.chunks_mut(2 * rows).zip(logits.chunks(rows * vocab));
    threads.for_each(
        parts.zip(targets.chunks(rows)),
        |_, ((pairs, logits), targets)| {
            let rows = logits.chunks(vocab).zip(targets);
            for (pair, (row, target)) in pairs.chunks_mut(2).zip(rows) {
                pair[0] = wide(
                    #[inline(always)]
                    || log_sum_exp(row),
                );
                pair[1] = row[*target];
            }
        },
    );
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
                let slope = 1.0 - (row[target] / c) * (row[target] / c);
                wide(
                    #[inline(always)]
                    || {
                        for l in row.iter_mut() {
                            let slope = 1.0 - (*l / c) * (*l / c);
                            *l = -g * exp(*l - sum) * slope;
                        }
                    },
                );
                row[target] += g * slope;
            }
        }
    });
}
