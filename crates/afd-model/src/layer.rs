//! One layer of the decoder: attention, the feed-forward block and the norms around them.

use std::sync::Arc;

use afd_backend::ops::{Mask, Prefix, ScoreOptions, attention, rotate, swiglu};
use burn::{Tensor, module::Module, tensor::FloatDType};

use crate::{
    Activation, DecoderConfig, Error, Residual,
    cache::LayerCache,
    layers::{Linear, Norm},
    weights::Weights,
};

#[derive(Module, Debug)]
pub(crate) struct Layer {
    input_layernorm: Norm,
    self_attn: Attention,
    /// Before the feed-forward block; after attention in a sandwich.
    post_attention_layernorm: Norm,
    pre_feedforward_layernorm: Option<Norm>,
    mlp: Mlp,
    post_feedforward_layernorm: Option<Norm>,
    #[module(skip)]
    residual: Residual,
    /// Whether it looks through a window.
    pub(crate) slides: bool,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    o_proj: Linear,
    head_dim: usize,
    #[module(skip)]
    scores: ScoreOptions,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Option<Linear>,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

/// Cosines and sines, each `[B or 1, T, 1, d/2]`.
pub(crate) type Angles = (Tensor<4>, Tensor<4>);

/// Where tokens stand and what they see: in layers without a window, and in those with one.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) angles: [Option<Angles>; 2],
    pub(crate) masks: [Option<Mask>; 2],
    /// What rows have in common, where that is known.
    pub(crate) prefixes: Option<Arc<[Prefix]>>,
}

impl Layer {
    pub(crate) fn new(
        c: &DecoderConfig,
        weights: &Weights<'_>,
        index: usize,
    ) -> Result<Self, Error> {
        let name = format!("model.layers.{index}");
        let norm = |part: &str| Norm::new(c, weights, &format!("{name}.{part}"), c.hidden_size);
        let sandwich = |part: &str| {
            let there = c.residual == Residual::Sandwich;
            there.then(|| norm(part)).transpose()
        };
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention::new(c, weights, &format!("{name}.self_attn"))?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            pre_feedforward_layernorm: sandwich("pre_feedforward_layernorm")?,
            mlp: Mlp::new(c, weights, &format!("{name}.mlp"))?,
            post_feedforward_layernorm: sandwich("post_feedforward_layernorm")?,
            residual: c.residual,
            slides: c.window(index).is_some(),
        })
    }

    /// The linear layers, with their names within this one.
    pub(crate) fn linears(&self) -> impl Iterator<Item = (&'static str, &Linear)> {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        let all = [
            ("self_attn.q_proj", Some(&attention.q_proj)),
            ("self_attn.k_proj", Some(&attention.k_proj)),
            ("self_attn.v_proj", Some(&attention.v_proj)),
            ("self_attn.o_proj", Some(&attention.o_proj)),
            ("mlp.gate_proj", mlp.gate_proj.as_ref()),
            ("mlp.up_proj", Some(&mlp.up_proj)),
            ("mlp.down_proj", Some(&mlp.down_proj)),
        ];
        all.into_iter()
            .filter_map(|(name, linear)| Some((name, linear?)))
    }

    /// The same, to be changed.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        let all = [
            Some(&mut attention.q_proj),
            Some(&mut attention.k_proj),
            Some(&mut attention.v_proj),
            Some(&mut attention.o_proj),
            mlp.gate_proj.as_mut(),
            Some(&mut mlp.up_proj),
            Some(&mut mlp.down_proj),
        ];
        all.into_iter().flatten()
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        surroundings: &Surroundings,
        cache: Option<(&mut LayerCache, usize)>,
    ) -> Tensor<3> {
        let normed = self.input_layernorm.forward(x.clone());
        let attended = self
            .self_attn
            .forward(normed, surroundings, self.slides, cache);
        let attended = attended.cast(FloatDType::F32);
        let mlp = |x: Tensor<3>| self.mlp.forward(x).cast(FloatDType::F32);
        let after_attention = &self.post_attention_layernorm;
        match self.residual {
            Residual::Sequential => {
                let x = x + attended;
                x.clone() + mlp(after_attention.forward(x))
            }
            Residual::Parallel => {
                let fed = mlp(after_attention.forward(x.clone()));
                x + attended + fed
            }
            Residual::Sandwich => {
                let x = x + after_attention.forward(attended);
                x.clone()
                    + normed_by(&self.post_feedforward_layernorm, {
                        mlp(normed_by(&self.pre_feedforward_layernorm, x))
                    })
            }
        }
    }
}

