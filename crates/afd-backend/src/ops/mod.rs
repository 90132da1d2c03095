//! The operations a decoder spends its time in.
//!
//! Each has a backward pass of its own, which keeps what it needs and no more. Its file says what
//! is computed; below it, `composed` does that by Burn's operations on any device, and a file named
//! after a backend by kernels. Shapes use `B` sequences, `T` tokens, `H` heads, `K` key/value heads,
//! `d` width of a head, `D` width, `V` vocabulary.
#![allow(
    deprecated,
    reason = "libtorch is the way to CUDA for those who cannot build CubeCL's"
)]

mod adamw;
mod attention;
#[cfg(feature = "libtorch")]
mod by_autograd;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "libtorch")]
mod libtorch;
mod log_probs;
mod matmul;
mod norm;
mod rotary;
mod rows;
mod softcap;
mod squares;
mod swiglu;
mod tape;

pub use adamw::{AdamW, Moving};
pub use attention::{Mask, Prefix, ScoreOptions, attention, cached_mask, causal_mask, packed_mask};
pub use gelu::{Gelu, gelu};
pub use log_probs::{token_log_probs, weighted_log_probs};
pub use matmul::{PackedWeight, activation_dtype, matmul};
pub use norm::{layer_norm, rms_norm};
pub use rotary::{RotaryTable, frequencies, rotate};
pub use rows::rows;
pub use softcap::cap;
pub use squares::sum_of_squares;
pub use swiglu::swiglu;

use burn::{
    Tensor,
    backend::{Backend, DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
};

/// A float tensor that is known to live on `B`, because it was made of what does.
fn primitive<B: Backend, const R: usize>(tensor: Tensor<R>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match tensor.try_into_primitive::<B>() {
        Ok(tensor) => tensor,
        Err(error) => panic!("what came from a device stays there: {error:?}"),
    }
}
