//! From a kernel to an operation on Burn's tape.

use std::{fmt::Debug, marker::PhantomData};

use burn::{
    Tensor,
    backend::{
        Autodiff, Backend,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, NodeGuard, Ops, OpsKind},
        },
        tensor::FloatTensor,
    },
};

/// What is kept of an operation on `N` float tensors until its backward pass.
pub(super) trait Kept<B: Backend, const N: usize>: Clone + Debug + Send + 'static {
    /// Gradients of the inputs from that of the result; those that nobody `wants` may be none.
    fn backward(self, gradient: FloatTensor<B>, wants: [bool; N]) -> [Option<FloatTensor<B>>; N];
}

/// `value`, with the tape told how it comes of the `inputs`; nothing is kept where none of them is
/// tracked.
pub(super) fn record<B: Backend, C: CheckpointStrategy, K: Kept<B, N>, const N: usize>(
    inputs: [NodeGuard; N],
    kept: K,
    value: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let step = <Step<K> as Backward<B, N>>::prepare::<C>(Step(PhantomData), inputs);
    match step.compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(kept, value),
        OpsKind::UnTracked(step) => step.finish(value),
    }
}

/// `a` and `b`, on the tape if one of them is: a dispatch wants its float inputs to be of one kind.
pub(super) fn alike<const R: usize, const S: usize>(
    a: Tensor<R>,
    b: Tensor<S>,
) -> (Tensor<R>, Tensor<S>) {
    match (a.is_autodiff(), b.is_autodiff()) {
        (true, false) => (a, b.autodiff()),
        (false, true) => (a.autodiff(), b),
        _ => (a, b),
    }
}

/// A tensor that no gradient flows to.
pub(super) fn constant<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    match x.is_autodiff() {
        true => x.inner(),
        false => x,
    }
}

#[derive(Debug)]
struct Step<K>(PhantomData<K>);

impl<B: Backend, K: Kept<B, N>, const N: usize> Backward<B, N> for Step<K> {
    type State = K;

    fn backward(self, ops: Ops<K, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let wants = ops.parents.each_ref().map(Option::is_some);
        let found = ops.state.backward(gradient, wants);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                grads.register::<B>(parent.id, found);
            }
        }
    }
}
