//! The small modules a decoder is made of.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::Int,
};

use crate::{
    Error,
    weights::{Init, Weights},
};

/// `x · weight`, without bias; `weight` is `[in, out]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
}

impl Linear {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        shape: [usize; 2],
        std: f64,
    ) -> Result<Self, Error> {
        let weight = weights.param(&format!("{name}.weight"), shape, Init::Normal(std))?;
        Ok(Self { weight })
    }

    /// `[B, T, in]` to `[B, T, out]`.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let y = x.reshape([b * t, width]).matmul(self.weight.base());
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

    /// Ids `[B, T]` to vectors `[B, T, D]`.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = ids.dims();
        let rows = self.weight.base().select(0, ids.reshape([b * t]));
        let width = rows.dims()[1];
        rows.reshape([b, t, width])
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

    pub(crate) fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        afd_backend::ops::rms_norm(x, self.weight.base(), self.eps)
    }
}
