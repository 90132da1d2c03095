//! Rewards made of a discriminator that is trained against the policy itself.
//!
//! `h = log d^β(y) − log d^π(y)` is its logit at the optimum and `D = σ(h)`. A policy's update
//! takes `h` as frozen. Higher is more demonstration-like. The logit must be free of the
//! class-ratio shift `log n₊/n₋`: the logit itself only moves by a constant, but what is not linear
//! in it becomes the reward of another divergence.

use crate::{
    divergence::{jensen_shannon, kl, log_ratio},
    loss::{sigmoid, softplus},
};

/// A reward as a function of the discriminator's logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdversarialReward {
    /// `h = log D − log(1−D)`: descends `KL(d^π ‖ d^β)`.
    Logit,
    /// `−log(1−D)`, GAIL's: descends `2 JS`. Source: Ho & Ermon, arXiv 1606.03476, with the sign of
    /// a reward and demonstrations as label 1.
    Gail,
    /// `log D`, the common one: descends `KL(d^π ‖ d^β) − 2 JS` and seeks modes.
    LogD,
    /// `exp(h) = d^β/d^π`: descends `KL(d^β ‖ d^π)`, with the expected gradient of fine-tuning on
    /// demonstrations.
    Exp,
    /// `−h·exp(h)`, FAIRL's: its value is `−KL(d^β ‖ d^π)`, but with the discriminator frozen its
    /// gradient is not that of any such descent, and the demonstrator repels. Source: Ghasemipour
    /// et al., arXiv 1911.02256. Kept to show that.
    Fairl,
}

impl AdversarialReward {
    /// All of them.
    pub const ALL: [AdversarialReward; 5] = [
        AdversarialReward::Logit,
        AdversarialReward::Gail,
        AdversarialReward::LogD,
        AdversarialReward::Exp,
        AdversarialReward::Fairl,
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            AdversarialReward::Logit => "h",
            AdversarialReward::Gail => "−log(1−D)",
            AdversarialReward::LogD => "log D",
            AdversarialReward::Exp => "exp(h)",
            AdversarialReward::Fairl => "−h·exp(h)",
        }
    }

    /// The reward of an answer with this logit.
    pub fn of(self, h: f64) -> f64 {
        match self {
            AdversarialReward::Logit => h,
            AdversarialReward::Gail => softplus(h),
            AdversarialReward::LogD => -softplus(-h),
            AdversarialReward::Exp => h.exp(),
            AdversarialReward::Fairl => -h * h.exp(),
        }
    }

    /// Its derivative by the logit. At 0, where policy and demonstrator agree, its sign says
    /// whether the demonstrator attracts: the linearised update is minus it times the Fisher
    /// information.
    pub fn slope(self, h: f64) -> f64 {
        match self {
            AdversarialReward::Logit => 1.0,
            AdversarialReward::Gail => sigmoid(h),
            AdversarialReward::LogD => sigmoid(-h),
            AdversarialReward::Exp => h.exp(),
            AdversarialReward::Fairl => -(1.0 + h) * h.exp(),
        }
    }

    /// The divergence in nats whose gradient the update descends; `None` for FAIRL's, which
    /// descends none.
    pub fn descends(self, demonstrator: &[f64], policy: &[f64]) -> Option<f64> {
        let reverse = || kl(policy, demonstrator);
        let twice_js = || 2.0 * jensen_shannon(demonstrator, policy);
        match self {
            AdversarialReward::Logit => Some(reverse()),
            AdversarialReward::Gail => Some(twice_js()),
            AdversarialReward::LogD => Some(reverse() - twice_js()),
            AdversarialReward::Exp => Some(kl(demonstrator, policy)),
            AdversarialReward::Fairl => None,
        }
    }

    /// The expected update against the optimal discriminator, frozen: weights `d^π·f(h)` in the
    /// sense of [`crate::estimator`].
    ///
    /// # Panics
    /// On different lengths.
    pub fn weights(self, demonstrator: &[f64], policy: &[f64]) -> Vec<f64> {
        let logits = log_ratio(demonstrator, policy);
        let pairs = policy.iter().zip(logits);
        pairs.map(|(p, h)| p * self.of(h)).collect()
    }
}

