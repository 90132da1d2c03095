//! The kernel on Flex.

use burn::backend::{Flex, flex::FlexTensor};
use rayon::prelude::*;

use super::{Kernel, composed};
use crate::host::{exp, for_rows, wide};
use crate::ops::flex::{all_f32, tensor, values};

/// Numbers that a thread takes at a time.
const PART: usize = 4096;

impl Kernel for Flex {
    fn forward(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
        if !all_f32(&[gate, up]) {
            return composed::forward::<Self>(gate, up);
        }
        let shape = gate.layout().shape().clone();
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let (gate, up) = (values(&gate), values(&up));
        let mut out = vec![0.0; gate.len()];
        for_rows(&mut out, PART, |i, out| {
            let both = gate[i * PART..].iter().zip(&up[i * PART..]);
            wide(
                #[inline(always)]
                || {
                    for (out, (gate, up)) in out.iter_mut().zip(both) {
                        *out = gate * sigmoid(*gate) * up;
                    }
                },
            );
        });
        tensor(out, shape)
    }

    fn backward(gate: FlexTensor, up: FlexTensor, gradient: FlexTensor) -> [FlexTensor; 2] {
        if !all_f32(&[&gate, &up, &gradient]) {
            return composed::backward::<Self>(gate, up, gradient);
        }
        let shape = gate.layout().shape().clone();
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let gradient = gradient.to_contiguous();
        let (gate, up, gradient) = (values(&gate), values(&up), values(&gradient));
        let mut of_gate = vec![0.0; gate.len()];
        let mut of_up = vec![0.0; gate.len()];
        let parts = of_gate.par_chunks_mut(PART).zip(of_up.par_chunks_mut(PART));
        parts.enumerate().for_each(|(i, (of_gate, of_up))| {
            let at = i * PART..i * PART + of_gate.len();
            let inputs = gate[at.clone()].iter().zip(&up[at.clone()]);
            let outputs = of_gate.iter_mut().zip(of_up).zip(&gradient[at]);
            wide(
                #[inline(always)]
                || {
                    for ((gate, up), ((of_gate, of_up), gradient)) in inputs.zip(outputs) {
                        let sigmoid = sigmoid(*gate);
                        *of_gate = gradient * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
                        *of_up = gradient * gate * sigmoid;
                    }
                },
            );
        });
        [tensor(of_gate, shape.clone()), tensor(of_up, shape)]
    }
}

/// `1/(1 + e^−x)`.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let x = if x < -88.0 { -88.0 } else { x };
    1.0 / (1.0 + exp(-x))
}
