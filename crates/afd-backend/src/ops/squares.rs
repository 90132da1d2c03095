//! The sum of a tensor's squares, in one pass that makes no tensor of them.

use burn::Tensor;

#[cfg(feature = "flex")]
use crate::device::is_flex;
#[cfg(feature = "libtorch")]
use crate::device::is_libtorch;

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
    x.square().sum()
}

#[cfg(feature = "flex")]
fn on_flex<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    use burn::backend::Flex;
    use rayon::prelude::*;

    use super::flex::{tensor, values};
    use crate::host::{sum_pairs, wide};

    /// Numbers that a thread takes at a time.
    const PART: usize = 16 * 1024;

    let x = super::primitive::<Flex, R>(x);
    // Whatever their order: of a transposed tensor nothing is moved.
    let whole = x.storage::<f32>();
    let copy;
    let numbers = match whole.len() == x.layout().num_elements() {
        true => whole,
        false => {
            copy = x.to_contiguous();
            values(&copy)
        }
    };
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
    let sum = x.tensor.norm().square().unsqueeze(0);
    Tensor::from_primitive::<LibTorch>(TchTensor::new(sum))
}
