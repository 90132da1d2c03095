//! The decoder every family shares: token ids in, hidden states out.

use afd_backend::{
    ops::{Mask, RotaryTable, attention, causal_mask, rotate},
    recompute,
};
use burn::{
    Tensor,
    module::Module,
    tensor::{Device, FloatDType, Int, activation::silu},
};

use crate::{
    DecoderConfig, Error, KvCache,
    cache::LayerCache,
    layers::{Embedding, Linear, RmsNorm},
    weights::Weights,
};

/// Embedding, layers and the final norm.
#[derive(Module, Debug)]
pub struct Decoder {
    pub(crate) embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    #[module(skip)]
    config: DecoderConfig,
    #[module(skip)]
    rotary: RotaryTable,
    /// What linear layers and attention compute in.
    #[module(skip)]
    compute: FloatDType,
    #[module(skip)]
    gradient_checkpointing: bool,
}

#[derive(Module, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    head_dim: usize,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// Cosines and sines, each `[B or 1, T, 1, d/2]`.
type Angles = (Tensor<4>, Tensor<4>);

impl Decoder {
    pub(crate) fn new(config: DecoderConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (c, std) = (&config, config.initializer_range);
        let embed_tokens = Embedding::new(
            weights,
            "model.embed_tokens",
            [c.vocab_size, c.hidden_size],
            std,
        )?;
        let layers = (0..c.num_hidden_layers)
            .map(|index| Layer::new(c, weights, &format!("model.layers.{index}")))
            .collect::<Result<_, _>>()?;
        let norm = RmsNorm::new(weights, "model.norm", c.hidden_size, c.rms_norm_eps)?;
        let rotary = RotaryTable::new(
            c.max_position_embeddings,
            c.head_dim,
            c.rope_theta,
            &weights.placement.device,
        );
        Ok(Self {
            embed_tokens,
            layers,
            norm,
            config,
            rotary,
            compute: weights.placement.compute(),
            gradient_checkpointing: false,
        })
    }

    /// What linear layers and attention compute in.
    pub(crate) fn compute(&self) -> FloatDType {
        self.compute
    }

    /// Whether a backward pass computes the activations of each layer again from its input
    /// instead of keeping them: about a third more work, and memory for one hidden state per
    /// layer. The gradients are the same.
    pub fn set_gradient_checkpointing(&mut self, on: bool) {
        self.gradient_checkpointing = on;
    }

    /// The shape of this decoder.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    pub(crate) fn set_pad_token(&mut self, id: u32) {
        self.config.pad_token_id.get_or_insert(id);
    }

    /// The device the weights live on.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.base().device()
    }

    /// Hidden states `[B, T, D]` of ids `[B, T]` whose rows start at position 0 and are
    /// padded, if at all, on the right (real tokens never look at padding to their right).
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let length = ids.dims()[1];
        let mask = causal_mask(0, length, &self.rotary_device());
        self.run(ids, self.rotary.range(0, length), Some(mask), None)
    }

    /// Like [`Self::forward`] for rows padded anywhere: `positions` is `[B, T]`, the mask as
    /// [`afd_backend::ops::padding_mask`] makes it.
    pub fn forward_masked(
        &self,
        ids: Tensor<2, Int>,
        positions: Tensor<2, Int>,
        mask: Mask,
    ) -> Tensor<3> {
        self.run(ids, self.rotary.gather(positions), Some(mask), None)
    }

    /// Hidden states of the next tokens `[B, T]` of sequences in `cache`, which is extended.
    ///
    /// # Panics
    /// When the cache has no room left for `T` tokens.
    pub fn forward_cached(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let (past, length) = (cache.len(), ids.dims()[1]);
        // A single new token sees every cached one: nothing to mask.
        let mask = (length > 1).then(|| causal_mask(past, length, &self.rotary_device()));
        let angles = self.rotary.range(past, length);
        let hidden = self.run(ids, angles, mask, Some(cache));
        cache.advance(length);
        hidden
    }

    /// Masks and angles are constants: they live on the plain device and mix with tracked tensors.
    fn rotary_device(&self) -> Device {
        self.device().inner()
    }

    fn run(
        &self,
        ids: Tensor<2, Int>,
        angles: Angles,
        mask: Option<Mask>,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let mut x = self.embed_tokens.forward(ids);
        let angles = (angles.0.cast(self.compute), angles.1.cast(self.compute));
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let slot = cache.as_mut().map(|cache| (cache.layer(index), past));
            x = match slot {
                None if self.gradient_checkpointing => {
                    let (angles, mask) = (angles.clone(), mask.clone());
                    let forward =
                        move |layer: &Layer, x| layer.forward(x, &angles, mask.as_ref(), None);
                    recompute(layer, x, forward)
                }
                slot => layer.forward(x, &angles, mask.as_ref(), slot),
            };
        }
        self.norm.forward(x)
    }
}

impl Layer {
    fn new(c: &DecoderConfig, weights: &Weights<'_>, name: &str) -> Result<Self, Error> {
        let norm = |part: &str| {
            RmsNorm::new(
                weights,
                &format!("{name}.{part}"),
                c.hidden_size,
                c.rms_norm_eps,
            )
        };
        let linear = |part: &str, input, output| {
            let name = format!("{name}.{part}");
            Linear::new(weights, &name, [input, output], c.initializer_range)
        };
        let (d, q) = (c.hidden_size, c.num_attention_heads * c.head_dim);
        let kv = c.num_key_value_heads * c.head_dim;
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention {
                q_proj: linear("self_attn.q_proj", d, q)?,
                k_proj: linear("self_attn.k_proj", d, kv)?,
                v_proj: linear("self_attn.v_proj", d, kv)?,
                o_proj: linear("self_attn.o_proj", q, d)?,
                head_dim: c.head_dim,
            },
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp: Mlp {
                gate_proj: linear("mlp.gate_proj", d, c.intermediate_size)?,
                up_proj: linear("mlp.up_proj", d, c.intermediate_size)?,
                down_proj: linear("mlp.down_proj", c.intermediate_size, d)?,
            },
        })
    }

    fn forward(
        &self,
        x: Tensor<3>,
        angles: &Angles,
        mask: Option<&Mask>,
        cache: Option<(&mut LayerCache, usize)>,
    ) -> Tensor<3> {
        let normed = self.input_layernorm.forward(x.clone());
        let attended = self.self_attn.forward(normed, angles, mask, cache);
        let x = x + attended.cast(FloatDType::F32);
        let normed = self.post_attention_layernorm.forward(x.clone());
        x + self.mlp.forward(normed).cast(FloatDType::F32)
    }
}

impl Attention {
    fn forward(
        &self,
        x: Tensor<3>,
        angles: &Angles,
        mask: Option<&Mask>,
        cache: Option<(&mut LayerCache, usize)>,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let heads = |projected: Tensor<3>| {
            let count = projected.dims()[2] / self.head_dim;
            projected.reshape([b, t, count, self.head_dim])
        };
        let q = rotate(heads(self.q_proj.forward(x.clone())), angles.clone());
        let k = rotate(heads(self.k_proj.forward(x.clone())), angles.clone()).swap_dims(1, 2);
        let v = heads(self.v_proj.forward(x)).swap_dims(1, 2);
        let (k, v) = match cache {
            Some((layer, past)) => layer.append(past, k, v),
            None => (k, v),
        };
        self.o_proj.forward(attention(q, k, v, mask.cloned()))
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}
