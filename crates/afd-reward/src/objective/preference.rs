//! Losses on the order of two answers to one prompt.

use burn::Tensor;

use super::origin::smoothed;

/// Bradley–Terry negative log-likelihood of the pair's order, per pair `[B]`.
///
/// Formula: `−(1−ε) log σ(c − r − m) − ε log σ(r − c + m)` with the chosen logit `c`, the
/// rejected `r`, the margin `m` and label smoothing `ε`.
/// Source: Bradley & Terry 1952; as in Ouyang et al., arXiv 2203.02155, eq. 1; the margin as in
/// Llama 2, arXiv 2307.09288, eq. 2, and TRL's `RewardTrainer`.
/// Departures: label smoothing (0 in the sources); one margin for all pairs.
/// Optimum for pairs of independent answers, `ε = m = 0`: `log p₊/p₋` up to a constant of each
/// prompt, for shifting all logits of a prompt changes nothing. A margin asks every chosen answer to
/// win by more than `m`: it stretches the scale, and the optimum is a log-ratio no more.
pub fn bradley_terry(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    margin: f64,
    label_smoothing: f64,
) -> Tensor<1> {
    smoothed((chosen - rejected).sub_scalar(margin), label_smoothing)
}

/// What holds a pair's logits around zero, which [`bradley_terry`] leaves free, per pair `[B]`.
///
/// Formula: `(c + r)²`, to be multiplied by `center_rewards_coefficient`.
/// Source: Eisenstein et al., arXiv 2312.09244, as in TRL's `RewardTrainer`.
/// Departures: none.
pub fn centering(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    (chosen + rejected).square()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, logit, value};
    use super::*;

    #[test]
    fn bradley_terry_on_paper_and_blind_to_shifts() {
        // σ(ln 3) = ¾.
        let loss = bradley_terry(logit(3f32.ln()), logit(0.0), 0.0, 0.0);
        close(loss, (4.0f32 / 3.0).ln());
        let shifted = bradley_terry(logit(3f32.ln() + 5.0), logit(5.0), 0.0, 0.0);
        assert!((value(shifted) - (4.0f32 / 3.0).ln()).abs() < 1e-5);
    }

    #[test]
    fn a_margin_is_taken_off_the_lead() {
        // A lead of ln 3 + 1 with a margin of 1 costs what a lead of ln 3 does without.
        let loss = bradley_terry(logit(3f32.ln() + 1.0), logit(0.0), 1.0, 0.0);
        close(loss, (4.0f32 / 3.0).ln());
    }

    #[test]
    fn swapping_the_sides_of_unordered_logits_changes_nothing_at_half_smoothing_only() {
        let loss = |c, r, e| value(bradley_terry(logit(c), logit(r), 0.0, e));
        assert!((loss(1.0, 0.0, 0.5) - loss(0.0, 1.0, 0.5)).abs() < 1e-6);
        assert!(loss(1.0, 0.0, 0.1) < loss(0.0, 1.0, 0.1));
    }

    #[test]
    fn centering_on_paper() {
        close(centering(logit(2.0), logit(-0.5)), 2.25);
        close(centering(logit(2.0), logit(-2.0)), 0.0);
    }
}
