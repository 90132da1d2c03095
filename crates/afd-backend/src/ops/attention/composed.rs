//! The kernel as a composition of Burn's operations, for any backend, all queries at once.

use burn::{
    Tensor,
    backend::{Backend, DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
    tensor::{FloatDType, activation::softmax},
};

use super::{Attended, Inputs};
use crate::ops::{cap, primitive};

/// The inputs, the queries of one key/value head below each other, `[B, K, H/K·Tq, d]`, so that keys
/// are never copied per head.
struct Tensors {
    /// Scaled.
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    /// Capped, before the mask, in f32: `[B, K, H/K·Tq, Tk]`.
    scores: Tensor<4>,
    weights: Tensor<4>,
    /// `[B, Tq, H, d]`.
    shape: [usize; 4],
}

impl Tensors {
    fn of<B: Backend>(inputs: &Inputs<B>) -> Self
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        let q = Tensor::<4>::from_primitive::<B>(inputs.q.clone());
        let k = Tensor::<4>::from_primitive::<B>(inputs.k.clone());
        let v = Tensor::<4>::from_primitive::<B>(inputs.v.clone());
        let shape = q.dims();
        let ([b, tq, h, _], [_, kv, tk, _]) = (shape, k.dims());
        let q = stacked(q, kv).mul_scalar(inputs.options.scale);
        let scores = q.clone().matmul(k.clone().swap_dims(2, 3));
        let scores = cap(scores.cast(FloatDType::F32), inputs.options.softcap);
        let masked = match &inputs.context.mask {
            Some(mask) => (scores.clone().reshape([b, h, tq, tk]) + mask.clone()).reshape([
                b,
                kv,
                h / kv * tq,
                tk,
            ]),
            None => scores.clone(),
        };
        Self {
            weights: softmax(masked, 3),
            scores,
            q,
            k,
            v,
            shape,
        }
    }
}

/// `[B, Tq, H, d]` to `[B, K, H/K·Tq, d]`.
fn stacked(x: Tensor<4>, kv: usize) -> Tensor<4> {
    let [b, t, h, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, kv, h / kv * t, d])
}

/// Back to `[B, Tq, H, d]`.
fn unstacked(x: Tensor<4>, [b, t, h, d]: [usize; 4]) -> Tensor<4> {
    x.reshape([b, h, t, d]).swap_dims(1, 2)
}

pub(super) fn forward<B: Backend>(inputs: &Inputs<B>) -> Attended<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let Tensors {
        weights, v, shape, ..
    } = Tensors::of(inputs);
    let [b, t, h, d] = shape;
    let out = unstacked(weights.cast(v.dtype()).matmul(v), shape);
    Attended {
        out: primitive::<B, 3>(out.reshape([b, t, h * d])),
        log_sum_exp: None,
    }
}

pub(super) fn backward<B: Backend>(
    inputs: &Inputs<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 3]
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let Tensors {
        q,
        k,
        v,
        scores,
        weights,
        shape,
    } = Tensors::of(inputs);
    let dtype = v.dtype();
    let gradient = Tensor::<3>::from_primitive::<B>(gradient).reshape(shape);
    let gradient = stacked(gradient, k.dims()[1]);
    let of_v = weights
        .clone()
        .cast(dtype)
        .swap_dims(2, 3)
        .matmul(gradient.clone());
    let of_weights = gradient.matmul(v.swap_dims(2, 3)).cast(FloatDType::F32);
    let mean = (of_weights.clone() * weights.clone()).sum_dim(3);
    let mut of_scores = weights * (of_weights - mean);
    if let Some(c) = inputs.options.softcap {
        of_scores = of_scores * scores.div_scalar(c).square().neg().add_scalar(1.0);
    }
    let of_scores = of_scores.cast(dtype);
    let of_k = of_scores.clone().swap_dims(2, 3).matmul(q);
    let of_q = of_scores.matmul(k).mul_scalar(inputs.options.scale);
    [
        primitive::<B, 4>(unstacked(of_q, shape)),
        primitive::<B, 4>(of_k),
        primitive::<B, 4>(of_v),
    ]
}
