//! The kernels on libtorch: on the CPU our own; elsewhere, of rows that keep their mean: few passes, in place where
//! numbers are nobody else's, and of those that do not, its own.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Kind, Tensor};

use super::{Inputs, Kernel, composed, on_host};
use crate::host::Threads;
use crate::ops::{
    by_autograd,
    libtorch::{filled, here, numbers},
};

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        if let Some(found) = forward_on_host(inputs) {
            return TchTensor::new(found);
        }
        if inputs.centred {
            return match is_alike(inputs) {
                true => {
                    TchTensor::new(centred(&inputs.x.tensor, &inputs.weight.tensor, inputs.eps))
                }
                false => composed::forward(inputs),
            };
        }
        let (x, weight) = (&inputs.x.tensor, &inputs.weight.tensor);
        TchTensor::new((x * scale(inputs)).g_mul_(weight))
    }

    fn backward(inputs: &Inputs<Self>, gradient: TchTensor) -> [TchTensor; 2] {
        let _no_grad = tch::no_grad_guard();
        if let Some(found) = backward_on_host(inputs, &gradient.tensor) {
            return found.map(TchTensor::new);
        }
        if inputs.centred {
            if !is_alike(inputs) {
                return composed::backward(inputs, gradient);
            }
            let (x, weight) = (&inputs.x.tensor, &inputs.weight.tensor);
            let found = by_autograd::gradients([x, weight], &gradient.tensor, |[x, weight]| {
                centred(x, weight, inputs.eps)
            });
            return found.map(TchTensor::new);
        }
        let (weight, gradient) = (&inputs.weight.tensor, &gradient.tensor);
        let scale = scale(inputs);
        let n = &inputs.x.tensor * &scale;
        // With `of_n = gradient · weight`: `of_x = scale · (of_n − n · mean(of_n · n))`, and the product of the
        // gradient and `n` serves both gradients.
        let product = gradient * &n;
        let width = weight.size()[0] as f64;
        let along = product.matmul(weight).unsqueeze(1) * (-1.0 / width);
        let of_weight = product.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
        let mut of_x = gradient * weight;
        let _ = of_x.addcmul_(&n, &along);
        [of_x.g_mul_(&scale), of_weight].map(TchTensor::new)
    }
}

/// None where the numbers are not there, or not f32.
fn forward_on_host(inputs: &Inputs<LibTorch>) -> Option<Tensor> {
    let x = here::<f32>(&inputs.x.tensor)?;
    let weight = numbers(&inputs.weight.tensor)?;
    let (shape, x) = (x.size(), numbers(&x)?);
    filled(&shape, |out| {
        on_host::forward(x, weight, inputs.rule(Threads::OpenMp), out);
    })
}

/// The same.
fn backward_on_host(inputs: &Inputs<LibTorch>, gradient: &Tensor) -> Option<[Tensor; 2]> {
    let (x, gradient) = (here::<f32>(&inputs.x.tensor)?, here::<f32>(gradient)?);
    let weight = numbers(&inputs.weight.tensor)?;
    let (shape, x, gradient) = (x.size(), numbers(&x)?, numbers(&gradient)?);
    let mut of_weight = Vec::new();
    let of_x = filled(&shape, |of_x| {
        of_weight = on_host::backward([x, weight, gradient], inputs.rule(Threads::OpenMp), of_x);
    })?;
    Some([of_x, Tensor::from_slice(&of_weight)])
}

/// Whether both are of one type, which libtorch's kernel asks for.
fn is_alike(inputs: &Inputs<LibTorch>) -> bool {
    inputs.x.tensor.kind() == inputs.weight.tensor.kind()
}

/// Rows with their mean taken off.
fn centred(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    let (y, _, _) = x.native_layer_norm(weight.size(), Some(weight), None, eps);
    y
}

/// What each row is multiplied by, `[N, 1]`.
fn scale(inputs: &Inputs<LibTorch>) -> Tensor {
    let x = &inputs.x.tensor;
    let width = x.size()[1] as f64;
    let norm = x.linalg_norm(2.0, [1i64].as_slice(), true, None::<Kind>);
    (norm.square() / width + inputs.eps).rsqrt()
}
