//! The kernel on Flex: a row at a time, several rows at once.

use burn::backend::{Flex, flex::FlexTensor};
use rayon::prelude::*;

use super::{Inputs, Kernel, composed};
use crate::host::{for_rows, sum_pairs, wide};
use crate::ops::flex::{all_f32, tensor, values};

/// Rows whose share of the weight's gradient is added up before it meets the others'.
const ROWS: usize = 256;

impl Kernel for Flex {
    fn forward(inputs: &Inputs<Self>) -> FlexTensor {
        if !all_f32(&[&inputs.x, &inputs.weight]) {
            return composed::forward(inputs);
        }
        let (x, weight) = (inputs.x.to_contiguous(), inputs.weight.to_contiguous());
        let (x, weight) = (values(&x), values(&weight));
        let width = weight.len();
        let mut out = vec![0.0; x.len()];
        for_rows(&mut out, width, |i, out| {
            let x = &x[i * width..(i + 1) * width];
            wide(
                #[inline(always)]
                || {
                    let (mean, scale) = moments(x, inputs);
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                        *out = (x - mean) * scale * weight;
                    }
                },
            );
        });
        tensor(out, inputs.x.layout().shape().clone())
    }

    fn backward(inputs: &Inputs<Self>, gradient: FlexTensor) -> [FlexTensor; 2] {
        if !all_f32(&[&inputs.x, &inputs.weight, &gradient]) {
            return composed::backward(inputs, gradient);
        }
        let (x, weight) = (inputs.x.to_contiguous(), inputs.weight.to_contiguous());
        let gradient = gradient.to_contiguous();
        let (x, weight, gradient) = (values(&x), values(&weight), values(&gradient));
        let width = weight.len();
        let mut of_x = vec![0.0; x.len()];
        let block = |(block, of_x): (usize, &mut [f32])| {
            let mut of_weight = vec![0.0; width];
            for (i, of_x) in of_x.chunks_mut(width).enumerate() {
                let at = (block * ROWS + i) * width;
                let (x, gradient) = (&x[at..at + width], &gradient[at..at + width]);
                wide(
                    #[inline(always)]
                    || back(inputs, [x, weight, gradient], of_x, &mut of_weight),
                );
            }
            of_weight
        };
        // In the order of the blocks, so that the sum does not depend on the threads.
        let parts: Vec<Vec<f32>> = of_x
            .par_chunks_mut((ROWS * width).max(1))
            .enumerate()
            .map(block)
            .collect();
        let mut of_weight = vec![0.0; width];
        for part in parts {
            of_weight
                .iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        let shape = inputs.x.layout().shape().clone();
        [tensor(of_x, shape), tensor(of_weight, [width])]
    }
}

/// What is taken off a row, and what it is then multiplied by.
#[inline(always)]
fn moments(x: &[f32], inputs: &Inputs<Flex>) -> (f32, f32) {
    let width = x.len() as f32;
    let mean = match inputs.centred {
        true => sum_pairs(x, x, |x, _| x) / width,
        false => 0.0,
    };
    let mean_square = sum_pairs(x, x, |x, _| (x - mean) * (x - mean)) / width;
    (mean, (mean_square + inputs.eps as f32).sqrt().recip())
}

/// The gradient of a row, and what it adds to that of the weight.
#[inline(always)]
fn back(
    inputs: &Inputs<Flex>,
    [x, weight, gradient]: [&[f32]; 3],
    of_x: &mut [f32],
    of_weight: &mut [f32],
) {
    let width = x.len() as f32;
    let (mean, scale) = moments(x, inputs);
    for ((of_n, gradient), weight) in of_x.iter_mut().zip(gradient).zip(weight) {
        *of_n = gradient * weight;
    }
    for ((of_weight, gradient), x) in of_weight.iter_mut().zip(gradient).zip(x) {
        *of_weight += gradient * (x - mean) * scale;
    }
    let along = sum_pairs(of_x, x, |of_n, x| of_n * (x - mean)) * scale / width;
    let centre = match inputs.centred {
        true => sum_pairs(of_x, of_x, |of_n, _| of_n) / width,
        false => 0.0,
    };
    for (of_x, x) in of_x.iter_mut().zip(x) {
        *of_x = (*of_x - centre - (x - mean) * scale * along) * scale;
    }
}
