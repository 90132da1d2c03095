//! Scaled dot-product attention with grouped queries, additive masks and soft caps.
//!
//! Between forward and backward only inputs, output and one number per query and head are kept: the
//! scores are computed again. On Flex and on the CPU through libtorch kernels do it a block of
//! queries at a time; elsewhere Burn's operations do, all queries at once.

mod composed;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "libtorch")]
mod libtorch;
mod masks;
mod prefix;

use std::sync::Arc;

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

use super::tape::{Kept, alike, constant, record};

pub use masks::{Mask, cached_mask, causal_mask, packed_mask};
pub use prefix::Prefix;

/// How the product of a query and a key becomes a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOptions {
    /// What it is multiplied by; `1/√d` in most models.
    pub scale: f64,
    /// `c` in `c·tanh(score/c)`, which keeps scores within `±c`; before the mask is added.
    pub softcap: Option<f64>,
}

impl ScoreOptions {
    /// `1/√d` for heads of width `d`, and no cap.
    pub fn of_width(d: usize) -> Self {
        Self {
            scale: (d as f64).sqrt().recip(),
            softcap: None,
        }
    }
}

/// `softmax(cap(q·kᵀ·scale) + mask)·v`.
///
/// `q` is `[B, Tq, H, d]`; `k` and `v` are `[B, K, Tk, d]` with `H` a multiple of `K`
/// (query head `h` reads key/value head `h / (H/K)`); the result is `[B, Tq, H·d]`.
/// Without a mask every query sees every key: what decoding one token wants. No gradient flows to
/// the mask. `prefixes`, one for each sequence, tell what stands in memory more than once; where they are true, they
/// change nothing.
///
/// All three have one type, and so has the result; the softmax is f32.
///
/// # Panics
/// When `H` is not a multiple of `K`, the shapes disagree, or there is not one prefix for each sequence.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Mask>,
    prefixes: Option<Arc<[Prefix]>>,
    options: ScoreOptions,
) -> Tensor<3> {
    let [b, tq, h, d] = q.dims();
    let [kb, kv, tk, kd] = k.dims();
    assert!(h.is_multiple_of(kv), "{h} heads over {kv} key/value heads");
    assert_eq!(([b, d], k.dims()), ([kb, kd], v.dims()), "q, k and v fit");
    if let Some(mask) = &mask {
        let [rows, heads, queries, keys] = mask.dims();
        let fits = (rows == b || rows == 1) && [heads, queries, keys] == [1, tq, tk];
        assert!(fits, "a mask of {:?} for {:?}", mask.dims(), [b, 1, tq, tk]);
    }
    if let Some(prefixes) = &prefixes {
        let fits = prefixes.iter().all(|prefix| prefix.row < b);
        assert!(fits && prefixes.len() == b, "prefixes for {b} sequences");
    }
    // What is tracked passes on to its neighbour, and back to the first.
    let (q, k) = alike(q, k);
    let (k, v) = alike(k, v);
    let (q, k) = alike(q, k);
    Tensor::from_dispatch(<Dispatch as Attention>::attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        Context {
            mask: mask.map(constant),
            prefixes,
        },
        options,
    ))
}

/// What is known of keys, on its way through a dispatch, which takes no optional tensors.
#[derive(Debug, Clone)]
struct Context {
    mask: Option<Mask>,
    prefixes: Option<Arc<[Prefix]>>,
}

/// The operation as its backward pass sees it; shapes as in [`attention`].
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    context: Context,
    options: ScoreOptions,
}

/// The result, and what a kernel likes to have of it in backward.
#[derive(Debug, Clone)]
struct Attended<B: Backend> {
    /// `[B, Tq, H·d]`.
    out: FloatTensor<B>,
    /// The logarithms of the softmax's denominators, in the kernel's own layout; none where it does
    /// not ask for them.
    log_sum_exp: Option<FloatTensor<B>>,
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    fn forward(inputs: &Inputs<Self>) -> Attended<Self>;

    /// Gradients of `q`, `k` and `v` from that of the result.
    fn backward(
        inputs: &Inputs<Self>,
        attended: &Attended<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn forward(inputs: &Inputs<Self>) -> Attended<Self> {
        composed::forward(inputs)
    }

    fn backward(
        inputs: &Inputs<Self>,
        _: &Attended<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3] {
        composed::backward(inputs, gradient)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait Attention: Backend {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        context: Context,
        options: ScoreOptions,
    ) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl Attention for $backend {
            fn attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                context: Context,
                options: ScoreOptions,
            ) -> FloatTensor<Self> {
                <Self as Kernel>::forward(&Inputs {
                    q,
                    k,
                    v,
                    context,
                    options,
                })
                .out
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

impl<B: Kernel, C: CheckpointStrategy> Attention for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        context: Context,
        options: ScoreOptions,
    ) -> FloatTensor<Self> {
        let ((q, of_q), (k, of_k), (v, of_v)) = (q.into_parts(), k.into_parts(), v.into_parts());
        let inputs = Inputs {
            q,
            k,
            v,
            context,
            options,
        };
        let attended = B::forward(&inputs);
        let out = attended.out.clone();
        record::<B, C, _, 3>([of_q, of_k, of_v], (inputs, attended), out)
    }
}

impl<B: Kernel> Kept<B, 3> for (Inputs<B>, Attended<B>) {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        B::backward(&self.0, &self.1, gradient).map(Some)
    }
}
