//! Where the KL term of on-policy learning stands, and what it then converges to.
//!
//! Weights are those of [`crate::estimator`]: one per answer, uphill, up to a multiple of `pi`.
//! `l = log pi(y) − log ref(y)` in nats throughout, `y` drawn from `pi`.

use crate::{
    divergence::{log_ratio, token_kl},
    policy::Policy,
};

/// A place for the KL term and the estimator that stands there, on whole answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// `r − β l` as the reward, nothing differentiated: fixed point `ref·exp(r/β)`.
    K1InReward,
    /// `β · ½ l²` in the loss: the same expected gradient, and fixed point.
    K2InLoss,
    /// `β · l` in the loss: expected gradient 0, for `E[∇ log pi] = 0`. It regularises nothing.
    K1InLoss,
    /// `β · (exp(−l) − 1 + l)` in the loss: the gradient of `KL(ref ‖ pi)`, not of `KL(pi ‖ ref)`;
    /// fixed point [`k3_optimum`].
    K3InLoss,
}

impl Placement {
    /// All of them.
    pub const ALL: [Placement; 4] = [
        Placement::K1InReward,
        Placement::K2InLoss,
        Placement::K1InLoss,
        Placement::K3InLoss,
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Placement::K1InReward => "k1 in the reward",
            Placement::K2InLoss => "k2 in the loss",
            Placement::K1InLoss => "k1 in the loss",
            Placement::K3InLoss => "k3 in the loss",
        }
    }

    /// What the sampled answer `y` contributes: the factor of `∇ log pi(y)` in the update, by
    /// answer, per unit of `β`.
    pub fn factors(self, policy: &[f64], reference: &[f64]) -> Vec<f64> {
        let l = log_ratio(policy, reference);
        let of = |l: f64| match self {
            // −l as a reward, or −∇ ½l² = −l ∇ log pi.
            Placement::K1InReward | Placement::K2InLoss => -l,
            Placement::K1InLoss => -1.0,
            // −∇ (exp(−l) + l) = (exp(−l) − 1) ∇ log pi.
            Placement::K3InLoss => (-l).exp() - 1.0,
        };
        l.into_iter().map(of).collect()
    }

    /// The expected update with a reward, by answer: `pi·(r + β·factor)`.
    ///
    /// # Panics
    /// On different lengths.
    pub fn weights(self, policy: &[f64], reference: &[f64], reward: &[f64], beta: f64) -> Vec<f64> {
        assert_eq!(policy.len(), reward.len(), "a reward for each answer");
        let factors = self.factors(policy, reference);
        let all = policy.iter().zip(reward.iter().zip(factors));
        all.map(|(p, (r, factor))| p * (r + beta * factor))
            .collect()
    }
}

/// The three estimates of `KL(pi ‖ ref)` in nats from one answer with `l = log pi − log ref`: `l`,
/// `½ l²` and `exp(−l) − 1 + l`.
///
/// Drawn from `pi`, k1 and k3 are unbiased and k3 is never negative; k2 is right to second order
/// only. A good *estimate* of the KL is not a good *loss*: see [`Placement`].
/// Source: Schulman, *Approximating KL divergence*, 2020.
pub fn kl_estimates(l: f64) -> [f64; 3] {
    [l, 0.5 * l * l, (-l).exp() - 1.0 + l]
}

/// The fixed point of k3 in the loss, `pi = β·ref/(λ − r)` with the `λ > max r` that makes it sum
/// to 1.
///
/// Its tail is heavier than `ref·exp(r/β)`'s: it falls as `1/(λ − r)` where that one falls as an
/// exponential.
///
/// # Panics
/// Unless `beta` is positive, and on different lengths.
pub fn k3_optimum(reference: &[f64], reward: &[f64], beta: f64) -> Vec<f64> {
    assert!(beta > 0.0, "a KL coefficient of {beta} holds nothing");
    assert_eq!(reference.len(), reward.len(), "a reward for each answer");
    let most = reward.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let at = |gap: f64| -> Vec<f64> {
        let pairs = reference.iter().zip(reward);
        pairs.map(|(p, r)| beta * p / (gap + most - r)).collect()
    };
    // The sum falls from infinity at a gap of 0 to at most 1 at β.
    let (mut low, mut high) = (0.0, beta);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if at(middle).iter().sum::<f64>() > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(high)
}

