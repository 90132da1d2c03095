//! The kernel on Flex.

use burn::backend::{Flex, flex::FlexTensor};

use super::{Inputs, Kernel, composed, on_host};
use crate::host::Threads;
use crate::ops::flex::{all_f32, tensor, unwritten, values};

impl Kernel for Flex {
    fn forward(inputs: &Inputs<Self>) -> FlexTensor {
        if !all_f32(&[&inputs.x, &inputs.weight]) {
            return composed::forward(inputs);
        }
        let (x, weight) = (inputs.x.to_contiguous(), inputs.weight.to_contiguous());
        let x = values(&x);
        let mut out = unwritten(x.len());
        on_host::forward(x, values(&weight), inputs.rule(Threads::Rayon), &mut out);
        tensor(out, inputs.x.layout().shape().clone())
    }

    fn backward(inputs: &Inputs<Self>, gradient: FlexTensor) -> [FlexTensor; 2] {
        if !all_f32(&[&inputs.x, &inputs.weight, &gradient]) {
            return composed::backward(inputs, gradient);
        }
        let (x, weight) = (inputs.x.to_contiguous(), inputs.weight.to_contiguous());
        let gradient = gradient.to_contiguous();
        let given = [&x, &weight, &gradient].map(values);
        let mut of_x = unwritten(given[0].len());
        let of_weight = on_host::backward(given, inputs.rule(Threads::Rayon), &mut of_x);
        let shape = inputs.x.layout().shape().clone();
        let width = [of_weight.len()];
        [tensor(of_x, shape), tensor(of_weight, width)]
    }
}
