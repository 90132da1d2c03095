//! Products with weights on Flex: in bf16, which it has no type to compute in, and by weights laid out once.

use burn::backend::{Flex, flex::FlexTensor};

use super::{Inputs, Kernel};
use crate::ops::flex::{
    bf16::{Weights, is_native, multiply},
    held::Held,
    matrix::Matrix,
    panels,
    panels::Panels,
    tensor, unwritten, values,
};

impl Kernel for Flex {
    fn forward(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
        times(&x.to_contiguous(), &weights(weight, false))
    }

    fn backward(
        inputs: &Inputs<Self>,
        gradient: FlexTensor,
        [wants_x, wants_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let gradient = gradient.to_contiguous();
        let of_x = wants_x.then(|| times(&gradient, &weights(&inputs.weight, true)));
        let of_weight = wants_weight.then(|| {
            let x = inputs.x.to_contiguous();
            let (x, g) = (rows(&x), rows(&gradient));
            let shape = [x.columns(), g.columns()];
            let mut out = unwritten(shape[0] * shape[1]);
            multiply(&mut out, shape[1], false, x.t(), &Weights::new(g));
            tensor(out, shape)
        });
        [of_x, of_weight]
    }
}

/// A weight as many products without gradients take it.
#[derive(Debug)]
pub(super) enum Packed {
    /// In bf16, for a unit of the processor's.
    Native(Weights),
    /// For any processor.
    Panels(Panels),
}

impl Packed {
    /// For products in f32 or, `rounded`, in bf16.
    pub(super) fn new(weight: &FlexTensor, rounded: bool) -> Self {
        held(weight, |weight| match rounded && is_native() {
            true => Self::Native(weight.weights()),
            false => Self::Panels(weight.panels(rounded)),
        })
    }

    /// Contiguous `x`, f32, by it.
    pub(super) fn times(&self, x: &FlexTensor) -> FlexTensor {
        match self {
            Self::Native(weights) => times(x, weights),
            Self::Panels(panels) => product(x, panels.columns(), |out, x| {
                panels::multiply(out, x, panels);
            }),
        }
    }
}

/// The weight, or its transpose, for products in bf16.
fn weights(weight: &FlexTensor, transposed: bool) -> Weights {
    held(weight, |weight| match transposed {
        true => weight.t().weights(),
        false => weight.weights(),
    })
}

/// What `make` makes of a weight as it is held.
fn held<T>(weight: &FlexTensor, make: impl FnOnce(Held<'_>) -> T) -> T {
    let forwards = match weight.layout().has_positive_strides() {
        true => weight.clone(),
        false => weight.to_contiguous(),
    };
    Held::of(&forwards)
        .map(make)
        .unwrap_or_else(|| unreachable!("f32 or bf16, in two dimensions that run forwards"))
}

/// Contiguous `x`, f32, by a weight for products in bf16.
fn times(x: &FlexTensor, weight: &Weights) -> FlexTensor {
    let columns = weight.columns();
    product(x, columns, |out, x| {
        multiply(out, columns, false, x, weight)
    })
}

/// `[M, columns]` as `multiply` writes it, row after row, from contiguous `x`.
fn product(
    x: &FlexTensor,
    columns: usize,
    multiply: impl FnOnce(&mut [f32], Matrix<'_>),
) -> FlexTensor {
    let x = rows(x);
    let mut out = unwritten(x.rows() * columns);
    multiply(&mut out, x);
    tensor(out, [x.rows(), columns])
}

fn rows(x: &FlexTensor) -> Matrix<'_> {
    let (rows, columns) = (x.layout().shape()[0], x.layout().shape()[1]);
    Matrix::new(values(x), rows, columns, columns)
}
