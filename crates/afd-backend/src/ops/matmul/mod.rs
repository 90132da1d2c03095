//! Products with the matrices of a model, in the number type they are to be computed in.

#[cfg(feature = "flex")]
mod flex;
mod packed;

#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Device, FloatDType},
};

use super::tape::{Kept, alike, record};
use crate::device::is_flex;

pub use packed::PackedWeight;

/// The type of what lies between linear layers that compute in `dtype`: the same, but on Flex, where only
/// the factors of products are ever rounded to bf16.
pub fn activation_dtype(device: &Device, dtype: FloatDType) -> FloatDType {
    match is_rounded(device, dtype) {
        true => FloatDType::F32,
        false => dtype,
    }
}

/// `x · weight`, computed in `dtype`: `[M, K]` by `[K, N]`, a weight of f32 or of `dtype`, is `[M, N]` in
/// [`activation_dtype`]. In bf16 on Flex `x`, the weight, and in backward the gradient of the result are rounded;
/// sums and results, gradients too, are f32.
///
/// # Panics
/// When the shapes disagree.
pub fn matmul(x: Tensor<2>, weight: Tensor<2>, dtype: FloatDType) -> Tensor<2> {
    if !is_rounded(&x.device(), dtype) {
        return x.cast(dtype).matmul(weight.cast(dtype));
    }
    assert_eq!(x.dims()[1], weight.dims()[0], "inner sides of a product");
    let (x, weight) = alike(x.cast(FloatDType::F32), weight);
    let y = <Dispatch as Product>::bf16_product(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(y)
}

/// Whether numbers are rounded to `dtype` for products alone.
fn is_rounded(device: &Device, dtype: FloatDType) -> bool {
    dtype == FloatDType::BF16 && is_flex(device)
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    /// f32 `x` by a `weight` of f32 or bf16, both rounded to bf16; sums and result are f32.
    fn forward(x: &FloatTensor<Self>, weight: &FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradients of both, in f32, from that of the result.
    fn backward(
        inputs: &Inputs<Self>,
        gradient: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
}

/// Both, as kept for the backward pass.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
}

#[backend_extension(Flex: cfg(feature = "flex"), Autodiff)]
trait Product: Backend {
    fn bf16_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl Product for Flex {
    fn bf16_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::forward(&x, &weight)
    }
}

impl<B: Kernel, C: CheckpointStrategy> Product for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn bf16_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, of_x), (weight, of_weight)) = (x.into_parts(), weight.into_parts());
        let y = B::forward(&x, &weight);
        record::<B, C, _, 2>([of_x, of_weight], Inputs::<B> { x, weight }, y)
    }
}

impl<B: Kernel> Kept<B, 2> for Inputs<B> {
    fn backward(self, gradient: FloatTensor<B>, wants: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::backward(&self, gradient, wants)
    }
}
