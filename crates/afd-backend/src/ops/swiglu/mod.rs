//! The gate of SwiGLU: one pass over its two inputs, of which only they are kept for backward.

#[cfg(any(feature = "flex", feature = "cube"))]
mod composed;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "libtorch")]
mod libtorch;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod on_host;

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

use super::tape::{Kept, alike, record};

/// `gate · sigmoid(gate) · up`, number by number.
///
/// Both have one shape and type, and so has the result.
///
/// # Panics
/// When the shapes differ.
pub fn swiglu<const R: usize>(gate: Tensor<R>, up: Tensor<R>) -> Tensor<R> {
    assert_eq!(gate.dims(), up.dims(), "a gate for each number");
    let (gate, up) = alike(gate, up);
    let y = <Dispatch as SwiGlu>::swiglu(gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(y)
}

/// Both, as kept for the backward pass.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    fn forward(gate: &FloatTensor<Self>, up: &FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradients of `gate` and `up` from that of the result.
    fn backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn forward(gate: &FloatTensor<Self>, up: &FloatTensor<Self>) -> FloatTensor<Self> {
        composed::forward::<Self>(gate, up)
    }

    fn backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2] {
        composed::backward::<Self>(gate, up, gradient)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait SwiGlu: Backend {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl SwiGlu for $backend {
            fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
                <Self as Kernel>::forward(&gate, &up)
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

impl<B: Kernel, C: CheckpointStrategy> SwiGlu for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, of_gate), (up, of_up)) = (gate.into_parts(), up.into_parts());
        let y = B::forward(&gate, &up);
        record::<B, C, _, 2>([of_gate, of_up], Inputs::<B> { gate, up }, y)
    }
}

impl<B: Kernel> Kept<B, 2> for Inputs<B> {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::backward(self.gate, self.up, gradient).map(Some)
    }
}
