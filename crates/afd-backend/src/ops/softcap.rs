//! Soft caps of scores and logits.

use burn::Tensor;

/// `c·tanh(x/c)`, which keeps numbers within `±c`; `x` without a `c`.
pub fn cap<const R: usize>(x: Tensor<R>, softcap: Option<f64>) -> Tensor<R> {
    match softcap {
        Some(c) => x.div_scalar(c).tanh().mul_scalar(c),
        None => x,
    }
}
