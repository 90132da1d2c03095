//! Scaled dot-product attention with grouped queries, additive masks and soft caps.

use std::ops::RangeInclusive;

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData, activation::softmax},
};

use super::cap;

/// What a masked score is lowered by: far below any real score, yet finite, so that a
/// row with nothing to attend to gives numbers nobody reads instead of NaN.
const MASKED: f32 = -1e9;

/// An additive mask, `[B or 1, 1, Tq, Tk]`: 0 where a query may look, very low where not.
pub type Mask = Tensor<4>;

/// How the product of a query and a key becomes a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOptions {
    /// What it is multiplied by; `1/√d` in most models.
    pub scale: f64,
    /// `c` in `c·tanh(score/c)`, which keeps scores within `±c`; before the mask is added.
    pub softcap: Option<f64>,
}

impl ScoreOptions {
    /// `1/√d` for heads of width `d`, and no cap.
    pub fn of_width(d: usize) -> Self {
        Self {
            scale: (d as f64).sqrt().recip(),
            softcap: None,
        }
    }
}

/// `softmax(cap(q·kᵀ·scale) + mask)·v`.
///
/// `q` is `[B, Tq, H, d]`; `k` and `v` are `[B, K, Tk, d]` with `H` a multiple of `K`
/// (query head `h` reads key/value head `h / (H/K)`); the result is `[B, Tq, H·d]`.
/// Without a mask every query sees every key: what decoding one token wants.
///
/// All three have one type, and so has the result; the mask and the softmax are f32.
///
/// # Panics
/// When `H` is not a multiple of `K` or the shapes disagree.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Mask>,
    options: ScoreOptions,
) -> Tensor<3> {
    let [b, tq, h, d] = q.dims();
    let [_, kv, tk, _] = k.dims();
    assert!(h.is_multiple_of(kv), "{h} heads over {kv} key/value heads");
    let group = h / kv;
    // The queries of one key/value head stand below each other, so keys are never copied per head.
    let q = q
        .swap_dims(1, 2)
        .reshape([b, kv, group * tq, d])
        .mul_scalar(options.scale);
    let dtype = q.dtype();
    let mut scores = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32);
    scores = cap(scores, options.softcap);
    if let Some(mask) = mask {
        scores = (scores.reshape([b, h, tq, tk]) + mask).reshape([b, kv, group * tq, tk]);
    }
    softmax(scores, 3)
        .cast(dtype)
        .matmul(v)
        .reshape([b, h, tq, d])
        .swap_dims(1, 2)
        .reshape([b, tq, h * d])
}

/// The mask of `length` new tokens after `past` cached ones: `[1, 1, length, past + length]`.
///
/// Bottom-right aligned: the last query sees the last key. With a `window` a query sees that many
/// keys, its own among them; without, all up to its own.
pub fn causal_mask(past: usize, length: usize, window: Option<usize>, device: &Device) -> Mask {
    let total = past + length;
    let mut values = vec![MASKED; length * total];
    for (query, keys) in values.chunks_mut(total).enumerate() {
        keys[visible(past + query, window)].fill(0.0);
    }
    Tensor::from_data(TensorData::new(values, [1, 1, length, total]), device)
}

/// The keys that a query at `position` sees.
fn visible(position: usize, window: Option<usize>) -> RangeInclusive<usize> {
    let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
    first..=position
}

/// A causal mask that also hides padding: `present[b·T + t]` says whether token `t` of
/// sequence `b` is real, and the real tokens of a sequence stand together. The result is
/// `[B, 1, T, T]`; `window` as in [`causal_mask`].
///
/// # Panics
/// When `present` does not hold `batch · length` entries.
pub fn padding_mask(
    present: &[bool],
    batch: usize,
    length: usize,
    window: Option<usize>,
    device: &Device,
) -> Mask {
    assert_eq!(present.len(), batch * length, "one flag per token");
    let mut values = vec![MASKED; batch * length * length];
    for (row, keys) in present.chunks(length).enumerate() {
        for query in 0..length {
            let at = (row * length + query) * length;
            for key in visible(query, window) {
                if keys[key] {
                    values[at + key] = 0.0;
                }
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [batch, 1, length, length]), device)
}
