//! The kernel on libtorch: on the CPU our own, elsewhere few passes.

use burn::{
    backend::{LibTorch, libtorch::TchTensor},
    tensor::bf16,
};
use tch::{Kind, Tensor};

use super::{Kernel, on_host};
use crate::host::Threads;
use crate::ops::libtorch::{Element, filled, here, numbers};

impl Kernel for LibTorch {
    fn forward(gate: &TchTensor, up: &TchTensor) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        let (gate, up) = (&gate.tensor, &up.tensor);
        let found = match gate.kind() {
            Kind::BFloat16 => forward_on_host::<bf16>(gate, up),
            _ => forward_on_host::<f32>(gate, up),
        };
        TchTensor::new(found.unwrap_or_else(|| gate.silu().g_mul_(up)))
    }

    fn backward(gate: TchTensor, up: TchTensor, gradient: TchTensor) -> [TchTensor; 2] {
        let _no_grad = tch::no_grad_guard();
        let given = [gate, up, gradient].map(|given| given.tensor);
        let found = match given[0].kind() {
            Kind::BFloat16 => backward_on_host::<bf16>(&given),
            _ => backward_on_host::<f32>(&given),
        };
        let found = found.unwrap_or_else(|| {
            let [gate, up, gradient] = given;
            let of_gate = gate.silu_backward(&(&gradient * up));
            [of_gate, gate.silu().g_mul_(&gradient)]
        });
        found.map(TchTensor::new)
    }
}

/// None where the numbers are not there, or of another type.
fn forward_on_host<T: Element>(gate: &Tensor, up: &Tensor) -> Option<Tensor> {
    let (shape, gate, up) = (gate.size(), here::<T>(gate)?, here::<T>(up)?);
    let (gate, up) = (numbers::<T>(&gate)?, numbers(&up)?);
    filled(&shape, |out| {
        on_host::forward(Threads::OpenMp, gate, up, out)
    })
}

/// The same.
fn backward_on_host<T: Element>(given: &[Tensor; 3]) -> Option<[Tensor; 2]> {
    let shape = given[0].size();
    let [gate, up, gradient] = given.each_ref().map(here::<T>);
    let (gate, up, gradient) = (gate?, up?, gradient?);
    let given = [numbers::<T>(&gate)?, numbers(&up)?, numbers(&gradient)?];
    let mut of_gate = None;
    let of_up = filled(&shape, |of_up| {
        of_gate = filled(&shape, |of_gate| {
            on_host::backward(Threads::OpenMp, given, [of_gate, of_up])
        });
    });
    Some([of_gate?, of_up?])
}
