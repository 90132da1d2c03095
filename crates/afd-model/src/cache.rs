//! Keys and values of the tokens already seen, in buffers allocated once.

use burn::{Tensor, tensor::Int};

use crate::Decoder;

/// Per layer, `[rows, K, capacity, d]` keys and values, of which the first `len` tokens
/// are filled. All rows have the same length.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// Room for `capacity` tokens in each of `rows` sequences of `decoder`, in the type its
    /// attention computes in.
    pub fn new(decoder: &Decoder, rows: usize, capacity: usize) -> Self {
        let layer = |_| LayerCache::new(decoder, rows, capacity);
        Self {
            layers: (0..decoder.config().num_hidden_layers).map(layer).collect(),
            len: 0,
        }
    }

    /// Number of tokens each row holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has been seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps `rows` in this order; a row may be named more than once, which is how the
    /// answers to one prompt share its prefill.
    pub fn select(&mut self, rows: Tensor<1, Int>) {
        for layer in &mut self.layers {
            layer.select(rows.clone());
        }
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

impl LayerCache {
    pub(crate) fn new(decoder: &Decoder, rows: usize, capacity: usize) -> Self {
        let (config, device, dtype) = (decoder.config(), decoder.device(), decoder.activations());
        let shape = [rows, config.num_key_value_heads, capacity, config.head_dim];
        let zeros = || Some(Tensor::zeros(shape, (&device, dtype.into())));
        Self {
            keys: zeros(),
            values: zeros(),
        }
    }

    /// As [`KvCache::select`].
    pub(crate) fn select(&mut self, rows: Tensor<1, Int>) {
        for slot in [&mut self.keys, &mut self.values] {
            *slot = slot.take().map(|tensor| tensor.select(0, rows.clone()));
        }
    }

    /// Writes `[rows, K, T, d]` keys and values behind the first `past` tokens and returns
    /// everything up to and including them.
    pub(crate) fn append(
        &mut self,
        past: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        (
            write(&mut self.keys, past, keys),
            write(&mut self.values, past, values),
        )
    }
}

/// The buffer is moved out and back, so that it has one owner and is written in place.
fn write(slot: &mut Option<Tensor<4>>, past: usize, new: Tensor<4>) -> Tensor<4> {
    let [rows, heads, tokens, width] = new.dims();
    let end = past + tokens;
    match slot.take() {
        Some(buffer) => {
            let dtype = buffer.dtype();
            let buffer =
                buffer.slice_assign([0..rows, 0..heads, past..end, 0..width], new.cast(dtype));
            let filled = buffer.clone().narrow(2, 0, end);
            *slot = Some(buffer);
            filled
        }
        None => new,
    }
}
