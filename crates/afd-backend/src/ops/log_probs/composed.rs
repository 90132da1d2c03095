//! The kernel as a composition of Burn's operations, for any backend.

use burn::{
    Tensor,
    backend::{Backend, DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
    tensor::{FloatDType, IndexingUpdateOp, Int},
};

use super::{Inputs, Weighted, chunks};
use crate::ops::{cap, primitive};

/// The inputs as tensors.
struct Tensors {
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
}

impl Tensors {
    fn of<B: Backend>(inputs: &Inputs<B>) -> Self
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        Self {
            hidden: Tensor::from_primitive::<B>(inputs.hidden.clone()),
            weight: Tensor::from_primitive::<B>(inputs.weight.clone()),
            targets: Tensor::from_primitive::<B>(inputs.targets.clone()),
            softcap: inputs.softcap,
        }
    }

    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        chunks(self.hidden.dims()[0], self.weight.dims())
    }

    /// `[rows, D]`, and their targets `[rows, 1]`.
    fn rows(&self, start: usize, rows: usize) -> (Tensor<2>, Tensor<2, Int>) {
        let targets = self.targets.clone().narrow(0, start, rows);
        let hidden = self.hidden.clone().narrow(0, start, rows);
        (hidden, targets.unsqueeze_dim(1))
    }

    /// `[rows, V]` in f32.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = hidden.matmul(self.weight.clone());
        cap(logits.cast(FloatDType::F32), self.softcap)
    }
}

pub(super) fn forward<B: Backend>(inputs: &Inputs<B>) -> (FloatTensor<B>, FloatTensor<B>)
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let tensors = Tensors::of(inputs);
    let parts = tensors.chunks().map(|(start, rows)| {
        let (hidden, targets) = tensors.rows(start, rows);
        let logits = tensors.logits(hidden);
        let max = logits.clone().max_dim(1);
        let sum = (logits.clone() - max.clone()).exp().sum_dim(1);
        let log_sum_exp = sum.log() + max;
        (logits.gather(1, targets) - log_sum_exp.clone(), log_sum_exp)
    });
    let (log_probs, sums): (Vec<_>, Vec<_>) = parts.unzip();
    let primitive = |parts| primitive::<B, 1>(Tensor::<2>::cat(parts, 0).squeeze_dim::<1>(1));
    (primitive(log_probs), primitive(sums))
}

pub(super) fn backward<B: Backend>(
    inputs: &Inputs<B>,
    log_sum_exp: FloatTensor<B>,
    gradient: FloatTensor<B>,
    [wants_hidden, wants_weight]: [bool; 2],
) -> [Option<FloatTensor<B>>; 2]
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let tensors = Tensors::of(inputs);
    let log_sum_exp = Tensor::<1>::from_primitive::<B>(log_sum_exp);
    let gradient = Tensor::<1>::from_primitive::<B>(gradient);
    let dtype = tensors.weight.dtype();
    let column =
        |of: &Tensor<1>, start, rows| of.clone().narrow(0, start, rows).unsqueeze_dim::<2>(1);
    let mut of_hidden = Vec::new();
    let mut of_weight: Option<Tensor<2>> = None;
    for (start, rows) in tensors.chunks() {
        let (hidden, targets) = tensors.rows(start, rows);
        let gradient = column(&gradient, start, rows);
        let logits = tensors.logits(hidden.clone());
        // ∂ log p(target) / ∂ logit = [target] − p.
        let p = (logits.clone() - column(&log_sum_exp, start, rows)).exp();
        let mut of_logits =
            (p * gradient.clone().neg()).scatter(1, targets, gradient, IndexingUpdateOp::Add);
        if let Some(c) = tensors.softcap {
            let slope = logits.div_scalar(c).square().neg().add_scalar(1.0);
            of_logits = of_logits * slope;
        }
        let of_logits = of_logits.cast(dtype);
        if wants_hidden {
            let weight = tensors.weight.clone().transpose();
            of_hidden.push(of_logits.clone().matmul(weight));
        }
        if wants_weight {
            // Added up in f32, whatever the products are computed in.
            let part = hidden.transpose().matmul(of_logits).cast(FloatDType::F32);
            of_weight = Some(match of_weight {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    let of_hidden = wants_hidden.then(|| primitive::<B, 2>(Tensor::cat(of_hidden, 0)));
    let of_weight = of_weight.map(|sum| primitive::<B, 2>(sum.cast(dtype)));
    [of_hidden, of_weight]
}

pub(super) fn weighted<B: Backend>(
    inputs: &Inputs<B>,
    factors: FloatTensor<B>,
    wants: [bool; 2],
) -> Weighted<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let (log_probs, log_sum_exp) = forward(inputs);
    let sum = B::float_sum(B::float_mul(log_probs, factors.clone()));
    let gradients = match wants {
        [false, false] => [None, None],
        wants => backward(inputs, log_sum_exp, factors, wants),
    };
    Weighted { sum, gradients }
}

#[cfg(feature = "cube")]
pub(super) fn scale<B: Backend>(gradient: FloatTensor<B>, factor: &FloatTensor<B>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let gradient = Tensor::<2>::from_primitive::<B>(gradient);
    let factor = Tensor::<1>::from_primitive::<B>(factor.clone());
    // In f32: a factor that 16 bits do not hold would be off alike in every number.
    let dtype = gradient.dtype();
    let scaled = gradient.cast(FloatDType::F32) * factor.cast(FloatDType::F32).unsqueeze::<2>();
    primitive::<B, 2>(scaled.cast(dtype))
}
