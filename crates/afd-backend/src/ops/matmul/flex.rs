//! The product in bf16 on Flex, which has no such type to compute in.

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::{DType, bf16};

use super::{Inputs, Kernel};
use crate::host::Number;
use crate::ops::flex::{
    bf16::{Weights, multiply},
    matrix,
    matrix::Matrix,
    tensor, unwritten, values,
};

impl Kernel for Flex {
    fn forward(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
        times(&x.to_contiguous(), &packed(weight, false))
    }

    fn backward(
        inputs: &Inputs<Self>,
        gradient: FlexTensor,
        [wants_x, wants_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let gradient = gradient.to_contiguous();
        let of_x = wants_x.then(|| times(&gradient, &packed(&inputs.weight, true)));
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

/// The weight, or its transpose, for products.
pub(super) fn packed(weight: &FlexTensor, transposed: bool) -> Weights {
    fn of<T: Number>(weight: Matrix<'_, T>, transposed: bool) -> Weights {
        Weights::new(if transposed { weight.t() } else { weight })
    }
    let forwards = match weight.layout().has_positive_strides() {
        true => weight.clone(),
        false => weight.to_contiguous(),
    };
    let found = match forwards.dtype() {
        DType::BF16 => matrix::<bf16>(&forwards, forwards.storage()).map(|w| of(w, transposed)),
        _ => matrix::<f32>(&forwards, forwards.storage()).map(|w| of(w, transposed)),
    };
    found.unwrap_or_else(|| unreachable!("two dimensions that run forwards"))
}

/// Contiguous `x`, f32, by it.
pub(super) fn times(x: &FlexTensor, weight: &Weights) -> FlexTensor {
    let x = rows(x);
    let shape = [x.rows(), weight.columns()];
    let mut out = unwritten(shape[0] * shape[1]);
    multiply(&mut out, shape[1], false, x, weight);
    tensor(out, shape)
}

fn rows(x: &FlexTensor) -> Matrix<'_> {
    let (rows, columns) = (x.layout().shape()[0], x.layout().shape()[1]);
    Matrix::new(values(x), rows, columns, columns)
}
