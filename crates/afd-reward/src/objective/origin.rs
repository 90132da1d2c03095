//! Losses on the origin of each answer alone: which of two distributions wrote it?
//!
//! Unpaired: they need answers of both classes, not two answers to be set against each other. All
//! are `ℓ₊(c) + ℓ₋(r)` of the chosen logit `c` and the rejected one `r`, and all but [`hinge`] are
//! proper for the density ratio: with balanced classes over the same prompts and enough capacity
//! each has its optimum at `log p₊(y|x) − log p₋(y|x)`. They differ in what finite data and limited
//! capacity make of it, which the derivatives show: cross-entropy's fade as the logit grows right,
//! Brier's as it grows wrong too, KLIEP's and LSIF's never on the rejected side.

use burn::{
    Tensor,
    tensor::activation::{log_sigmoid, relu, sigmoid},
};

/// Binary cross-entropy on the origin, per pair `[B]`.
///
/// Formula: `½[−(1−ε) log σ(c) − ε log σ(−c) − (1−ε) log σ(−r) − ε log σ(r)]` with the
/// chosen logit `c`, the rejected `r` and label smoothing `ε`.
/// Source: Sun & van der Schaar, arXiv 2405.15624, the reward-modelling loss.
/// Departures: label smoothing (0 in the source); the ½, so that a pair weighs as much as
/// in [`super::bradley_terry`].
/// Optimum: `log p₊/p₋`, plus `log(n₊/n₋)` of unequal classes; with smoothing the logit of
/// `(1−ε)D + ε(1−D)`, `D = p₊/(p₊+p₋)`, which stays within `±log((1−ε)/ε)`.
pub fn binary_cross_entropy(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    label_smoothing: f64,
) -> Tensor<1> {
    let one = smoothed(chosen, label_smoothing);
    let zero = smoothed(rejected.neg(), label_smoothing);
    (one + zero).mul_scalar(0.5)
}

/// Brier's score: squared error of the probability, per pair `[B]`.
///
/// Formula: `½[(1 − σ(c))² + σ(r)²]`.
/// Source: Brier 1950; as a density-ratio loss in Sugiyama, Suzuki & Kanamori 2012, and on
/// log-ratios of policies in GSIL (Xiao et al., arXiv 2410.10093).
/// Departures: the ½, as in [`binary_cross_entropy`].
/// Optimum: `log p₊/p₋`. Bounded by 1: one mislabelled answer pulls no harder than another.
pub fn brier(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    let wrong = sigmoid(chosen.neg()).square();
    (wrong + sigmoid(rejected).square()).mul_scalar(0.5)
}

/// Hinge, per pair `[B]`.
///
/// Formula: `½[max(0, 1 − c) + max(0, 1 + r)]`.
/// Source: Cortes & Vapnik 1995; among GSIL's losses (arXiv 2410.10093).
/// Departures: the ½.
/// Optimum: `sign(log p₊/p₋)`. It ranks which side is likelier and forgets by how much, so its
/// logit is no log-ratio and a KL coefficient means nothing beside it.
pub fn hinge(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    let one = relu(chosen.neg().add_scalar(1.0));
    (one + relu(rejected.add_scalar(1.0))).mul_scalar(0.5)
}

/// KLIEP, the density ratio by Kullback–Leibler divergence, per pair `[B]`.
///
/// Formula: `−c + exp(r) − 1`.
/// Source: Sugiyama et al. 2008, in the unnormalised form (UKL) that GSIL takes
/// (arXiv 2410.10093).
/// Departures: the exponential goes on along its tangent above 10, so that a runaway logit has a
/// finite loss and a gradient that calls it back.
/// Optimum: `log p₊/p₋`, without the class-ratio shift of [`binary_cross_entropy`] when both
/// classes are averaged apart.
pub fn kliep(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    exp(rejected, TANGENT).sub_scalar(1.0) - chosen
}

