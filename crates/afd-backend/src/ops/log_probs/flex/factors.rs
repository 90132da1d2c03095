//! Hidden states and head, multiplied in the type they are in.

use std::cell::OnceCell;

use burn::{
    backend::flex::FlexTensor,
    tensor::{DType, bf16},
};

use crate::ops::flex::{bf16 as products, held::Held, matrix, matrix::Matrix};

/// `[N, D]` and `[D, V]`.
pub(super) enum Factors<'a> {
    F32(Matrix<'a>, Matrix<'a>),
    Bf16(Matrix<'a, bf16>, Head<'a>),
}

/// A head for products in bf16: its weights as they are held, and as products with it and with its transpose want
/// them, once they have been asked for.
pub(super) struct Head<'a> {
    weight: Held<'a>,
    forwards: OnceCell<products::Weights>,
    backwards: OnceCell<products::Weights>,
}

impl<'a> Factors<'a> {
    /// None for other types than these.
    pub(super) fn of(hidden: &'a FlexTensor, weight: &'a FlexTensor) -> Option<Self> {
        match (hidden.dtype(), weight.dtype()) {
            (DType::F32, DType::F32) => Some(Self::F32(
                matrix(hidden, hidden.storage())?,
                matrix(weight, weight.storage())?,
            )),
            (DType::BF16, _) => {
                let head = Head {
                    weight: Held::of(weight)?,
                    forwards: OnceCell::new(),
                    backwards: OnceCell::new(),
                };
                Some(Self::Bf16(matrix(hidden, hidden.storage())?, head))
            }
            _ => None,
        }
    }

    /// `N`, `D` and `V`.
    pub(super) fn shape(&self) -> [usize; 3] {
        match self {
            Self::F32(hidden, weight) => [hidden.rows(), hidden.columns(), weight.columns()],
            Self::Bf16(hidden, head) => {
                let [width, vocab] = head.weight.shape();
                [hidden.rows(), width, vocab]
            }
        }
    }

    /// Whether the head is an embedding, whose rows are tokens; its gradient is to lie alike.
    pub(super) fn is_transposed(&self) -> bool {
        match self {
            Self::F32(_, weight) => weight.is_transposed(),
            Self::Bf16(_, head) => head.weight.is_transposed(),
        }
    }

    /// Those of `rows` tokens from `start` on.
    pub(super) fn logits(&self, start: usize, rows: usize, out: &mut [f32]) {
        match self {
            Self::F32(hidden, weight) => {
                let (part, vocab) = (hidden.narrow(start, rows), weight.columns());
                matrix::multiply(out, vocab, false, 1.0, part, *weight, true);
            }
            Self::Bf16(hidden, head) => {
                let (part, [_, vocab]) = (hidden.narrow(start, rows), head.weight.shape());
                let weights = head.forwards.get_or_init(|| head.weight.weights());
                products::multiply(out, vocab, false, part, weights);
            }
        }
    }

    /// Gradients of the hidden states of some tokens.
    pub(super) fn of_hidden(&self, of_logits: Matrix<'_>, out: &mut [f32]) {
        match self {
            Self::F32(_, weight) => {
                let width = weight.rows();
                matrix::multiply(out, width, false, 1.0, of_logits, weight.t(), true);
            }
            Self::Bf16(_, head) => {
                let weights = head.backwards.get_or_init(|| head.weight.t().weights());
                products::multiply(out, head.weight.shape()[0], false, of_logits, weights);
            }
        }
    }

    /// What the tokens from `start` on add to the gradient of the head, in the order in which the head lies.
    pub(super) fn of_weight(
        &self,
        start: usize,
        of_logits: Matrix<'_>,
        out: &mut [f32],
        keep: bool,
    ) {
        let rows = of_logits.rows();
        let [_, width, vocab] = self.shape();
        match (self, self.is_transposed()) {
            (Self::F32(hidden, _), true) => {
                let (a, b) = (of_logits.t(), hidden.narrow(start, rows));
                matrix::multiply(out, width, keep, 1.0, a, b, true);
            }
            (Self::F32(hidden, _), false) => {
                let (a, b) = (hidden.narrow(start, rows).t(), of_logits);
                matrix::multiply(out, vocab, keep, 1.0, a, b, true);
            }
            (Self::Bf16(hidden, _), true) => {
                let part = products::Weights::new(hidden.narrow(start, rows));
                products::multiply(out, width, keep, of_logits.t(), &part);
            }
            (Self::Bf16(hidden, _), false) => {
                let part = products::Weights::new(of_logits);
                products::multiply(out, vocab, keep, hidden.narrow(start, rows).t(), &part);
            }
        }
    }
}
