//! The kernel as a composition of Burn's operations, for any backend; of tensors of any number of
//! dimensions, which primitives are.

use burn::backend::{Backend, tensor::FloatTensor};

pub(super) fn forward<B: Backend>(gate: &FloatTensor<B>, up: &FloatTensor<B>) -> FloatTensor<B> {
    let open = B::float_mul(gate.clone(), B::sigmoid(gate.clone()));
    B::float_mul(open, up.clone())
}

pub(super) fn backward<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 2] {
    let sigmoid = B::sigmoid(gate.clone());
    let open = B::float_mul(gate, sigmoid.clone());
    // The slope of `g·σ` is `σ + g·σ·(1 − σ) = σ + o − o·σ`.
    let bend = B::float_sub(open.clone(), B::float_mul(open.clone(), sigmoid.clone()));
    let slope = B::float_add(sigmoid, bend);
    let of_gate = B::float_mul(B::float_mul(gradient.clone(), up), slope);
    [of_gate, B::float_mul(gradient, open)]
}
