//! A weight laid out once for many products.

#[cfg(feature = "flex")]
use std::sync::Arc;

#[cfg(feature = "flex")]
use burn::tensor::DType;
use burn::{Tensor, tensor::FloatDType};

#[cfg(feature = "flex")]
use super::{flex::Packed, is_rounded};
#[cfg(feature = "flex")]
use crate::{device::is_flex, ops::primitive};

/// A matrix that many products without gradients are taken with: answers are drawn token by token, and laying a
/// weight out takes longer than a product with a few rows. Copies share it.
#[derive(Clone)]
pub struct PackedWeight {
    #[cfg(feature = "flex")]
    weight: Arc<Packed>,
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedWeight").finish_non_exhaustive()
    }
}

impl PackedWeight {
    /// Lays out `weight`, `[K, N]` and of f32 or bf16, for [`matmul`](super::matmul) in one of the two. None where the
    /// device multiplies by weights as they are, and of a weight that is being trained or has another type.
    #[cfg(feature = "flex")]
    pub fn new(weight: Tensor<2>, dtype: FloatDType) -> Option<Self> {
        let device = weight.device();
        let known = [DType::F32, DType::BF16];
        let here = is_flex(&device) && known.contains(&weight.dtype());
        if !here || !known.contains(&dtype.into()) || weight.is_autodiff() {
            return None;
        }
        let weight = primitive::<burn::backend::Flex, 2>(weight);
        let weight = Arc::new(Packed::new(&weight, is_rounded(&device, dtype)));
        Some(Self { weight })
    }

    /// None: only Flex is laid out for.
    #[cfg(not(feature = "flex"))]
    pub fn new(_: Tensor<2>, _: FloatDType) -> Option<Self> {
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
            let y = self.weight.times(&x.to_contiguous());
            Tensor::from_primitive::<burn::backend::Flex>(y)
        }
        #[cfg(not(feature = "flex"))]
        unreachable!("made only where Flex is, not for {x}")
    }
}
