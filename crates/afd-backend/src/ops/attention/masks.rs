//! What a query may see.

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};

use crate::device::is_cpu;

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
    let first = starts.iter().flat_map(|&start| {
        (past..past + length).map(move |at| first_in(window, at).max(start.min(at)))
    });
    mask(first.collect(), [starts.len(), length], past, device)
}

/// The first key within the window of a query at `at`.
fn first_in(window: Option<usize>, at: usize) -> usize {
    window.map_or(0, |window| (at + 1).saturating_sub(window))
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
    let first = positions.iter().enumerate().map(|(token, position)| {
        let at = token % length;
        assert!(*position <= at, "a text begins before its row");
        first_in(window, at).max(at - position)
    });
    mask(first.collect(), [batch, length], 0, device)
}

/// The mask of `length` queries in each of `rows` rows, behind `past` keys: each sees the keys from its
/// `first` to its own.
fn mask(first: Vec<usize>, [rows, length]: [usize; 2], past: usize, device: &Device) -> Mask {
    match is_cpu(device) {
        true => filled(&first, [rows, length], past, device),
        false => composed(&first, [rows, length], past, device),
    }
}

/// [`mask`], written by the host.
fn filled(first: &[usize], [rows, length]: [usize; 2], past: usize, device: &Device) -> Mask {
    let total = past + length;
    let mut values = vec![MASKED; rows * length * total];
    let queries = values.chunks_mut(total.max(1)).zip(first).enumerate();
    for (query, (keys, first)) in queries {
        keys[*first..=past + query % length].fill(0.0);
    }
    Tensor::from_data(TensorData::new(values, [rows, 1, length, total]), device)
}

/// [`mask`], written by the device from two numbers a query.
fn composed(first: &[usize], [rows, length]: [usize; 2], past: usize, device: &Device) -> Mask {
    let total = past + length;
    let places = |places: &mut dyn Iterator<Item = usize>, shape: [usize; 4]| {
        let places: Vec<i32> = places.map(|place| place as i32).collect();
        Tensor::<4, Int>::from_data(TensorData::new(places, shape), device)
    };
    let keys = places(&mut (0..total), [1, 1, 1, total]);
    let own = places(&mut (past..total), [1, 1, length, 1]);
    let first = places(&mut first.iter().copied(), [rows, 1, length, 1]);
    let hidden = keys.clone().greater(own).bool_or(keys.lower(first));
    Tensor::zeros([rows, 1, length, total], device).mask_fill(hidden, MASKED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_device;

    #[test]
    fn the_device_writes_what_the_host_does() {
        let device = test_device();
        for (first, shape, past) in [
            (vec![0, 0, 2, 1, 1, 3], [2, 3], 1),
            (vec![0, 1, 0, 3], [1, 4], 0),
            (vec![4, 0], [2, 1], 4),
        ] {
            let host = filled(&first, shape, past, &device).into_data();
            host.assert_eq(&composed(&first, shape, past, &device).into_data(), true);
        }
    }
}
