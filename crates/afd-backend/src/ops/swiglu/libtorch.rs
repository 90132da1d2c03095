//! The kernel on libtorch.

use burn::backend::{LibTorch, libtorch::TchTensor};

use super::Kernel;

impl Kernel for LibTorch {
    fn forward(gate: &TchTensor, up: &TchTensor) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        TchTensor::new(gate.tensor.silu().g_mul_(&up.tensor))
    }

    fn backward(gate: TchTensor, up: TchTensor, gradient: TchTensor) -> [TchTensor; 2] {
        let _no_grad = tch::no_grad_guard();
        let (gate, gradient) = (&gate.tensor, &gradient.tensor);
        let of_gate = gate.silu_backward(&(gradient * &up.tensor));
        [of_gate, gate.silu().g_mul_(gradient)].map(TchTensor::new)
    }
}