/// `min(exp(h), most)`: a reward of [`AdversarialReward::Exp`] that no single answer can dominate.
///
/// Bias: answers the demonstrator prefers by more than `most` are learned too slowly; where none
/// is, and so at the demonstrator itself when `most > 1`, there is none.
pub fn clipped_ratio(h: f64, most: f64) -> f64 {
    h.exp().min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::{entropy, expectation},
        minimise::differences,
        policy::Policy,
        space::Space,
        update::{ascend, growth, is_stationary},
    };

    fn pair(space: &Space, seed: u64) -> (Vec<f64>, Policy<'_>) {
        let demonstrator = Policy::random(space, 1.0, 500 + seed).distribution();
        (demonstrator, Policy::random(space, 1.0, seed))
    }

    fn uphill(policy: &Policy<'_>, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let at = |logits: &[f64]| of(&Policy::new(policy.space(), logits.to_vec()).distribution());
        differences(at, policy.logits())
    }

    #[test]
    fn each_reward_descends_its_divergence_with_the_discriminator_frozen() {
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let (demo, policy) = pair(&space, seed);
            let p = policy.distribution();
            for reward in AdversarialReward::ALL {
                if reward.descends(&demo, &p).is_none() {
                    continue;
                }
                let update = policy.gradient(&reward.weights(&demo, &p));
                let truth = uphill(&policy, |p| -reward.descends(&demo, p).unwrap());
                close_all(&update, &truth, 1e-8);
            }
        }
    }

    #[test]
    fn exp_of_the_logit_is_fine_tuning() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (demo, policy) = pair(&space, seed);
            let weights = AdversarialReward::Exp.weights(&demo, &policy.distribution());
            close_all(&weights, &demo, 1e-12);
            // So each of the demonstrator's answers pulls as often as it is given: SFT.
            let sft = uphill(&policy, |p| {
                let logs: Vec<f64> = p.iter().map(|p| p.ln()).collect();
                expectation(&demo, &logs)
            });
            close_all(&policy.gradient(&weights), &sft, 1e-8);
        }
    }

    #[test]
    fn fairl_has_the_right_value_and_another_gradient() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (demo, policy) = pair(&space, seed);
            let p = policy.distribution();
            let weights = AdversarialReward::Fairl.weights(&demo, &p);
            close(weights.iter().sum(), -kl(&demo, &p), 1e-12);
            let truth = uphill(&policy, |p| -kl(&demo, p));
            assert!(apart(&policy.gradient(&weights), &truth) > 1e-2);
        }
    }

    #[test]
    fn slopes_are_derivatives() {
        for reward in AdversarialReward::ALL {
            for h in [-3.0, -0.4, 0.0, 1.0, 2.5] {
                let numeric = differences(|x| reward.of(x[0]), &[h]);
                close(reward.slope(h), numeric[0], 1e-7);
            }
        }
    }

    #[test]
    fn the_demonstrator_attracts_all_and_repels_fairl() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (demo, policy) = pair(&space, seed);
            let departure: Vec<f64> = policy.logits()[..7].iter().map(|x| 1e-6 * x).collect();
            for reward in AdversarialReward::ALL {
                let weights = |p: &[f64]| reward.weights(&demo, p);
                let table = Policy::from_answers(&space, &demo);
                assert!(is_stationary(&table, weights, 1e-12), "{reward:?}");
                // A natural step multiplies a small departure by 1 − rate·f'(0).
                let grown = growth(&demo, &departure, weights, 0.1);
                close(grown, 1.0 - 0.1 * reward.slope(0.0), 1e-5);
                assert_eq!(grown > 1.0, reward == AdversarialReward::Fairl);
            }
        }
    }

    #[test]
    fn plain_gradients_see_the_same_sign_along_every_direction() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (demo, other) = pair(&space, seed);
            let table = Policy::from_answers(&space, &demo);
            let width = 1e-5;
            let moved = table.logits().iter().zip(other.logits());
            let moved = Policy::new(&space, moved.map(|(l, d)| l + width * d).collect());
            for reward in AdversarialReward::ALL {
                let update = moved.gradient(&reward.weights(&demo, &moved.distribution()));
                let along = update.iter().zip(other.logits());
                let along: f64 = along.map(|(g, d)| g * d / width).sum();
                // −f'(0) d'Fd, F the Fisher information: the variance of the score along d.
                let scores = space.along(&centred_by_state(&table, other.logits()));
                let fisher: f64 = demo.iter().zip(scores).map(|(p, s)| p * s * s).sum();
                close(along, -reward.slope(0.0) * fisher, 1e-3 * fisher);
            }
        }
    }

    /// `d(s,a) − Σ_b pi(b|s) d(s,b)`: the score of each step along a direction.
    fn centred_by_state(policy: &Policy<'_>, direction: &[f64]) -> Vec<f64> {
        let (tokens, vocab) = (policy.token_log_probs(), policy.space().vocab());
        let states = tokens.chunks(vocab).zip(direction.chunks(vocab));
        let of = |(l, d): (&[f64], &[f64])| {
            let mean: f64 = l.iter().zip(d).map(|(l, d)| l.exp() * d).sum();
            d.iter().map(|d| d - mean).collect::<Vec<f64>>()
        };
        states.flat_map(of).collect()
    }

    #[test]
    fn far_from_it_four_rewards_still_find_the_demonstrator_and_fairl_does_not() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (demo, policy) = pair(&space, seed);
            for reward in AdversarialReward::ALL {
                let weights = |p: &[f64]| reward.weights(&demo, p);
                let end = ascend(&policy.distribution(), weights, 0.05, 2000);
                let found = apart(&end, &demo) < 1e-6;
                assert_eq!(found, reward != AdversarialReward::Fairl, "{reward:?}");
            }
        }
    }

    #[test]
    fn a_class_ratio_left_in_the_logit_changes_what_is_descended() {
        let space = Space::new(3, 3);
        let ratio = 3f64;
        for seed in 0..20 {
            let (demo, policy) = pair(&space, seed);
            let p = policy.distribution();
            let update = |reward: AdversarialReward| {
                let pairs = p.iter().zip(log_ratio(&demo, &p));
                let weights: Vec<f64> = pairs.map(|(p, h)| p * reward.of(h + ratio.ln())).collect();
                policy.gradient(&weights)
            };
            let clean = |reward: AdversarialReward| policy.gradient(&reward.weights(&demo, &p));
            let logit = AdversarialReward::Logit;
            close_all(&update(logit), &clean(logit), 1e-12);
            let exp = clean(AdversarialReward::Exp);
            let scaled: Vec<f64> = exp.iter().map(|g| ratio * g).collect();
            close_all(&update(AdversarialReward::Exp), &scaled, 1e-12);
            for reward in [AdversarialReward::Gail, AdversarialReward::LogD] {
                let (shifted, clean) = (update(reward), clean(reward));
                let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
                let cosine =
                    dot(&shifted, &clean) / (dot(&shifted, &shifted) * dot(&clean, &clean)).sqrt();
                assert!(cosine < 1.0 - 1e-6, "{reward:?} {cosine}");
            }
        }
    }

    #[test]
    fn clipping_biases_only_where_the_demonstrator_leads_by_more() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (demo, policy) = pair(&space, seed);
            let p = policy.distribution();
            let logits = log_ratio(&demo, &p);
            let most = logits.iter().copied().fold(0.0, f64::max).exp();
            let gradient = |clip: f64| {
                let pairs = p.iter().zip(&logits);
                let weights: Vec<f64> = pairs.map(|(p, h)| p * clipped_ratio(*h, clip)).collect();
                policy.gradient(&weights)
            };
            let free = policy.gradient(&AdversarialReward::Exp.weights(&demo, &p));
            close_all(&gradient(1.001 * most), &free, 1e-12);
            assert!(apart(&gradient(0.5 * most), &free) > 1e-4);
        }
    }

    #[test]
    fn a_frozen_denominator_is_a_direction_and_a_moving_one_a_target() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (sft, init) = pair(&space, seed);
            let init = init.distribution();
            // Init-SFT: log pi_SFT − log pi_0, whatever the policy has become.
            let reward = log_ratio(&sft, &init);
            let frozen = |p: &[f64]| p.iter().zip(&reward).map(|(p, r)| p * r).collect();
            let end = ascend(&sft, frozen, 100.0, 3000);
            assert!(entropy(&end) < 1e-3, "runs away to one answer");
            let best = (0..7)
                .max_by(|&a, &b| reward[a].total_cmp(&reward[b]))
                .unwrap();
            close(end[best], 1.0, 1e-3);
            // The reverse-KL game with the policy itself below the line comes to pi_SFT.
            let moving = |p: &[f64]| AdversarialReward::Logit.weights(&sft, p);
            close_all(&ascend(&init, moving, 0.5, 100), &sft, 1e-9);
        }
    }
}
