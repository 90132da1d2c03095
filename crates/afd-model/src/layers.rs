//! The small modules a decoder is made of.

use afd_backend::ops::{
    Gelu, PackedWeight, activation_dtype, gelu, layer_norm, matmul, rms_norm, rows,
};
use burn::{
    Tensor,
    module::{LoraAdapter, Module, Param, Reparameterization},
    tensor::{FloatDType, Int, activation::silu},
};

use crate::{
    Activation, DecoderConfig, Error, NormKind,
    lora::{AdapterUse, AdaptersOn, low_rank},
    weights::{Init, Weights},
};

/// `x · weight + bias`; `weight` is `[in, out]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) compute: FloatDType,
    /// The weight as products take it, while it does not change.
    #[module(skip)]
    pub(crate) packed: Option<PackedWeight>,
    /// An adapter between `weight` and the one that is learned on it. It is part of the frozen model.
    #[module(skip)]
    pub(crate) frozen_adapter: Option<LoraAdapter>,
    /// How the adapters are used, if there are any.
    #[module(skip)]
    pub(crate) adapter: AdapterUse,
}

impl Linear {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        shape: [usize; 2],
        bias: bool,
        std: f64,
    ) -> Result<Self, Error> {
        let weight = weights.matrix(&format!("{name}.weight"), shape, Init::Normal(std))?;
        let bias = bias
            .then(|| weights.param(&format!("{name}.bias"), [shape[1]], Init::Zeros))
            .transpose()?;
        let compute = weights.placement.compute();
        Ok(Self {
            weight,
            bias,
            compute,
            packed: None,
            frozen_adapter: None,
            adapter: AdapterUse::default(),
        })
    }

    /// A layer from `width` to one number, for [`crate::SequenceClassifier`] to multiply by in f32
    /// whatever the other layers compute in.
    pub(crate) fn score_head(weights: &Weights<'_>, width: usize) -> Result<Self, Error> {
        let std = 1.0 / ((width + 1) as f64).sqrt();
        Ok(Self {
            weight: weights.score_head("score.weight", [width, 1], Init::Normal(std))?,
            bias: None,
            compute: FloatDType::F32,
            packed: None,
            frozen_adapter: None,
            adapter: AdapterUse::default(),
        })
    }

    /// Lays the weight out for decoding, where the device wants that. It is not to change afterwards.
    pub(crate) fn pack(&mut self) {
        if self.packed.is_none() {
            self.packed = PackedWeight::new(self.weight.base(), self.compute);
        }
    }

    /// `[B, T, in]` in any type to `[B, T, out]` in the type of activations.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let dtype = activation_dtype(&x.device(), self.compute);
        let x = x.cast(dtype).reshape([b * t, width]);
        let y = match &self.packed {
            Some(weight) => weight.multiply(x.clone()),
            None => matmul(x.clone(), self.weight.base(), self.compute),
        };
        // Not by `val()`, which would build the dense product and keep it for the backward pass.
        let y = match &self.frozen_adapter {
            Some(adapter) if self.adapter.on != AdaptersOn::None => {
                y + low_rank(adapter, x.clone(), None)
            }
            _ => y,
        };
        let y = match self.weight.adapter() {
            Some(adapter) if self.adapter.on == AdaptersOn::All => {
                y + low_rank(adapter, x, self.adapter.dropout)
            }
            _ => y,
        };
        let y = match &self.bias {
            Some(bias) => y + bias.base().cast(dtype).unsqueeze::<2>(),
            None => y,
        };
        let out = y.dims()[1];
        y.reshape([b, t, out])
    }

    /// Whether it has adapters, learned or frozen.
    pub(crate) fn is_adapted(&self) -> bool {
        self.frozen_adapter.is_some() || self.weight.adapter().is_some()
    }

    /// `weight` with all its adapters added, in f32 if there are any.
    pub(crate) fn merged(&self) -> Tensor<2> {
        let adapters = [self.frozen_adapter.as_ref(), self.weight.adapter()];
        let adapters = adapters.into_iter().flatten();
        adapters.fold(self.weight.base(), |base, adapter| adapter.apply(base))
    }
}

/// A table of vectors, `weight` `[V, D]`: one for each token, or for each position.
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
        let vectors = rows(self.weight.base(), ids.reshape([b * t]));
        let width = vectors.dims()[1];
        vectors.cast(FloatDType::F32).reshape([b, t, width])
    }

    /// `length` vectors from `start` on, `[1, length, D]` in f32.
    pub(crate) fn range(&self, start: usize, length: usize) -> Tensor<3> {
        let rows = self.weight.base().narrow(0, start, length);
        rows.cast(FloatDType::F32).unsqueeze::<3>()
    }
}

/// Normalisation with a learned scale, `weight` `[D]`, and for some kinds a `bias`.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    weight: Param<Tensor<1>>,
    bias: Option<Param<Tensor<1>>>,
    eps: f64,
    #[module(skip)]
    kind: NormKind,
}

impl Norm {
    pub(crate) fn new(
        config: &DecoderConfig,
        weights: &Weights<'_>,
        name: &str,
        width: usize,
    ) -> Result<Self, Error> {
        let kind = config.norm;
        let init = match kind {
            NormKind::RmsOffset => Init::Zeros,
            NormKind::Rms | NormKind::Layer => Init::Ones,
        };
        let bias = (kind == NormKind::Layer)
            .then(|| weights.param(&format!("{name}.bias"), [width], Init::Zeros))
            .transpose()?;
        Ok(Self {
            weight: weights.param(&format!("{name}.weight"), [width], init)?,
            bias,
            eps: config.norm_eps,
            kind,
        })
    }

    /// f32 to f32.
    pub(crate) fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let weight = self.weight.base().cast(FloatDType::F32);
        let weight = match self.kind {
            NormKind::RmsOffset => weight + 1.0,
            NormKind::Rms | NormKind::Layer => weight,
        };
        match &self.bias {
            Some(bias) => layer_norm(x, weight, bias.base().cast(FloatDType::F32), self.eps),
            None => rms_norm(x, weight, self.eps),
        }
    }
}

impl Activation {
    pub(crate) fn of(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Silu => silu(x),
            Self::Gelu => gelu(x, Gelu::Exact),
            Self::GeluTanh => gelu(x, Gelu::Tanh),
        }
    }
}
