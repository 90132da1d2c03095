//! The decoder every family shares: token ids in, hidden states out.

use afd_backend::{
    ops::{Mask, RotaryTable, cached_mask, causal_mask, packed_mask},
    recompute,
};
use burn::{
    Tensor,
    module::Module,
    tensor::{Device, FloatDType, Int},
};

use crate::{
    DecoderConfig, Error, KvCache, LoraConfig, Rope,
    cache::LayerCache,
    layer::{Angles, Layer, Surroundings},
    layers::{Embedding, Linear, Norm},
    lora::AdaptersOn,
    sequences::index_tensor,
    weights::{Weights, name_hash},
};

/// A causal decoder. Its parts are called as in Llama, which most families follow.
#[derive(Module, Debug)]
pub struct Decoder {
    pub(crate) embed_tokens: Embedding,
    /// Learned positions, where they are not turned.
    embed_positions: Option<Embedding>,
    layers: Vec<Layer>,
    norm: Norm,
    #[module(skip)]
    config: DecoderConfig,
    #[module(skip)]
    rotary: Option<Rotary>,
    /// Of layers with a window, where they turn otherwise.
    #[module(skip)]
    local_rotary: Option<Rotary>,
    /// What the head computes in, as linear layers do.
    #[module(skip)]
    compute: FloatDType,
    /// What attention computes in.
    #[module(skip)]
    activations: FloatDType,
    #[module(skip)]
    gradient_checkpointing: bool,
    /// What adapters there are, and the name of the model they are on.
    #[module(skip)]
    adapters: Option<(LoraConfig, String)>,
}

/// A way to turn positions, with a table of its angles.
#[derive(Debug, Clone)]
struct Rotary {
    rope: Rope,
    table: RotaryTable,
}

impl Rotary {
    fn new(rope: &Rope, positions: usize, device: &Device) -> Self {
        let positions = rope.fixed_until().unwrap_or(positions);
        Self {
            table: RotaryTable::new(positions, &rope.frequencies(positions), device),
            rope: rope.clone(),
        }
    }

    /// The table for texts of `length` tokens.
    fn table(&self, length: usize, device: &Device) -> RotaryTable {
        match self.rope.fixed_until() {
            Some(until) if length > until => {
                RotaryTable::new(length, &self.rope.frequencies(length), device)
            }
            _ => self.table.clone(),
        }
    }
}

impl Decoder {
    pub(crate) fn new(config: DecoderConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (c, std) = (&config, config.initializer_range);
        let device = &weights.placement.device;
        let embedding = |name: &str, rows: usize| {
            Embedding::new(
                weights,
                &format!("model.{name}"),
                [rows, c.hidden_size],
                std,
            )
        };
        let rotary = |rope: &Rope| Rotary::new(rope, c.max_position_embeddings, device);
        Ok(Self {
            embed_tokens: embedding("embed_tokens", c.vocab_size)?,
            embed_positions: match c.rope {
                Some(_) => None,
                None => Some(embedding("embed_positions", c.max_position_embeddings)?),
            },
            layers: (0..c.num_hidden_layers)
                .map(|index| Layer::new(c, weights, index))
                .collect::<Result<_, _>>()?,
            norm: Norm::new(c, weights, "model.norm", c.hidden_size)?,
            rotary: c.rope.as_ref().map(rotary),
            local_rotary: c.local_rope.as_ref().map(rotary),
            compute: weights.placement.compute(),
            activations: weights.placement.activations(),
            gradient_checkpointing: false,
            adapters: None,
            config,
        })
    }

    /// What the head computes in, as linear layers do.
    pub(crate) fn compute(&self) -> FloatDType {
        self.compute
    }

    /// What attention computes in.
    pub(crate) fn activations(&self) -> FloatDType {
        self.activations
    }

    /// The same decoder, its weights laid out for many products. To be dropped before they change.
    pub(crate) fn packed(&self) -> Self {
        let mut packed = self.clone();
        packed.linears_mut().for_each(Linear::pack);
        packed
    }

    /// Whether a backward pass computes the activations of each layer again from its input
    /// instead of keeping them: about a third more work, and memory for one hidden state per
    /// layer. The gradients are the same.
    pub fn set_gradient_checkpointing(&mut self, on: bool) {
        self.gradient_checkpointing = on;
    }

