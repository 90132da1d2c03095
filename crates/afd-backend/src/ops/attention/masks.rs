//! What a query may see.

use std::ops::RangeInclusive;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};

/// What a masked score is lowered by: far below any real score, yet finite, so that a
/// row with nothing to attend to gives numbers nobody reads instead of NaN.
pub(super) const MASKED: f32 = -1e9;

/// An additive mask, `[B or 1, 1, Tq, Tk]`: 0 where a query may look, very low where not.
pub type Mask = Tensor<4>;

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
