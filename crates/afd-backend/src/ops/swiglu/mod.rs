//! The gate of SwiGLU: one pass over its two inputs, of which only they are kept for backward.
#![allow(
    deprecated,
    reason = "libtorch is the way to CUDA for those who cannot build CubeCL's"
)]

mod composed;
#[cfg(feature = "flex")]
mod flex;

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
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
};

/// `gate · sigmoid(gate) · up`, number by number.
///
/// Both have one shape and type, and so has the result.
///
/// # Panics
/// When the shapes differ.
pub fn swiglu<const R: usize>(gate: Tensor<R>, up: Tensor<R>) -> Tensor<R> {
    assert_eq!(gate.dims(), up.dims(), "a gate for each number");
    // A dispatch wants its float inputs to be of one kind.
    let (gate, up) = match (gate.is_autodiff(), up.is_autodiff()) {
        (true, false) => (gate, up.autodiff()),
        (false, true) => (gate.autodiff(), up),
        _ => (gate, up),
    };
    let y = <Dispatch as SwiGlu>::swiglu(gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(y)
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

#[cfg(any(feature = "libtorch", feature = "cube"))]
macro_rules! composed_kernel {
    ($backend:ty) => {
        impl Kernel for $backend {
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
    };
}

#[cfg(feature = "libtorch")]
composed_kernel!(LibTorch);
#[cfg(feature = "cube")]
composed_kernel!(Cube);

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
        let step = <Step as Backward<B, 2>>::prepare::<C>(Step, [of_gate, of_up]);
        match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((gate, up), y),
            OpsKind::UnTracked(step) => step.finish(y),
        }
    }
}

#[derive(Debug)]
struct Step;

impl<B: Kernel> Backward<B, 2> for Step {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (gate, up) = ops.state;
        let found = B::backward(gate, up, gradient);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, found);
            }
        }
    }
}
