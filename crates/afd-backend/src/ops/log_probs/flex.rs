//! The kernel on Flex.

use burn::backend::{Flex, flex::FlexTensor, ops::FloatTensorOps};

mod factors;

use super::on_host::{differentiate, sums_and_targets};
use super::{Inputs, Kernel, Weighted, chunks, composed};
use crate::host::{Threads, for_rows};
use crate::ops::flex::{all_f32, indices, matrix::Matrix, tensor, unwritten, values};
use factors::Factors;

/// Numbers that are worked on in one call.
const PART: usize = 4096;

impl Kernel for Flex {
    fn forward(inputs: &Inputs<Self>) -> (FlexTensor, FlexTensor) {
        let hidden = inputs.hidden.to_contiguous();
        let Some(factors) = Factors::of(&hidden, &inputs.weight) else {
            return composed::forward(inputs);
        };
        let [n, width, vocab] = factors.shape();
        let targets = indices(&inputs.targets);
        let mut logits = Vec::new();
        let mut pairs = vec![0.0f32; 2 * n];
        for (start, rows) in chunks(n, [width, vocab]) {
            logits.resize(rows * vocab, 0.0);
            factors.logits(start, rows, &mut logits);
            soft_cap(&mut logits, inputs.softcap);
            let of_rows = &mut pairs[2 * start..2 * (start + rows)];
            sums_and_targets(
                Threads::Rayon,
                &logits,
                vocab,
                &targets[start..start + rows],
                of_rows,
            );
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
        wants: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let hidden = inputs.hidden.to_contiguous();
        let Some(factors) = Factors::of(&hidden, &inputs.weight) else {
            return composed::backward(inputs, log_sum_exp, gradient, wants);
        };
        let [n, width, vocab] = factors.shape();
        let targets = indices(&inputs.targets);
        let (sums, gradient) = (log_sum_exp.to_contiguous(), gradient.to_contiguous());
        let (sums, gradient) = (values(&sums), values(&gradient));
        let mut gradients = Gradients::new(&factors, wants);
        let mut logits = Vec::new();
        for (start, rows) in chunks(n, [width, vocab]) {
            logits.resize(rows * vocab, 0.0);
            factors.logits(start, rows, &mut logits);
            soft_cap(&mut logits, inputs.softcap);
            let of_row = |i: usize| (targets[start + i], gradient[start + i], sums[start + i]);
            gradients.add(&factors, start, &mut logits, inputs.softcap, of_row);
        }
        gradients.finish(&factors)
    }

    fn weighted(inputs: &Inputs<Self>, weights: FlexTensor, wants: [bool; 2]) -> Weighted<Self> {
        let hidden = inputs.hidden.to_contiguous();
        let Some(factors) = Factors::of(&hidden, &inputs.weight) else {
            return composed::weighted(inputs, weights, wants);
        };
        let [n, width, vocab] = factors.shape();
        let targets = indices(&inputs.targets);
        let weights = weights.to_contiguous();
        let weights = values(&weights);
        let mut gradients = Gradients::new(&factors, wants);
        let mut logits = Vec::new();
        let mut sum = 0.0f64;
        for (start, rows) in chunks(n, [width, vocab]) {
            logits.resize(rows * vocab, 0.0);
            factors.logits(start, rows, &mut logits);
            soft_cap(&mut logits, inputs.softcap);
            let mut pairs = vec![0.0; 2 * rows];
            sums_and_targets(
                Threads::Rayon,
                &logits,
                vocab,
                &targets[start..start + rows],
                &mut pairs,
            );
            let log_probs = pairs.chunks(2).map(|pair| f64::from(pair[1] - pair[0]));
            let terms = log_probs.zip(&weights[start..]);
            sum += terms
                .map(|(log_prob, w)| log_prob * f64::from(*w))
                .sum::<f64>();
            if wants.contains(&true) {
                let of_row = |i: usize| (targets[start + i], weights[start + i], pairs[2 * i]);
                gradients.add(&factors, start, &mut logits, inputs.softcap, of_row);
            }
        }
        Weighted {
            sum: tensor(vec![sum as f32], [1]),
            gradients: gradients.finish(&factors),
        }
    }

    fn scale(gradient: FlexTensor, factor: &FlexTensor) -> FlexTensor {
        let factor = values(&factor.to_contiguous())[0];
        let is_whole = |x: &FlexTensor| x.storage::<f32>().len() == x.layout().num_elements();
        if !all_f32(&[&gradient]) || !is_whole(&gradient) {
            return Self::float_mul_scalar(gradient, factor.into());
        }
        // In the order in which they lie, which is the head's.
        let mut gradient = gradient;
        let numbers = gradient.storage_mut::<f32>();
        for_rows(Threads::Rayon, numbers, PART, |_, part| {
            part.iter_mut().for_each(|number| *number *= factor);
        });
        gradient
    }
}

/// Gradients of hidden states and head, as they come together.
struct Gradients {
    wants: [bool; 2],
    of_hidden: Vec<f32>,
    of_weight: Vec<f32>,
}

impl Gradients {
    fn new(factors: &Factors<'_>, wants: [bool; 2]) -> Self {
        let [n, width, vocab] = factors.shape();
        let room = |wanted, count| match (wanted, n) {
            (false, _) => Vec::new(),
            // Nobody adds to it.
            (true, 0) => vec![0.0; count],
            (true, _) => unwritten(count),
        };
        Self {
            wants,
            of_hidden: room(wants[0], n * width),
            of_weight: room(wants[1], width * vocab),
        }
    }

    /// Adds those of the rows from `start` on, of their logits, which are used up. `of_row` tells each
    /// row's target, the gradient of its log-probability, and the logarithm of its denominator.
    fn add(
        &mut self,
        factors: &Factors<'_>,
        start: usize,
        logits: &mut [f32],
        softcap: Option<f64>,
        of_row: impl Fn(usize) -> (usize, f32, f32) + Sync,
    ) {
        let [_, width, vocab] = factors.shape();
        let rows = logits.len() / vocab;
        differentiate(Threads::Rayon, logits, vocab, softcap, of_row);
        let of_logits = Matrix::new(logits, rows, vocab, vocab);
        if self.wants[0] {
            let out = &mut self.of_hidden[start * width..(start + rows) * width];
            factors.of_hidden(of_logits, out);
        }
        if self.wants[1] {
            factors.of_weight(start, of_logits, &mut self.of_weight, start > 0);
        }
    }

    fn finish(self, factors: &Factors<'_>) -> [Option<FlexTensor>; 2] {
        let [n, width, vocab] = factors.shape();
        let [wants_hidden, wants_weight] = self.wants;
        let of_weight = match factors.is_transposed() {
            true => tensor_if(wants_weight, self.of_weight, [vocab, width])
                .map(|of_weight| of_weight.transpose(0, 1)),
            false => tensor_if(wants_weight, self.of_weight, [width, vocab]),
        };
        [
            tensor_if(wants_hidden, self.of_hidden, [n, width]),
            of_weight,
        ]
    }
}

/// Makes logits `c·tanh(logit/c)`, if there is a `c`.
fn soft_cap(logits: &mut [f32], c: Option<f64>) {
    if let Some(c) = c {
        let c = c as f32;
        for_rows(Threads::Rayon, logits, PART, |_, part| {
            let logits = part.iter_mut();
            logits.for_each(|logit| *logit = c * (*logit / c).tanh());
        });
    }
}

fn tensor_if(wanted: bool, values: Vec<f32>, shape: [usize; 2]) -> Option<FlexTensor> {
    wanted.then(|| tensor(values, shape))
}
