//! GELU, exactly or by its usual approximation.
//!
//! Between forward and backward only the input is kept. On Flex and libtorch kernels compute it in one pass, elsewhere
//! Burn's operations do.

#[cfg(any(feature = "cube", feature = "flex"))]
mod composed;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "libtorch")]
mod libtorch;

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
};

use super::tape::{Kept, record};

/// `√(2/π)` of the approximation.
#[cfg(any(feature = "cube", feature = "flex"))]
const ROOT: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;

/// Its factor of `x³`.
#[cfg(any(feature = "cube", feature = "flex"))]
const CUBIC: f32 = 0.044715;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x·Φ(x)` with the normal distribution's `Φ`.
    Exact,
    /// `x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2`, as GPT-2 and Gemma have it.
    Tanh,
}

/// GELU (Hendrycks & Gimpel, arXiv 1606.08415), number by number; the result has the type of `x`.
pub fn gelu<const R: usize>(x: Tensor<R>, kind: Gelu) -> Tensor<R> {
    Tensor::from_dispatch(<Dispatch as GeluOp>::gelu(x.into_dispatch(), kind))
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    fn forward(x: &FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self>;

    /// The gradient of `x` from that of the result.
    fn backward(x: FloatTensor<Self>, kind: Gelu, gradient: FloatTensor<Self>)
    -> FloatTensor<Self>;
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn forward(x: &FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        composed::forward::<Self>(x, kind)
    }

    fn backward(
        x: FloatTensor<Self>,
        kind: Gelu,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::backward::<Self>(x, kind, gradient)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait GeluOp: Backend {
    fn gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl GeluOp for $backend {
            fn gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
                <Self as Kernel>::forward(&x, kind)
            }
        }
    };
}

#[cfg(feature = "flex")]
without_gradients!(Flex);
#[cfg(feature = "libtorch")]
without_gradients!(LibTorch);
#[cfg(feature = "cube")]
without_gradients!(Cube);

impl<B: Kernel, C: CheckpointStrategy> GeluOp for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        let (x, of_x) = x.into_parts();
        let y = B::forward(&x, kind);
        record::<B, C, _, 1>([of_x], Input::<B> { x, kind }, y)
    }
}

/// As kept for the backward pass.
#[derive(Debug, Clone)]
struct Input<B: Backend> {
    x: FloatTensor<B>,
    kind: Gelu,
}

impl<B: Kernel> Kept<B, 1> for Input<B> {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(B::backward(self.x, self.kind, gradient))]
    }
}
