//! The KL term: three estimators, two places, two levels, and what each comes to.
//!
//! With `l = log π(y|x) − log ref(y|x)` in nats and `y` drawn from `π`, the estimators of
//! `KL(π ‖ ref)` are those of Schulman, *Approximating KL divergence*, 2020. A good estimate is not
//! a good loss. With a coefficient `β`, nothing clipped, and no division by the group's deviation:
//!
//! | estimator, place, level | the policy it holds still at |
//! | --- | --- |
//! | k1 in the reward (the sum over tokens is the answer's) | `ref·exp(r/β)` |
//! | k2 in the loss, of the answer | `ref·exp(r/β)`: the same gradient |
//! | k2 in the loss, by token | another: what a token leads to is left out |
//! | k3 in the loss, of the answer | `β·ref/(λ − r)`, a heavier tail: it is the gradient of `KL(ref ‖ π)` |
//! | k3 in the loss, by token (GRPO as published) | another again |
//! | k1 in the loss | none: its gradient is 0 in expectation, and it is refused |
//! | k2 or k3 in the reward | `ref·exp(r/β)` tilted by a biased price of distance |
//!
//! `afd-exact` works these points out; the tests hold our updates to them.

use burn::Tensor;
use serde::{Deserialize, Serialize};

/// An estimator of `KL(π ‖ ref)` from `l = log π − log ref` of what was drawn from `π`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `l`: unbiased, of either sign.
    K1,
    /// `½ l²`: never negative, right to second order.
    K2,
    /// `exp(−l) − 1 + l`: unbiased and never negative.
    K3,
}

impl KlEstimator {
    /// The estimate in nats from one log-ratio in nats.
    pub fn of(self, l: f64) -> f64 {
        match self {
            Self::K1 => l,
            Self::K2 => 0.5 * l * l,
            Self::K3 => (-l).exp() - 1.0 + l,
        }
    }

    /// [`Self::of`] each log-ratio, with gradients.
    pub fn of_tensor(self, l: Tensor<1>) -> Tensor<1> {
        match self {
            Self::K1 => l,
            Self::K2 => l.square().mul_scalar(0.5),
            Self::K3 => l.clone().neg().exp().sub_scalar(1.0) + l,
        }
    }
}

/// Where the KL term stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlPlacement {
    /// `−β·estimate` is part of the reward; nothing of it is differentiated.
    Reward,
    /// `β·estimate` is added to the loss and differentiated.
    Loss,
}

/// What log-ratio an estimator sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlLevel {
    /// Each token's.
    Token,
    /// The whole answer's: the sum over its tokens.
    Sequence,
}

/// The coefficient that follows a target, clipped and slow.
///
/// Formula: `β ← β·(1 + clip(KL/target − 1, −0.2, 0.2)·answers/horizon)`.
/// Source: Ziegler et al., arXiv 1909.08593, section 2.2.
pub fn adapted(beta: f64, kl: f64, target: f64, answers: usize, horizon: f64) -> f64 {
    let error = (kl / target - 1.0).clamp(-0.2, 0.2);
    beta * (1.0 + error * answers as f64 / horizon)
}

#[cfg(test)]
mod tests {
    use afd_backend::device::test_device;

    use super::*;

    #[test]
    fn on_paper() {
        let l = 2f64.ln();
        assert!((KlEstimator::K1.of(l) - l).abs() < 1e-4);
        assert!((KlEstimator::K2.of(l) - 0.2402).abs() < 1e-4);
        assert!((KlEstimator::K3.of(l) - 0.1931).abs() < 1e-4);
    }

    #[test]
    fn the_tensor_form_is_the_same() {
        let ratios = [-1.5f32, 0.0, 0.7];
        for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
            let tensor = Tensor::<1>::from_data(ratios, &test_device());
            let found = estimator.of_tensor(tensor).into_data();
            for (found, l) in found.iter::<f64>().zip(ratios) {
                assert!((found - estimator.of(f64::from(l))).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_coefficient_rises_when_the_policy_is_too_far() {
        // Twice the target: clipped to 0.2, of which 100 answers of 1000 are a tenth.
        assert!((adapted(0.1, 6.0, 3.0, 100, 1000.0) - 0.102).abs() < 1e-12);
        assert!((adapted(0.1, 2.7, 3.0, 100, 1000.0) - 0.099).abs() < 1e-12);
    }
}