/// `norm(x)`, where there is one.
fn normed_by<const R: usize>(norm: &Option<Norm>, x: Tensor<R>) -> Tensor<R> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

impl Attention {
    fn new(c: &DecoderConfig, weights: &Weights<'_>, name: &str) -> Result<Self, Error> {
        let std = c.initializer_range;
        let q = c.num_attention_heads * c.head_dim;
        let kv = c.num_key_value_heads * c.head_dim;
        let linear = |part: &str, input, output, bias| {
            Linear::new(
                weights,
                &format!("{name}.{part}"),
                [input, output],
                bias,
                std,
            )
        };
        let norm = |part: &str| {
            c.qk_norm
                .then(|| Norm::new(c, weights, &format!("{name}.{part}"), c.head_dim))
                .transpose()
        };
        Ok(Self {
            q_proj: linear("q_proj", c.hidden_size, q, c.qkv_bias)?,
            k_proj: linear("k_proj", c.hidden_size, kv, c.qkv_bias)?,
            v_proj: linear("v_proj", c.hidden_size, kv, c.qkv_bias)?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            o_proj: linear("o_proj", q, c.hidden_size, c.attention_output_bias)?,
            head_dim: c.head_dim,
            scores: ScoreOptions {
                scale: c.query_pre_attn_scalar.sqrt().recip(),
                softcap: c.attn_logit_softcapping,
            },
        })
    }

    fn forward(
        &self,
        x: Tensor<3>,
        surroundings: &Surroundings,
        slides: bool,
        cache: Option<(&mut LayerCache, usize)>,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let kind = usize::from(slides);
        let (angles, mask) = (&surroundings.angles[kind], &surroundings.masks[kind]);
        let prefixes = &surroundings.prefixes;
        let heads = |projected: Tensor<3>| {
            let count = projected.dims()[2] / self.head_dim;
            projected.reshape([b, t, count, self.head_dim])
        };
        let turned = |projected: Tensor<3>, norm: &Option<Norm>| {
            let x = heads(projected);
            let dtype = x.dtype();
            let x = match norm {
                Some(norm) => norm.forward(x.cast(FloatDType::F32)).cast(dtype),
                None => x,
            };
            match angles {
                Some(angles) => rotate(x, angles.clone()),
                None => x,
            }
        };
        let q = turned(self.q_proj.forward(x.clone()), &self.q_norm);
        let k = turned(self.k_proj.forward(x.clone()), &self.k_norm).swap_dims(1, 2);
        let v = heads(self.v_proj.forward(x)).swap_dims(1, 2);
        let (k, v) = match cache {
            Some((layer, past)) => layer.append(past, k, v),
            None => (k, v),
        };
        let attended = attention(q, k, v, mask.clone(), prefixes.clone(), self.scores);
        self.o_proj.forward(attended)
    }
}

impl Mlp {
    fn new(c: &DecoderConfig, weights: &Weights<'_>, name: &str) -> Result<Self, Error> {
        let linear = |part: &str, shape| {
            let name = format!("{name}.{part}");
            Linear::new(weights, &name, shape, c.mlp_bias, c.initializer_range)
        };
        let (narrow, wide) = (c.hidden_size, c.intermediate_size);
        let gate_proj = c.gated_mlp.then(|| linear("gate_proj", [narrow, wide]));
        Ok(Self {
            gate_proj: gate_proj.transpose()?,
            up_proj: linear("up_proj", [narrow, wide])?,
            down_proj: linear("down_proj", [wide, narrow])?,
            activation: c.activation,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let up = self.up_proj.forward(x.clone());
        let inner = match &self.gate_proj {
            Some(gate) if self.activation == Activation::Silu => swiglu(gate.forward(x), up),
            Some(gate) => self.activation.of(gate.forward(x)) * up,
            None => self.activation.of(up),
        };
        self.down_proj.forward(inner)
    }
}
