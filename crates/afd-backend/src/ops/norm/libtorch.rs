//! The kernel on libtorch, for rows that keep their mean: few passes, in place where numbers are nobody else's.

use burn::backend::{LibTorch, libtorch::TchTensor};
use tch::{Kind, Tensor};

use super::{Inputs, Kernel, composed};

impl Kernel for LibTorch {
    fn forward(inputs: &Inputs<Self>) -> TchTensor {
        if inputs.centred {
            return composed::forward(inputs);
        }
        let _no_grad = tch::no_grad_guard();
        let (x, weight) = (&inputs.x.tensor, &inputs.weight.tensor);
        TchTensor::new((x * scale(inputs)).g_mul_(weight))
    }

    fn backward(inputs: &Inputs<Self>, gradient: TchTensor) -> [TchTensor; 2] {
        if inputs.centred {
            return composed::backward(inputs, gradient);
        }
        let _no_grad = tch::no_grad_guard();
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

/// What each row is multiplied by, `[N, 1]`.
fn scale(inputs: &Inputs<LibTorch>) -> Tensor {
    let x = &inputs.x.tensor;
    let width = x.size()[1] as f64;
    let norm = x.linalg_norm(2.0, [1i64].as_slice(), true, None::<Kind>);
    (norm.square() / width + inputs.eps).rsqrt()
}
