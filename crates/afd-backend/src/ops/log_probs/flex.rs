//! The kernel on Flex.

use burn::backend::{Flex, flex::FlexTensor};

use super::{Inputs, Kernel, chunks, composed};
use crate::host::{exp, for_rows, log_sum_exp, wide};
use crate::ops::flex::{
    all_f32, indices,
    matrix::{Matrix, multiply},
    tensor, values,
};

impl Kernel for Flex {
    fn forward(inputs: &Inputs<Self>) -> (FlexTensor, FlexTensor) {
        let hidden = inputs.hidden.to_contiguous();
        let Some((hidden, weight)) = matrices(inputs, &hidden) else {
            return composed::forward(inputs);
        };
        let (n, vocab) = (hidden.rows(), weight.columns());
        let targets = indices(&inputs.targets);
        let mut logits = Vec::new();
        // The sum's logarithm and the target's logit of each row.
        let mut pairs = vec![0.0f32; 2 * n];
        for (start, rows) in chunks(n, vocab) {
            logits.resize(rows * vocab, 0.0);
            let part = hidden.narrow(start, rows);
            multiply(&mut logits, vocab, false, 1.0, part, weight, true);
            let logits = &logits;
            for_rows(&mut pairs[2 * start..2 * (start + rows)], 2, |i, pair| {
                let mut row = std::borrow::Cow::from(&logits[i * vocab..(i + 1) * vocab]);
                if let Some(c) = inputs.softcap {
                    soft_cap(row.to_mut(), c as f32);
                }
                pair[0] = wide(|| log_sum_exp(&row));
                pair[1] = row[targets[start + i]];
            });
        }
        let log_probs = pairs.chunks(2).map(|pair| pair[1] - pair[0]);
        let sums = pairs.chunks(2).map(|pair| pair[0]);
        (
            tensor(log_probs.collect(), [n]),
            tensor(sums.collect(), [n]),
        )
    }

    fn backward(
        inputs: &Inputs<Self>,
        log_sum_exp: FlexTensor,
        gradient: FlexTensor,
        [wants_hidden, wants_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let hidden = inputs.hidden.to_contiguous();
        let Some((hidden, weight)) = matrices(inputs, &hidden) else {
            let wants = [wants_hidden, wants_weight];
            return composed::backward(inputs, log_sum_exp, gradient, wants);
        };
        let (n, width, vocab) = (hidden.rows(), hidden.columns(), weight.columns());
        let targets = indices(&inputs.targets);
        let (sums, gradient) = (log_sum_exp.to_contiguous(), gradient.to_contiguous());
        let (sums, gradient) = (values(&sums), values(&gradient));
        let mut logits = Vec::new();
        let mut of_hidden = vec![0.0; if wants_hidden { n * width } else { 0 }];
        let mut of_weight = vec![0.0; if wants_weight { width * vocab } else { 0 }];
        for (start, rows) in chunks(n, vocab) {
            logits.resize(rows * vocab, 0.0);
            let part = hidden.narrow(start, rows);
            multiply(&mut logits, vocab, false, 1.0, part, weight, true);
            for_rows(&mut logits, vocab, |i, row| {
                let (at, target) = (start + i, targets[start + i]);
                let (g, sum) = (gradient[at], sums[at]);
                match inputs.softcap {
                    None => {
                        wide(|| row.iter_mut().for_each(|l| *l = -g * exp(*l - sum)));
                        row[target] += g;
                    }
                    Some(c) => {
                        let c = c as f32;
                        soft_cap(row, c);
                        for (id, l) in row.iter_mut().enumerate() {
                            let chosen = if id == target { 1.0 } else { 0.0 };
                            let slope = 1.0 - (*l / c) * (*l / c);
                            *l = g * (chosen - exp(*l - sum)) * slope;
                        }
                    }
                }
            });
            let of_logits = Matrix::new(&logits, rows, vocab, vocab);
            if wants_hidden {
                let out = &mut of_hidden[start * width..(start + rows) * width];
                multiply(out, width, false, 1.0, of_logits, weight.t(), true);
            }
            if wants_weight {
                let keep = start > 0;
                // In the order in which the head lies, which is also its gradient's best.
                match weight.is_transposed() {
                    true => {
                        let (a, b) = (of_logits.t(), part);
                        multiply(&mut of_weight, width, keep, 1.0, a, b, true);
                    }
                    false => {
                        let (a, b) = (part.t(), of_logits);
                        multiply(&mut of_weight, vocab, keep, 1.0, a, b, true);
                    }
                }
            }
        }
        let of_weight = match weight.is_transposed() {
            true => tensor_if(wants_weight, of_weight, [vocab, width])
                .map(|of_weight| of_weight.transpose(0, 1)),
            false => tensor_if(wants_weight, of_weight, [width, vocab]),
        };
        [tensor_if(wants_hidden, of_hidden, [n, width]), of_weight]
    }
}

fn tensor_if(wanted: bool, values: Vec<f32>, shape: [usize; 2]) -> Option<FlexTensor> {
    wanted.then(|| tensor(values, shape))
}

/// Both factors, where they are f32.
fn matrices<'a>(
    inputs: &'a Inputs<Flex>,
    hidden: &'a FlexTensor,
) -> Option<(Matrix<'a>, Matrix<'a>)> {
    let f32s = all_f32(&[hidden, &inputs.weight]);
    f32s.then(|| Some((Matrix::of(hidden)?, Matrix::of(&inputs.weight)?)))?
}

fn soft_cap(row: &mut [f32], c: f32) {
    row.iter_mut()
        .for_each(|logit| *logit = c * (*logit / c).tanh());
}