/// LSIF, the density ratio by least squares, per pair `[B]`.
///
/// Formula: `½ exp(2r) − exp(c)`.
/// Source: Kanamori, Hido & Sugiyama 2009; among GSIL's losses (arXiv 2410.10093).
/// Departures: the exponentials go on along their tangents above logits of 10, as in [`kliep`].
/// Optimum: `log p₊/p₋`. Answers the rejected side would hardly write weigh as the square of the
/// ratio: of all of these the loudest on rare ones.
pub fn lsif(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    // The rejected side's tangent has to be the steeper one, or a logit could run away.
    let square = exp(rejected.mul_scalar(2.0), 2.0 * TANGENT);
    square.mul_scalar(0.5) - exp(chosen, TANGENT)
}

/// The logit from which [`exp`] is a line.
const TANGENT: f64 = 10.0;

/// `exp(x)` up to `tangent` and its tangent there from then on, so that a runaway logit has a finite
/// loss and a gradient that still calls it back.
fn exp(x: Tensor<1>, tangent: f64) -> Tensor<1> {
    let below = x.clone().clamp_max(tangent).exp();
    below + relu(x.sub_scalar(tangent)).mul_scalar(tangent.exp())
}

/// `−(1−ε) log σ(x) − ε log σ(−x)`, elementwise.
pub(super) fn smoothed(logit: Tensor<1>, label_smoothing: f64) -> Tensor<1> {
    let right = log_sigmoid(logit.clone()).mul_scalar(label_smoothing - 1.0);
    if label_smoothing == 0.0 {
        return right;
    }
    right - log_sigmoid(logit.neg()).mul_scalar(label_smoothing)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, logit};
    use super::*;

    #[test]
    fn binary_cross_entropy_on_paper() {
        // σ(ln 3) = ¾ and σ(−0) = ½: ½(−ln ¾ − ln ½) = ½ ln(8/3).
        let loss = binary_cross_entropy(logit(3f32.ln()), logit(0.0), 0.0);
        close(loss, 0.5 * (8.0f32 / 3.0).ln());
        // With ε = ¼ the chosen side costs ¾·ln(4/3) + ¼·ln 4, the other still ln 2.
        let loss = binary_cross_entropy(logit(3f32.ln()), logit(0.0), 0.25);
        let chosen = 0.75 * (4.0f32 / 3.0).ln() + 0.25 * 4f32.ln();
        close(loss, 0.5 * (chosen + 2f32.ln()));
    }

    #[test]
    fn brier_on_paper() {
        // σ(ln 3) = ¾ leaves ¼, σ(−ln 3) = ¼: ½(1/16 + 1/16).
        close(brier(logit(3f32.ln()), logit(-(3f32.ln()))), 1.0 / 16.0);
        // σ(0) = ½ on both sides.
        close(brier(logit(0.0), logit(0.0)), 0.25);
    }

    #[test]
    fn hinge_on_paper() {
        close(hinge(logit(0.25), logit(0.5)), 0.5 * (0.75 + 1.5));
        close(hinge(logit(1.5), logit(-2.0)), 0.0);
    }

    #[test]
    fn kliep_on_paper() {
        close(kliep(logit(0.5), logit(3f32.ln())), 3.0 - 1.0 - 0.5);
    }

    #[test]
    fn lsif_on_paper() {
        // ½·3² − 2.
        close(lsif(logit(2f32.ln()), logit(3f32.ln())), 4.5 - 2.0);
    }

    #[test]
    fn a_runaway_logit_costs_a_finite_amount_and_is_called_back() {
        let at = |r: f32| {
            let r = logit(r).autodiff().require_grad();
            let loss = kliep(logit(0.0), r.clone());
            let value = loss.clone().inner().into_scalar::<f32>();
            let gradient = r.grad(&loss.backward()).unwrap().into_scalar::<f32>();
            (value, gradient)
        };
        let edge = 10f32.exp();
        for (r, value, gradient) in [
            (1.0, 1f32.exp() - 1.0, 1f32.exp()),
            (200.0, edge * 191.0 - 1.0, edge),
        ] {
            let found = at(r);
            assert!((found.0 / value - 1.0).abs() < 1e-5, "{found:?}");
            assert!((found.1 / gradient - 1.0).abs() < 1e-5, "{found:?}");
        }
    }
}
