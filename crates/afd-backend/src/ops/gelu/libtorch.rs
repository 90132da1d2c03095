//! The kernel on libtorch.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::{Gelu, Kernel};

impl Kernel for LibTorch {
    fn forward(x: &TchTensor, kind: Gelu) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        TchTensor::new(x.tensor.gelu(approximate(kind)))
    }

    fn backward(x: TchTensor, kind: Gelu, gradient: TchTensor) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        TchTensor::new(x.tensor.gelu_backward(&gradient.tensor, approximate(kind)))
    }
}

fn approximate(kind: Gelu) -> &'static str {
    match kind {
        Gelu::Exact => "none",
        Gelu::Tanh => "tanh",
    }
}
