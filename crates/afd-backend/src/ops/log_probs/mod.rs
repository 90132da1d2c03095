//! The log-probability of a token, without ever holding the logits of all tokens.
//!
//! Forward keeps hidden states, the head and one number per token; backward computes the logits
//! again, some rows at a time. On Flex and libtorch that is done by kernels, elsewhere by Burn's
//! operations.

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
        autodiff::checkpoint::strategy::CheckpointStrategy,
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Int},
};

use super::{
    primitive,
    tape::{Kept, alike, constant, record},
};
use crate::device::is_flex;

/// Rows of the logits matrix that are alive at once; of a head narrower than that no more than it is wide, so that
/// they take no more memory than the head has in f32.
const ROWS: usize = 256;

/// Logits alive at once, where that is more.
const LOGITS: usize = 1 << 21;

/// `log softmax(hidden · weight)[target]` in nats, one number per row.
///
/// `hidden` is `[N, D]`, `weight` the output head `[D, V]`, `targets` `[N]`; the result is
/// `[N]` in f32. Logits are computed in the type of `hidden` if that has 16 bits, in that of `weight` if not, and
/// their softmax in f32. A `softcap` `c`
/// makes a logit `c·tanh(logit/c)` first.
///
/// Rows are taken a few hundred at a time, forward and backward, so that `[N, V]` is never held. The
/// price is one more product with the head in backward.
///
/// # Panics
/// When the shapes disagree, or on some devices when there are no rows.
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
) -> Tensor<1> {
    let (hidden, weight) = computing(hidden, weight, &targets);
    Tensor::from_dispatch(<Dispatch as TokenLogProbs>::token_log_probs(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        softcap,
    ))
}

/// `Σ factors[i] · log softmax(hidden · weight)[targets[i]]` in nats, one number: what
/// [`token_log_probs`] gives, weighed and added up, where all weights are known beforehand.
///
/// Shapes and types are as there; `factors` is `[N]`, f32, and no gradient flows to it. Forward computes the
/// gradients too, for backward to multiply by that of the sum: no logits are computed twice. The price is
/// memory for the head's gradient from then on. Source: the fused loss of Liger Kernel (Hsu et al.,
/// arXiv 2410.10989, 3.2).
///
/// # Panics
/// When the shapes disagree, or on some devices when there are no rows.
pub fn weighted_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    factors: Tensor<1>,
    softcap: Option<f64>,
) -> Tensor<1> {
    assert_eq!(factors.dims(), targets.dims(), "one factor per target");
    let (hidden, weight) = computing(hidden, weight, &targets);
    Tensor::from_dispatch(<Dispatch as TokenLogProbs>::weighted_log_probs(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        Constant(constant(factors)),
        softcap,
    ))
}

/// What log-probabilities are multiplied by, on its way through a dispatch: it is never tracked.
#[derive(Debug, Clone)]
struct Constant(Tensor<1>);

/// Both in the type that logits are computed in; but weights that are only rounded for it stay as they are.
///
/// # Panics
/// When the shapes disagree.
fn computing(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &Tensor<1, Int>,
) -> (Tensor<2>, Tensor<2>) {
    let [n, width] = hidden.dims();
    assert_eq!(targets.dims()[0], n, "one target per row");
    assert_eq!(weight.dims()[0], width, "the head reads hidden states");
    let dtype = match hidden.dtype() {
        DType::F16 | DType::BF16 => hidden.dtype(),
        _ => weight.dtype(),
    };
    let hidden = hidden.cast(dtype);
    let is_rounded = dtype == DType::BF16 && is_flex(&weight.device());
    let weight = if is_rounded {
        weight
    } else {
        weight.cast(dtype)
    };
    alike(hidden, weight)
}

/// The rows that are worked on together, of `n` that a head `[width, vocab]` reads: their first, and how many.
fn chunks(n: usize, [width, vocab]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let rows = ROWS.min(width.max(1)).max(LOGITS / vocab.max(1));
    (0..n)
        .step_by(rows)
        .map(move |start| (start, rows.min(n - start)))
}

/// The operation as its backward pass sees it.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    /// `[N, D]`, in the type logits are computed in.
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

    /// Gradients of `hidden` and `weight`, in their types or in f32, from those of the log-probabilities
    /// `[N]`; what nobody `wants` is none.
    fn backward(
        inputs: &Inputs<Self>,
        log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];

    /// `Σ factors · log-probabilities`, `[1]`, and its gradients as of [`backward`](Self::backward).
    fn weighted(
        inputs: &Inputs<Self>,
        factors: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> Weighted<Self>;

    /// A gradient times a number `[1]`; it is nobody else's.
    fn scale(gradient: FloatTensor<Self>, factor: &FloatTensor<Self>) -> FloatTensor<Self>;
}

/// A sum, and its gradients where they are wanted.
#[derive(Debug, Clone)]
struct Weighted<B: Backend> {
    sum: FloatTensor<B>,
    gradients: [Option<FloatTensor<B>>; 2],
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

    fn weighted(
        inputs: &Inputs<Self>,
        factors: FloatTensor<Self>,
        wants: [bool; 2],
    ) -> Weighted<Self> {
        composed::weighted(inputs, factors, wants)
    }

    fn scale(gradient: FloatTensor<Self>, factor: &FloatTensor<Self>) -> FloatTensor<Self> {
        composed::scale::<Self>(gradient, factor)
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

    fn weighted_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        factors: Constant,
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

            fn weighted_log_probs(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: IntTensor<Self>,
                Constant(factors): Constant,
                softcap: Option<f64>,
            ) -> FloatTensor<Self> {
                let inputs = Inputs {
                    hidden,
                    weight,
                    targets,
                    softcap,
                };
                <Self as Kernel>::weighted(&inputs, primitive::<Self, 1>(factors), [false; 2]).sum
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
        record::<B, C, _, 2>([of_hidden, of_weight], (inputs, log_sum_exp), log_probs)
    }

    fn weighted_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        Constant(factors): Constant,
        softcap: Option<f64>,
    ) -> FloatTensor<Self> {
        let wants = [hidden.is_tracked(), weight.is_tracked()];
        let ((hidden, of_hidden), (weight, of_weight)) = (hidden.into_parts(), weight.into_parts());
        let inputs = Inputs {
            hidden,
            weight,
            targets,
            softcap,
        };
        let Weighted { sum, gradients } = B::weighted(&inputs, primitive::<B, 1>(factors), wants);
        record::<B, C, _, 2>([of_hidden, of_weight], Gradients::<B>(gradients), sum)
    }
}

/// What has only to be multiplied by the gradient of the sum.
#[derive(Debug, Clone)]
struct Gradients<B: Backend>([Option<FloatTensor<B>>; 2]);

impl<B: Kernel> Kept<B, 2> for Gradients<B> {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        self.0
            .map(|kept| kept.map(|kept| B::scale(kept, &gradient)))
    }
}

/// The inputs, and the logarithms of the softmax's denominators.
impl<B: Kernel> Kept<B, 2> for (Inputs<B>, FloatTensor<B>) {
    fn backward(self, gradient: FloatTensor<B>, wants: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::backward(&self.0, self.1, gradient, wants)
    }
}

#[cfg(test)]
mod tests;
