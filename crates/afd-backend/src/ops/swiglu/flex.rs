//! The kernel on Flex.

use burn::backend::{Flex, flex::FlexTensor};

use super::{Kernel, composed, on_host};
use crate::host::Threads;
use crate::ops::flex::{all_f32, tensor, unwritten, values};

impl Kernel for Flex {
    fn forward(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
        if !all_f32(&[gate, up]) {
            return composed::forward::<Self>(gate, up);
        }
        let shape = gate.layout().shape().clone();
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let gate = values(&gate);
        let mut out = unwritten(gate.len());
        on_host::forward(Threads::Rayon, gate, values(&up), &mut out);
        tensor(out, shape)
    }

    fn backward(gate: FlexTensor, up: FlexTensor, gradient: FlexTensor) -> [FlexTensor; 2] {
        if !all_f32(&[&gate, &up, &gradient]) {
            return composed::backward::<Self>(gate, up, gradient);
        }
        let shape = gate.layout().shape().clone();
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let gradient = gradient.to_contiguous();
        let given = [&gate, &up, &gradient].map(values);
        let mut of_gate = unwritten(given[0].len());
        let mut of_up = unwritten(given[0].len());
        on_host::backward(Threads::Rayon, given, [&mut of_gate, &mut of_up]);
        [tensor(of_gate, shape.clone()), tensor(of_up, shape)]
    }
}
