//! The discriminator that judges every prefix of an answer: a reward for each token.

use burn::Tensor;

use super::origin::smoothed;

/// Binary cross-entropy on the origin of every prefix of an answer, per token `[Σ tokens]`.
///
/// Formula: `−(1−ε) log σ(h_t) − ε log σ(−h_t)` for the chosen side, with `−h_t` for the rejected,
/// where `h_t` is the logit read at answer token `t`.
/// Source: a discriminator on state-action pairs as in GAIL (Ho & Ermon, arXiv 1606.03476), its
/// states being prefixes.
/// Departures: label smoothing. Tokens are summed, not averaged within an answer: a weight that
/// depends on how long the answer will become is not a function of the prefix and would move the
/// optimum.
/// Optimum: `h_t = log p₊(y_1…y_t|x) − log p₋(y_1…y_t|x)`, the *cumulative* log-ratio, since a prefix
/// comes up as often as answers begin with it. At the end token it is the answer's own logit.
pub fn token_cross_entropy(
    logits: Tensor<1>,
    is_chosen: Tensor<1>,
    label_smoothing: f64,
) -> Tensor<1> {
    let sign = is_chosen.mul_scalar(2.0).sub_scalar(1.0);
    smoothed(logits * sign, label_smoothing)
}

/// The reward of each token of an answer: `h_t − h_(t−1)` with `h_0 = 0`.
///
/// `logits` are those of one answer's prefixes in order. The rewards sum to the last logit: nothing
/// is added to the answer's reward or taken from it, it is only paid out where it is earned.
pub fn token_rewards(logits: &[f32]) -> Vec<f32> {
    let before = std::iter::once(&0.0).chain(logits);
    logits.iter().zip(before).map(|(h, h0)| h - h0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_backend::device::test_device;

    #[test]
    fn every_prefix_costs_what_an_answer_would() {
        let row = |values: [f32; 2]| Tensor::<1>::from_data(values, &test_device());
        // σ(ln 3) = ¾ on the chosen side, ¼ wrong side on the rejected.
        let loss = token_cross_entropy(row([3f32.ln(), 3f32.ln()]), row([1.0, 0.0]), 0.0);
        let loss: Vec<f32> = loss.into_data().iter().collect();
        assert!((loss[0] - (4.0f32 / 3.0).ln()).abs() < 1e-6, "{loss:?}");
        assert!((loss[1] - 4f32.ln()).abs() < 1e-6, "{loss:?}");
    }

    #[test]
    fn rewards_of_tokens_telescope_to_the_answers_logit() {
        assert_eq!(token_rewards(&[0.5, -1.0, 2.0]), [0.5, -1.5, 3.0]);
        assert!(token_rewards(&[]).is_empty());
    }
}
