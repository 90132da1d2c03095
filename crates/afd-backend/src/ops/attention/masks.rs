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
    cached_mask(&[0], past, length, window, device)
}

/// [`causal_mask`] of rows that begin at the keys `starts`, what is before being padding:
/// `[B, 1, length, past + length]`. A query of padding sees itself alone.
pub fn cached_mask(
    starts: &[usize],
    past: usize,
    length: usize,
    window: Option<usize>,
    device: &Device,
) -> Mask {
    let (rows, total) = (starts.len(), past + length);
    let mut values = vec![MASKED; rows * length * total];
    let lines = values.chunks_mut((length * total).max(1));
    for (keys, &start) in lines.zip(starts) {
        for (query, keys) in keys.chunks_mut(total).enumerate() {
            let (first, last) = visible(past + query, window).into_inner();
            keys[first.max(start.min(last))..=last].fill(0.0);
        }
    }
    Tensor::from_data(TensorData::new(values, [rows, 1, length, total]), device)
}

/// The keys that a query at `position` sees.
fn visible(position: usize, window: Option<usize>) -> RangeInclusive<usize> {
    let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
    first..=position
}

/// The causal mask of rows that hold several texts one after the other, or padding: a query sees keys
/// of its own text only. `positions[b·length + t]` is the place of token `t` of row `b` in its text;
/// padding, at position 0, is a text of its own. The result is `[B, 1, length, length]`; `window` as in
/// [`causal_mask`].
///
/// # Panics
/// When `positions` does not hold whole rows, or a text begins before its row.
pub fn packed_mask(
    positions: &[usize],
    length: usize,
    window: Option<usize>,
    device: &Device,
) -> Mask {
    let batch = positions.len() / length.max(1);
    assert_eq!(positions.len(), batch * length, "one position per token");
    let mut values = vec![MASKED; positions.len() * length];
    let lines = values.chunks_mut(length.max(1)).zip(positions);
    for (token, (keys, &position)) in lines.enumerate() {
        let start = token % length - position;
        keys[start..][visible(position, window)].fill(0.0);
    }
    Tensor::from_data(TensorData::new(values, [batch, 1, length, length]), device)
}
