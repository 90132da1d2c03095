//! Scaled dot-product attention with grouped queries and additive masks.

use burn::{
    Tensor,
    tensor::{Device, TensorData, activation::softmax},
};

/// What a masked score is lowered by: far below any real score, yet finite, so that a
/// row with nothing to attend to gives numbers nobody reads instead of NaN.
const MASKED: f32 = -1e9;

/// An additive mask, `[B or 1, 1, Tq, Tk]`: 0 where a query may look, very low where not.
pub type Mask = Tensor<4>;

/// `softmax(q·kᵀ/√d + mask)·v`.
///
/// `q` is `[B, Tq, H, d]`; `k` and `v` are `[B, K, Tk, d]` with `H` a multiple of `K`
/// (query head `h` reads key/value head `h / (H/K)`); the result is `[B, Tq, H·d]`.
/// Without a mask every query sees every key: what decoding one token wants.
///
/// # Panics
/// When `H` is not a multiple of `K` or the shapes disagree.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Mask>) -> Tensor<3> {
    let [b, tq, h, d] = q.dims();
    let [_, kv, tk, _] = k.dims();
    assert!(h.is_multiple_of(kv), "{h} heads over {kv} key/value heads");
    let group = h / kv;
    // The queries of one key/value head stand below each other, so keys are never copied per head.
    let q = q
        .swap_dims(1, 2)
        .reshape([b, kv, group * tq, d])
        .mul_scalar((d as f64).sqrt().recip());
    let mut scores = q.matmul(k.swap_dims(2, 3));
    if let Some(mask) = mask {
        scores = (scores.reshape([b, h, tq, tk]) + mask).reshape([b, kv, group * tq, tk]);
    }
    softmax(scores, 3)
        .matmul(v)
        .reshape([b, h, tq, d])
        .swap_dims(1, 2)
        .reshape([b, tq, h * d])
}

/// The mask of `length` new tokens after `past` cached ones: `[1, 1, length, past + length]`.
///
/// Bottom-right aligned: the last query sees every key.
pub fn causal_mask(past: usize, length: usize, device: &Device) -> Mask {
    let total = past + length;
    let values: Vec<f32> = (0..length * total)
        .map(|n| {
            if n % total <= past + n / total {
                0.0
            } else {
                MASKED
            }
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [1, 1, length, total]), device)
}

/// A causal mask that also hides padding: `present[b·T + t]` says whether token `t` of
/// sequence `b` is real. The result is `[B, 1, T, T]`.
///
/// # Panics
/// When `present` does not hold `batch · length` entries.
pub fn padding_mask(present: &[bool], batch: usize, length: usize, device: &Device) -> Mask {
    assert_eq!(present.len(), batch * length, "one flag per token");
    let mut values = vec![MASKED; batch * length * length];
    for (row, keys) in present.chunks(length).enumerate() {
        for query in 0..length {
            let at = (row * length + query) * length;
            for key in 0..=query {
                if keys[key] {
                    values[at + key] = 0.0;
                }
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [batch, 1, length, length]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_device;

    fn ramp<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n)
            .map(|i| ((i * 37 % 23) as f32 - 11.0) / 8.0)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// One number at a time, in f64, from the definition.
    fn by_definition(q: &[f32], k: &[f32], v: &[f32], s: [usize; 6], past: usize) -> Vec<f64> {
        let [b, tq, h, kv, tk, d] = s;
        let mut out = vec![0.0; b * tq * h * d];
        for (bi, qi, hi) in
            (0..b).flat_map(|bi| (0..tq).flat_map(move |qi| (0..h).map(move |hi| (bi, qi, hi))))
        {
            let head = hi / (h / kv);
            let at_q = ((bi * tq + qi) * h + hi) * d;
            let at_k = |ki: usize| ((bi * kv + head) * tk + ki) * d;
            let weights: Vec<f64> = (0..=past + qi)
                .map(|ki| {
                    let dot: f64 = (0..d)
                        .map(|i| f64::from(q[at_q + i]) * f64::from(k[at_k(ki) + i]))
                        .sum();
                    (dot / (d as f64).sqrt()).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for (ki, w) in weights.iter().enumerate() {
                for i in 0..d {
                    out[at_q + i] += w / total * f64::from(v[at_k(ki) + i]);
                }
            }
        }
        out
    }

    #[test]
    fn grouped_causal_attention_is_its_definition() {
        let device = test_device();
        let (b, tq, h, kv, past, d) = (2, 3, 4, 2, 2, 6);
        let tk = past + tq;
        let q = ramp([b, tq, h, d], &device);
        let k = ramp([b, kv, tk, d], &device).mul_scalar(0.7);
        let v = ramp([b, kv, tk, d], &device).mul_scalar(-1.3);
        let vec = |t: &Tensor<4>| t.to_data().try_to_vec::<f32>().unwrap();
        let expect = by_definition(&vec(&q), &vec(&k), &vec(&v), [b, tq, h, kv, tk, d], past);
        let got: Vec<f32> = attention(q, k, v, Some(causal_mask(past, tq, &device)))
            .into_data()
            .try_to_vec()
            .unwrap();
        for (g, e) in got.iter().zip(expect) {
            assert!((f64::from(*g) - e).abs() < 1e-5, "{g} against {e}");
        }
    }

    #[test]
    fn padding_mask_without_padding_is_causal() {
        let device = test_device();
        let a = padding_mask(&[true; 4], 1, 4, &device);
        let b = causal_mask(0, 4, &device);
        a.into_data().assert_eq(&b.into_data(), true);
    }
}
