//! The small modules a decoder is made of.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{FloatDType, Int},
};

use crate::{
    Error,
    weights::{Init, Weights},
};

/// `x · weight`, without bias; `weight` is `[in, out]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    #[module(skip)]
    compute: FloatDType,
}

impl Linear {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        shape: [usize; 2],
        std: f64,
    ) -> Result<Self, Error> {
        let weight = weights.matrix(&format!("{name}.weight"), shape, Init::Normal(std))?;
        let compute = weights.placement.compute();
        Ok(Self { weight, compute })
    }

    /// A layer from `width` to one number, for [`crate::SequenceClassifier`] to multiply by in f32
    /// whatever the other layers compute in.
    pub(crate) fn score_head(weights: &Weights<'_>, width: usize) -> Result<Self, Error> {
        let std = 1.0 / ((width + 1) as f64).sqrt();
        let weight = weights.score_head("score.weight", [width, 1], Init::Normal(std))?;
        let compute = FloatDType::F32;
        Ok(Self { weight, compute })
    }

    /// `[B, T, in]` in any type to `[B, T, out]` in the compute type.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let x = x.cast(self.compute).reshape([b * t, width]);
        let y = x.matmul(self.weight.base().cast(self.compute));
        let out = y.dims()[1];
        y.reshape([b, t, out])
    }
}

/// A table of token vectors, `weight` `[V, D]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
}

impl Embedding {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        shape: [usize; 2],
        std: f64,
    ) -> Result<Self, Error> {
        let weight = weights.param(&format!("{name}.weight"), shape, Init::Normal(std))?;
        Ok(Self { weight })
    }

    /// Ids `[B, T]` to vectors `[B, T, D]` in f32, the type of the residual stream.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = ids.dims();
        let rows = self.weight.base().select(0, ids.reshape([b * t]));
        let width = rows.dims()[1];
        rows.cast(FloatDType::F32).reshape([b, t, width])
    }
}

/// Root-mean-square normalisation with a learned scale, `weight` `[D]`.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    weight: Param<Tensor<1>>,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self, Error> {
        let weight = weights.param(&format!("{name}.weight"), [width], Init::Ones)?;
        Ok(Self { weight, eps })
    }

    /// f32 to f32.
    pub(crate) fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let weight = self.weight.base().cast(FloatDType::F32);
        afd_backend::ops::rms_norm(x, weight, self.eps)
    }
}