    /// What adapters there are, if any, and the name of the model they are on.
    pub fn adapters(&self) -> Option<&(LoraConfig, String)> {
        self.adapters.as_ref()
    }

    pub(crate) fn set_adapters(&mut self, adapters: Option<(LoraConfig, String)>) {
        self.adapters = adapters;
    }

    pub(crate) fn set_adapters_on(&mut self, on: AdaptersOn) {
        for linear in self.linears_mut() {
            linear.adapter.on = on;
        }
    }

    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(Layer::linears_mut)
    }

    /// All linear layers, by the names of their matrices.
    pub(crate) fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        self.layers.iter().enumerate().flat_map(|(index, layer)| {
            let named =
                move |(name, linear)| (format!("model.layers.{index}.{name}.weight"), linear);
            layer.linears().map(named)
        })
    }

    /// What the dropout of adapters draws from; nothing is dropped by `None`.
    pub(crate) fn set_dropout(&mut self, seed: Option<u64>) {
        let share = self
            .adapters
            .as_ref()
            .map_or(0.0, |(lora, _)| lora.lora_dropout);
        for (index, linear) in self.linears_mut().enumerate() {
            let seed = seed.map(|seed| name_hash(&format!("{seed}.{index}")));
            linear.adapter.dropout = seed.filter(|_| share > 0.0).map(|seed| (share, seed));
        }
    }

    /// The shape of this decoder.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    pub(crate) fn set_end_tokens(&mut self, ids: &[u32]) {
        self.config.eos_token_ids = ids.to_vec();
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
        self.run(self.embed(ids, 0), self.following(0, length), None)
    }

    /// Like [`Self::forward`] for rows padded anywhere, or of several texts, which do not see each
    /// other: `positions` holds the place of each token in its own text, row by row, as [`packed_mask`]
    /// wants it. That mask holds `B·T·T` numbers, where [`Self::forward`]'s holds `T·T`.
    pub fn forward_packed(&self, ids: Tensor<2, Int>, positions: &[usize]) -> Tensor<3> {
        let ([_, length], device) = (ids.dims(), self.plain_device());
        let (x, places) = self.embed_at(ids, positions.iter().copied());
        let longest = positions.iter().max().map_or(0, |last| last + 1);
        let surroundings = self.surroundings(
            length,
            |rotary| rotary.table(longest, &device).gather(places.clone()),
            |window| Some(packed_mask(positions, length, window, &device)),
        );
        self.run(x, surroundings, None)
    }

    /// Hidden states of the next tokens `[B, T]` of sequences in `cache`, which is extended.
    ///
    /// # Panics
    /// When the cache has no room left for `T` tokens.
    pub fn forward_cached(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let (past, length) = (cache.len(), ids.dims()[1]);
        let (x, mut surroundings) = match cache.is_ragged() {
            false => (self.embed(ids, past), self.following(past, length)),
            true => self.following_ragged(ids, cache),
        };
        surroundings.prefixes = cache.prefixes();
        let hidden = self.run(x, surroundings, Some(cache));
        cache.advance(length);
        hidden
    }

    /// What enters the first layer, and its surroundings, where rows of `cache` begin at columns of
    /// their own. Not for angles that depend on the length of a text.
    fn following_ragged(&self, ids: Tensor<2, Int>, cache: &KvCache) -> (Tensor<3>, Surroundings) {
        let (past, length, device) = (cache.len(), ids.dims()[1], self.plain_device());
        let starts = cache.starts();
        let columns = |start: &usize| {
            let start = *start;
            (past..past + length).map(move |column| column.saturating_sub(start))
        };
        let (x, places) = self.embed_at(ids, starts.iter().flat_map(columns));
        let surroundings = self.surroundings(
            past + length,
            |rotary| rotary.table.gather(places.clone()),
            |window| Some(cached_mask(starts, past, length, window, &device)),
        );
        (x, surroundings)
    }

    /// Hidden states of texts `prefixes` `[G, P]`, and of what follows them: row `r` of `rests` `[R, T]`
    /// follows prefix `of[r]`. Keys and values of one layer are held at a time.
    pub(crate) fn forward_sharing(
        &self,
        prefixes: Tensor<2, Int>,
        rests: Tensor<2, Int>,
        of: &Tensor<1, Int>,
    ) -> (Tensor<3>, Tensor<3>) {
        let ([groups, prefix], [_, length]) = (prefixes.dims(), rests.dims());
        let (before, behind) = (self.following(0, prefix), self.following(prefix, length));
        let (mut x, mut y) = (self.embed(prefixes, 0), self.embed(rests, prefix));
        for layer in &self.layers {
            let mut cache = LayerCache::new(self, groups, prefix + length);
            x = layer.forward(x, &before, Some((&mut cache, 0)));
            cache.select(of.clone());
            y = layer.forward(y, &behind, Some((&mut cache, prefix)));
        }
        (self.norm.forward(x), self.norm.forward(y))
    }

    /// What enters the first layer: ids `[B, T]` at positions from `start` on.
    fn embed(&self, ids: Tensor<2, Int>, start: usize) -> Tensor<3> {
        let length = ids.dims()[1];
        let x = self.embed_ids(ids);
        match &self.embed_positions {
            Some(learned) => x + learned.range(start, length),
            None => x,
        }
    }

    /// What enters the first layer: ids `[B, T]` at these positions, row by row, which are returned as
    /// a tensor too.
    fn embed_at(
        &self,
        ids: Tensor<2, Int>,
        positions: impl Iterator<Item = usize>,
    ) -> (Tensor<3>, Tensor<2, Int>) {
        let places = index_tensor(positions, &self.plain_device()).reshape(ids.dims());
        let x = self.embed_ids(ids);
        let x = match &self.embed_positions {
            Some(learned) => x + learned.forward(places.clone()),
            None => x,
        };
        (x, places)
    }

    fn embed_ids(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed_tokens.forward(ids);
        match self.config.embedding_scale {
            1.0 => x,
            scale => x * scale,
        }
    }

    /// The surroundings of `length` tokens that follow `past` ones in every row.
    fn following(&self, past: usize, length: usize) -> Surroundings {
        let device = self.plain_device();
        let total = past + length;
        self.surroundings(
            total,
            |rotary| rotary.table(total, &device).range(past, length),
            |window| {
                // A single token sees every cached one, but for those behind its window.
                let hides = length > 1 || window.is_some();
                hides.then(|| causal_mask(past, length, window, &device))
            },
        )
    }

    /// The surroundings of texts of `length` tokens, padding included. `mask` is asked for a window
    /// only where it hides something.
    fn surroundings(
        &self,
        length: usize,
        angles: impl Fn(&Rotary) -> Angles,
        mask: impl Fn(Option<usize>) -> Option<Mask>,
    ) -> Surroundings {
        let angles = |rotary: &Rotary| {
            let (cos, sin) = angles(rotary);
            (cos.cast(self.activations), sin.cast(self.activations))
        };
        let global = self.rotary.as_ref().map(&angles);
        let local = self.local_rotary.as_ref().map(&angles);
        let has = |slides: bool| self.layers.iter().any(|layer| layer.slides == slides);
        let window = self.config.sliding_window;
        let window = window.filter(|window| has(true) && *window < length);
        let whole = match has(false) || window.is_none() {
            true => mask(None),
            false => None,
        };
        let local_mask = match window {
            Some(_) => mask(window),
            None => whole.clone(),
        };
        Surroundings {
            angles: [global.clone(), local.or(global)],
            masks: [whole, local_mask],
            prefixes: None,
        }
    }

    /// Masks and angles are constants: they live on the plain device and mix with tracked tensors.
    fn plain_device(&self) -> Device {
        self.device().inner()
    }

    fn run(
        &self,
        mut x: Tensor<3>,
        surroundings: Surroundings,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let slot = cache.as_mut().map(|cache| (cache.layer(index), past));
            x = match slot {
                None if self.gradient_checkpointing => {
                    let surroundings = surroundings.clone();
                    let forward = move |layer: &Layer, x| layer.forward(x, &surroundings, None);
                    recompute(layer, x, forward)
                }
                slot => layer.forward(x, &surroundings, slot),
            };
        }
        self.norm.forward(x)
    }
}
