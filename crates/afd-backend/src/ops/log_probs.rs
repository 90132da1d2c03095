//! The log-probability of a token, without keeping the whole vocabulary for all tokens.

use burn::{
    Tensor,
    tensor::{FloatDType, Int, activation::log_softmax},
};

use super::cap;

/// Rows of the logits matrix alive at once when nothing has to be kept for a backward pass.
const CHUNK: usize = 1024;

/// `log softmax(hidden · weight)[target]` in nats, one number per row.
///
/// `hidden` is `[N, D]`, `weight` the output head `[D, V]`, `targets` `[N]`; the result is
/// `[N]` in f32. Logits are computed in the type of `weight`, their softmax in f32. Rows are taken
/// a thousand or so at a time, so that inference never holds `[N, V]`. A `softcap` `c` makes a logit
/// `c·tanh(logit/c)` first.
///
/// # Panics
/// When the shapes disagree.
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
) -> Tensor<1> {
    let n = hidden.dims()[0];
    assert_eq!(targets.dims()[0], n, "one target per row");
    let hidden = hidden.cast(weight.dtype());
    let parts = (0..n)
        .step_by(CHUNK)
        .map(|start| {
            let length = CHUNK.min(n - start);
            let logits = hidden
                .clone()
                .narrow(0, start, length)
                .matmul(weight.clone());
            let targets = targets.clone().narrow(0, start, length);
            log_softmax(cap(logits.cast(FloatDType::F32), softcap), 1)
                .gather(1, targets.unsqueeze_dim(1))
                .squeeze_dim::<1>(1)
        })
        .collect::<Vec<_>>();
    Tensor::cat(parts, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_device;

    #[test]
    fn on_paper() {
        // Logits (0, ln 3): probabilities 1/4 and 3/4.
        let device = test_device();
        let hidden = Tensor::<2>::from_data([[1.0], [1.0]], &device);
        let weight = Tensor::<2>::from_data([[0.0, 3f32.ln()]], &device);
        let targets = Tensor::<1, Int>::from_data([0, 1], &device);
        let y: Vec<f32> = token_log_probs(hidden, weight, targets, None)
            .into_data()
            .try_to_vec()
            .unwrap();
        assert!((y[0] - 0.25f32.ln()).abs() < 1e-6);
        assert!((y[1] - 0.75f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn chunks_do_not_show() {
        let device = test_device();
        let n = CHUNK + 3;
        let values: Vec<f32> = (0..n).map(|i| (i % 17) as f32 / 5.0).collect();
        let hidden = Tensor::<1>::from_data(values.as_slice(), &device).reshape([n, 1]);
        let weight = Tensor::<2>::from_data([[0.3, -0.2, 1.1]], &device);
        let targets: Vec<i32> = (0..n).map(|i| (i % 3) as i32).collect();
        let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &device);
        let all = token_log_probs(hidden.clone(), weight.clone(), targets.clone(), None);
        let tail = token_log_probs(
            hidden.narrow(0, CHUNK, 3),
            weight,
            targets.narrow(0, CHUNK, 3),
            None,
        );
        let (all, tail) = (all.narrow(0, CHUNK, 3).into_data(), tail.into_data());
        all.assert_approx_eq::<f32>(&tail, burn::tensor::Tolerance::absolute(1e-6));
    }
}
