//! A weight in the type it is held in.

use burn::{
    backend::flex::FlexTensor,
    tensor::{DType, bf16},
};

use super::{bf16::Weights, matrix, matrix::Matrix, panels::Panels};

/// A matrix of weights: those that are read alone may be held in bf16.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    F32(Matrix<'a>),
    Bf16(Matrix<'a, bf16>),
}

impl<'a> Held<'a> {
    /// None for other types than these, and where it runs backwards.
    pub(crate) fn of(weight: &'a FlexTensor) -> Option<Self> {
        match weight.dtype() {
            DType::F32 => matrix(weight, weight.storage()).map(Self::F32),
            DType::BF16 => matrix(weight, weight.storage()).map(Self::Bf16),
            _ => None,
        }
    }

    pub(crate) fn shape(self) -> [usize; 2] {
        match self {
            Self::F32(weight) => [weight.rows(), weight.columns()],
            Self::Bf16(weight) => [weight.rows(), weight.columns()],
        }
    }

    pub(crate) fn is_transposed(self) -> bool {
        match self {
            Self::F32(weight) => weight.is_transposed(),
            Self::Bf16(weight) => weight.is_transposed(),
        }
    }

    /// The transpose; nothing is moved.
    pub(crate) fn t(self) -> Self {
        match self {
            Self::F32(weight) => Self::F32(weight.t()),
            Self::Bf16(weight) => Self::Bf16(weight.t()),
        }
    }

    /// For products in bf16.
    pub(crate) fn weights(self) -> Weights {
        match self {
            Self::F32(weight) => Weights::new(weight),
            Self::Bf16(weight) => Weights::new(weight),
        }
    }

    /// For many products of few rows, in f32 or, `rounded`, in bf16.
    pub(crate) fn panels(self, rounded: bool) -> Panels {
        match self {
            Self::F32(weight) => Panels::new(weight, rounded),
            Self::Bf16(weight) => Panels::new(weight, rounded),
        }
    }
}
