//! The sum of a tensor's squares, in one pass that makes no tensor of them.

use burn::Tensor;

#[cfg(feature = "flex")]
use crate::device::is_flex;
#[cfg(feature = "libtorch")]
use crate::device::is_libtorch;

/// Numbers whose squares are added up before they are added to others.
const PART: usize = 16 * 1024;

/// `Σ x²`, `[1]`, of a tensor without automatic differentiation.
///
/// On Flex parts are added in an order that does not depend on the number of threads.
pub fn sum_of_squares<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if is_flex(&x.device()) && x.dtype() == burn::tensor::DType::F32 {
        return on_flex(x);
    }
    #[cfg(feature = "libtorch")]
    if is_libtorch(&x.device()) {
        return on_libtorch(x);
    }
    composed(x)
}

/// In two steps, because a device may add up all numbers in a few of f32.
fn composed<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let x: Tensor<1> = x.flatten(0, R - 1);
    let count = x.dims()[0];
    let whole = count / PART * PART;
    let mut sums = Vec::new();
    if whole > 0 {
        let rows = x.clone().narrow(0, 0, whole).reshape([whole / PART, PART]);
        sums.push(rows.square().sum_dim(1).sum());
    }
    if count > whole {
        sums.push(x.clone().narrow(0, whole, count - whole).square().sum());
    }
    match sums.is_empty() {
        true => Tensor::zeros([1], &x.device()),
        false => Tensor::cat(sums, 0).sum(),
    }
}

#[cfg(feature = "flex")]
fn on_flex<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    use burn::backend::Flex;
    use rayon::prelude::*;

    use super::flex::{tensor, values};
    use crate::host::{sum_pairs, wide};

    let x = super::primitive::<Flex, R>(x);
    // Of a transposed tensor nothing is moved.
    let turned = match R {
        2 => x.transpose(0, 1),
        _ => x.clone(),
    };
    let x = match turned.is_contiguous() {
        true => turned,
        false => x.to_contiguous(),
    };
    let numbers = values(&x);
    let part = |part: &[f32]| {
        f64::from(wide(
            #[inline(always)]
            || sum_pairs(part, part, |a, b| a * b),
        ))
    };
    let parts: Vec<f64> = numbers.par_chunks(PART).map(part).collect();
    let sum = parts.into_iter().sum::<f64>();
    Tensor::from_primitive::<Flex>(tensor(vec![sum as f32], [1]))
}

#[cfg(feature = "libtorch")]
fn on_libtorch<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    use burn::backend::{LibTorch, libtorch::TchTensor};

    let _no_grad = tch::no_grad_guard();
    let x: TchTensor = super::primitive::<LibTorch, R>(x);
    // One pass over each row, of which long ones are split: libtorch adds up a norm in a few numbers of f32.
    let flat = match R {
        2 if !x.tensor.is_contiguous() => x.tensor.tr().reshape([-1]),
        _ => x.tensor.reshape([-1]),
    };
    let part = PART as i64;
    let parts = flat.size()[0] / part * part;
    let whole = flat.narrow(0, 0, parts).view([parts / part, part]);
    let norms = whole.norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
    let rest = flat.narrow(0, parts, flat.size()[0] - parts);
    let sum = norms.square().sum(tch::Kind::Double) + rest.square().sum(tch::Kind::Double);
    let sum = sum.to_kind(tch::Kind::Float).unsqueeze(0);
    Tensor::from_primitive::<LibTorch>(TchTensor::new(sum))
}
