//! The log-probability of a token, without ever holding the logits of all tokens.
//!
//! Forward keeps hidden states, the head and one number per token; backward computes the logits
//! again, some rows at a time. On Flex and libtorch that is done by kernels, elsewhere by Burn's
//! operations.

#![allow(
    deprecated,
    reason = "libtorch is the way to CUDA for those who cannot build CubeCL's"
)]

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
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Int,
};

/// Fewest rows of the logits matrix that are alive at once.
const ROWS: usize = 256;

/// Logits alive at once, where that is more than [`ROWS`] rows.
const LOGITS: usize = 1 << 21;

/// `log softmax(hidden · weight)[target]` in nats, one number per row.
///
/// `hidden` is `[N, D]`, `weight` the output head `[D, V]`, `targets` `[N]`; the result is
/// `[N]` in f32. Logits are computed in the type of `weight`, their softmax in f32. A `softcap` `c`
/// makes a logit `c·tanh(logit/c)` first.
///
/// Rows are taken a few hundred at a time, forward and backward, so that `[N, V]` is never held. The
/// price is one more product with the head in backward.
///
/// # Panics
/// When the shapes disagree.
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
) -> Tensor<1> {
    let [n, width] = hidden.dims();
    assert_eq!(targets.dims()[0], n, "one target per row");
    assert_eq!(weight.dims()[0], width, "the head reads hidden states");
    let hidden = hidden.cast(weight.dtype());
    // A dispatch wants its float inputs to be of one kind.
    let (hidden, weight) = match (hidden.is_autodiff(), weight.is_autodiff()) {
        (true, false) => (hidden, weight.autodiff()),
        (false, true) => (hidden.autodiff(), weight),
        _ => (hidden, weight),
    };
    Tensor::from_dispatch(<Dispatch as TokenLogProbs>::token_log_probs(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        softcap,
    ))
}

/// The rows that are worked on together, of `n` with `vocab` logits each: their first, and how many.
fn chunks(n: usize, vocab: usize) -> impl Iterator<Item = (usize, usize)> {
    let rows = ROWS.max(LOGITS / vocab.max(1));
    (0..n)
        .step_by(rows)
        .map(move |start| (start, rows.min(n - start)))
}

/// The operation as its backward pass sees it.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    /// `[N, D]`, in the type of `weight`.
    hidden: FloatTensor<B>,
    /// `[D, V]`.
    weight: FloatTensor<B>,
    /// `[N]`.
    targets: IntTensor<B>,
    softcap: Option<f64>,
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    /// Log-probabilities, and the logarithms of the softmax's denominators; `[N]` each, in f32.
    fn forward(inputs: &Inputs<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of `hidden` and `weight`, in their types, from those of the log-probabilities
    /// `[N]`; what nobody `wants` is none.
    fn backward(
        inputs: &Inputs<Self>,
        log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn forward(inputs: &Inputs<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::forward(inputs)
    }

    fn backward(
        inputs: &Inputs<Self>,
        log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2] {
        composed::backward(inputs, log_sum_exp, gradient, wants)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait TokenLogProbs: Backend {
    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        softcap: Option<f64>,
    ) -> FloatTensor<Self>;
}

/// Without gradients the second result of [`Kernel::forward`] is not wanted.
macro_rules! without_gradients {
    ($backend:ty) => {
        impl TokenLogProbs for $backend {
            fn token_log_probs(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: IntTensor<Self>,
                softcap: Option<f64>,
            ) -> FloatTensor<Self> {
                <Self as Kernel>::forward(&Inputs {
                    hidden,
                    weight,
                    targets,
                    softcap,
                })
                .0
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

impl<B: Kernel, C: CheckpointStrategy> TokenLogProbs for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        softcap: Option<f64>,
    ) -> FloatTensor<Self> {
        let ((hidden, of_hidden), (weight, of_weight)) = (hidden.into_parts(), weight.into_parts());
        let inputs = Inputs {
            hidden,
            weight,
            targets,
            softcap,
        };
        let (log_probs, log_sum_exp) = B::forward(&inputs);
        let step = <Step as Backward<B, 2>>::prepare::<C>(Step, [of_hidden, of_weight]);
        match step.compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((inputs, log_sum_exp), log_probs),
            OpsKind::UnTracked(step) => step.finish(log_probs),
        }
    }
}

#[derive(Debug)]
struct Step;

impl<B: Kernel> Backward<B, 2> for Step {
    type State = (Inputs<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (inputs, log_sum_exp) = ops.state;
        let wants = ops.parents.each_ref().map(Option::is_some);
        let found = B::backward(&inputs, log_sum_exp, gradient, wants);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                grads.register::<B>(parent.id, found);
            }
        }
    }
}

#[cfg(test)]
mod tests;
