//! A weight laid out once for many products.

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn::{Tensor, tensor::FloatDType};

#[cfg(feature = "flex")]
use super::flex;
use super::is_rounded;
#[cfg(feature = "flex")]
use crate::ops::{flex::bf16::Weights, primitive};

/// A matrix that many products without gradients are taken with: answers are drawn token by token, and laying a
/// weight out takes longer than a product with a few rows. Copies share it.
#[derive(Clone)]
pub struct PackedWeight {
    #[cfg(feature = "flex")]
    weights: Arc<Weights>,
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedWeight").finish_non_exhaustive()
    }
}

impl PackedWeight {
    /// Lays out `weight`, `[K, N]`, for [`matmul`](super::matmul) in `dtype`. None where the device
    /// multiplies by weights as they are, and of a weight that is being trained.
    pub fn new(weight: Tensor<2>, dtype: FloatDType) -> Option<Self> {
        if !is_rounded(&weight.device(), dtype) || weight.is_autodiff() {
            return None;
        }
        #[cfg(feature = "flex")]
        return Some(Self {
            weights: Arc::new(flex::packed(
                &primitive::<burn::backend::Flex, 2>(weight),
                false,
            )),
        });
        #[cfg(not(feature = "flex"))]
        None
    }

    /// `x · weight`, as [`matmul`](super::matmul) has it: `[M, K]` to `[M, N]`.
    ///
    /// # Panics
    /// When the shapes disagree, or `x` is on another device or tracked by autodiff.
    pub fn multiply(&self, x: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        {
            let x = primitive::<burn::backend::Flex, 2>(x.cast(FloatDType::F32));
            let y = flex::times(&x.to_contiguous(), &self.weights);
            Tensor::from_primitive::<burn::backend::Flex>(y)
        }
        #[cfg(not(feature = "flex"))]
        unreachable!("made only where Flex is, not for {x}")
    }
}
