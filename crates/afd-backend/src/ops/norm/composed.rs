//! The kernel as a composition of Burn's operations, for any backend.

use burn::{
    Tensor,
    backend::{Backend, DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
};

use super::Inputs;
use crate::ops::primitive;

/// The rows with mean 0, if asked for, and mean square 1, and what they were multiplied by.
fn normalised<B: Backend>(inputs: &Inputs<B>) -> (Tensor<2>, Tensor<2>)
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let x = Tensor::<2>::from_primitive::<B>(inputs.x.clone());
    let x = match inputs.centred {
        true => x.clone() - x.mean_dim(1),
        false => x,
    };
    let mean_square = x.clone().square().mean_dim(1);
    let scale = mean_square.add_scalar(inputs.eps).sqrt().recip();
    (x * scale.clone(), scale)
}

fn weight<B: Backend>(inputs: &Inputs<B>) -> Tensor<2>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    Tensor::<1>::from_primitive::<B>(inputs.weight.clone()).unsqueeze()
}

pub(super) fn forward<B: Backend>(inputs: &Inputs<B>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    primitive::<B, 2>(normalised(inputs).0 * weight(inputs))
}

pub(super) fn backward<B: Backend>(
    inputs: &Inputs<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 2]
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let (n, scale) = normalised(inputs);
    let gradient = Tensor::<2>::from_primitive::<B>(gradient);
    let of_weight = (gradient.clone() * n.clone())
        .sum_dim(0)
        .squeeze_dim::<1>(0);
    let of_n = gradient * weight(inputs);
    let along = (of_n.clone() * n.clone()).mean_dim(1);
    let of_n = match inputs.centred {
        true => of_n.clone() - of_n.mean_dim(1),
        false => of_n,
    };
    let of_x = (of_n - n * along) * scale;
    [primitive::<B, 2>(of_x), primitive::<B, 1>(of_weight)]
}