/// The expected gradient, by step, of `Σ_t KL(pi(·|s_t) ‖ ref(·|s_t))` in the loss, states drawn
/// and not differentiated.
///
/// It is part of the gradient of `KL(pi ‖ ref)`: [`omitted_future`] is the rest.
pub fn token_loss_gradient(policy: &Policy<'_>, reference: &Policy<'_>) -> Vec<f64> {
    let vocab = policy.space().vocab();
    let (p, q) = (policy.token_log_probs(), reference.token_log_probs());
    let (occupancy, kl) = (policy.occupancy(), token_kl(policy, reference));
    let of = |step: usize| {
        let state = step / vocab;
        occupancy[state] * p[step].exp() * (p[step] - q[step] - kl[state])
    };
    (0..p.len()).map(of).collect()
}

/// What [`token_loss_gradient`] omits, by step: `E[Σ_t ∇ log pi(a_t|s_t) Σ_(u>t) KL(s_u)]`, that a
/// token leads to states where policy and reference differ more.
pub fn omitted_future(policy: &Policy<'_>, reference: &Policy<'_>) -> Vec<f64> {
    let (space, kl) = (policy.space(), token_kl(policy, reference));
    let (p, vocab) = (policy.distribution(), space.vocab());
    let tokens = policy.token_log_probs();
    let mut gradient = vec![0.0; tokens.len()];
    for (answer, p) in p.iter().enumerate() {
        let mut future = 0.0;
        for &step in space.steps(answer).iter().rev() {
            let state = step / vocab;
            for other in state * vocab..(state + 1) * vocab {
                let taken = if other == step { 1.0 } else { 0.0 };
                gradient[other] += p * future * (taken - tokens[other].exp());
            }
            future += kl[state];
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::{expectation, kl, normalised},
        estimator::{expected, less_mean, over_deviation},
        minimise::differences,
        optimum::kl_optimum,
        space::Space,
        update::{ascend, is_stationary},
    };

    fn instance(space: &Space, seed: u64) -> (Policy<'_>, Policy<'_>, Vec<f64>) {
        let policy = Policy::random(space, 1.0, seed);
        let reference = Policy::random(space, 1.0, 500 + seed);
        (
            policy,
            reference,
            Policy::random(space, 1.0, 900 + seed).log_probs(),
        )
    }

    fn gradient_of_kl(policy: &Policy<'_>, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let at = |logits: &[f64]| of(&Policy::new(policy.space(), logits.to_vec()).distribution());
        differences(at, policy.logits())
    }

    fn minus(x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| -x).collect()
    }

    #[test]
    fn each_placement_expects_the_gradient_it_is_said_to() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (policy, reference, _) = instance(&space, seed);
            let (p, q) = (policy.distribution(), reference.distribution());
            let update =
                |place: Placement| policy.gradient(&place.weights(&p, &q, &[0.0; 15], 1.0));
            let forwards = gradient_of_kl(&policy, |p| kl(p, &q));
            close_all(&update(Placement::K1InReward), &minus(&forwards), 1e-8);
            close_all(&update(Placement::K2InLoss), &minus(&forwards), 1e-8);
            close_all(
                &update(Placement::K1InLoss),
                &vec![0.0; forwards.len()],
                1e-12,
            );
            let backwards = gradient_of_kl(&policy, |p| kl(&q, p));
            close_all(&update(Placement::K3InLoss), &minus(&backwards), 1e-8);
            assert!(apart(&forwards, &backwards) > 1e-3);
        }
    }

    #[test]
    fn k1_and_k3_estimate_the_kl_without_bias_and_k2_nearby() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (policy, reference, _) = instance(&space, seed);
            let p = policy.distribution();
            let mean = |q: &[f64], which: usize| {
                let l = log_ratio(&p, q);
                let k: Vec<f64> = l.iter().map(|l| kl_estimates(*l)[which]).collect();
                expectation(&p, &k)
            };
            let far = reference.distribution();
            // A hundredth of the way there.
            let step = p.iter().zip(&far).map(|(p, q)| p * (q / p).powf(0.01));
            let near = normalised(&step.collect::<Vec<_>>());
            for q in [&far, &near] {
                close(mean(q, 0), kl(&p, q), 1e-12);
                close(mean(q, 2), kl(&p, q), 1e-12);
            }
            let bias = |q: &[f64]| (mean(q, 1) / kl(&p, q) - 1.0).abs();
            assert!(bias(&near) < 0.02 && bias(&far) > bias(&near));
            assert!(
                [-2.0, -0.1, 0.3, 4.0]
                    .iter()
                    .all(|l| kl_estimates(*l)[2] > 0.0)
            );
        }
    }

    #[test]
    fn k1_in_the_reward_and_k2_in_the_loss_come_to_the_tilted_reference() {
        let space = Space::new(3, 3);
        for seed in 0..10 {
            let (policy, reference, reward) = instance(&space, seed);
            let (p, q) = (policy.distribution(), reference.distribution());
            for place in [Placement::K1InReward, Placement::K2InLoss] {
                for beta in [0.5, 2.0] {
                    let weights = |p: &[f64]| place.weights(p, &q, &reward, beta);
                    let best = kl_optimum(&q, &reward, beta);
                    assert!(is_stationary(
                        &Policy::from_answers(&space, &best),
                        weights,
                        1e-12
                    ));
                    close_all(&ascend(&p, weights, 0.2 / beta, 400), &best, 1e-9);
                }
            }
        }
    }

    #[test]
    fn k3_in_the_loss_comes_to_another_point() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (policy, reference, reward) = instance(&space, seed);
            let (p, q) = (policy.distribution(), reference.distribution());
            for beta in [0.5, 2.0] {
                let weights = |p: &[f64]| Placement::K3InLoss.weights(p, &q, &reward, beta);
                let point = k3_optimum(&q, &reward, beta);
                close(point.iter().sum(), 1.0, 1e-12);
                assert!(is_stationary(
                    &Policy::from_answers(&space, &point),
                    weights,
                    1e-10
                ));
                close_all(&ascend(&p, weights, 0.02, 20_000), &point, 1e-6);
                assert!(apart(&point, &kl_optimum(&q, &reward, beta)) > 1e-3);
            }
        }
    }

    #[test]
    fn k1_in_the_loss_lets_the_policy_run_away() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (policy, reference, reward) = instance(&space, seed);
            let q = reference.distribution();
            let weights = |p: &[f64]| Placement::K1InLoss.weights(p, &q, &reward, 5.0);
            let end = ascend(&policy.distribution(), weights, 1.0, 3000);
            let best = end.iter().copied().fold(0.0, f64::max);
            assert!(best > 0.999, "{best}: a point mass, whatever β");
        }
    }

    #[test]
    fn token_level_kl_in_the_loss_omits_the_future() {
        for seed in 0..20 {
            for horizon in [1, 3] {
                let space = Space::new(3, horizon);
                let (policy, reference, _) = instance(&space, seed);
                let q = reference.distribution();
                let whole = gradient_of_kl(&policy, |p| kl(p, &q));
                let part = token_loss_gradient(&policy, &reference);
                let rest = omitted_future(&policy, &reference);
                let sum: Vec<f64> = part.iter().zip(&rest).map(|(a, b)| a + b).collect();
                close_all(&sum, &whole, 1e-8);
                let is_all = apart(&part, &whole) < 1e-8;
                assert_eq!(is_all, horizon == 1);
            }
        }
    }

    #[test]
    fn over_the_groups_deviation_a_coefficient_means_another_one_on_each_prompt() {
        // Two prompts that differ in the unit of their rewards alone, KL in the loss.
        let space = Space::new(3, 2);
        let tenfold = |r: &[f64]| r.iter().map(|r| 10.0 * r).collect::<Vec<f64>>();
        for seed in 0..5 {
            let (policy, reference, reward) = instance(&space, seed);
            let (p, q) = (policy.distribution(), reference.distribution());
            let end = |reward: &[f64], divide: bool| {
                let weights = |p: &[f64]| {
                    let none = vec![0.0; p.len()];
                    let term = Placement::K2InLoss.weights(p, &q, &none, 1.0);
                    let gain = expected(p, reward, 3, |r| {
                        if divide {
                            over_deviation(r, 0.0)
                        } else {
                            less_mean(r)
                        }
                    });
                    gain.iter().zip(term).map(|(a, b)| a + b).collect()
                };
                ascend(&p, weights, 0.2, 300)
            };
            let divided = end(&reward, true);
            close_all(&divided, &end(&tenfold(&reward), true), 1e-9);
            // Without: the group's mean takes a third of the gain away, so β is 3/2.
            close_all(&end(&reward, false), &kl_optimum(&q, &reward, 1.5), 1e-9);
            assert!(apart(&divided, &kl_optimum(&q, &reward, 1.5)) > 1e-3);
        }
    }
}
