//! What a KL-regularised policy converges to, and the extrapolations that come close to it.

use crate::{
    divergence::{expectation, kl},
    policy::{Policy, log_softmax, log_sum_exp},
};

/// `pi* = ref · exp(r/β) / Z`: the best of all policies by [`regularised_value`].
///
/// # Panics
/// Unless `beta` is positive, and on different lengths.
pub fn kl_optimum(reference: &[f64], reward: &[f64], beta: f64) -> Vec<f64> {
    let logs = log_softmax(&tilted(reference, reward, beta));
    logs.iter().map(|l| l.exp()).collect()
}

/// `β log Z`, `Z = Σ ref · exp(r/β)`: what [`kl_optimum`] is worth, in the reward's unit.
///
/// # Panics
/// Unless `beta` is positive, and on different lengths.
pub fn optimal_value(reference: &[f64], reward: &[f64], beta: f64) -> f64 {
    beta * log_sum_exp(&tilted(reference, reward, beta))
}

/// `E_pi[r] − β KL(pi ‖ ref)`, with rewards in nats where `beta` is to mean something.
pub fn regularised_value(policy: &[f64], reference: &[f64], reward: &[f64], beta: f64) -> f64 {
    expectation(policy, reward) - beta * kl(policy, reference)
}

/// The coefficient at which [`kl_optimum`] lies this many nats from the reference; `None` where
/// none does, the best answers being nearer than that.
///
/// It is how rewards in different units are compared: one in another unit has another coefficient
/// and the same policy.
///
/// # Panics
/// On different lengths.
pub fn beta_at_kl(reference: &[f64], reward: &[f64], nats: f64) -> Option<f64> {
    let spread = |pick: fn(f64, f64) -> f64| reward.iter().copied().reduce(pick).unwrap_or(0.0);
    let unit = spread(f64::max) - spread(f64::min);
    let at = |log: f64| kl(&kl_optimum(reference, reward, unit * log.exp()), reference);
    // The KL falls as the coefficient grows.
    let (mut low, mut high) = (-25.0, 25.0);
    if !(unit > 0.0 && at(high) < nats && nats < at(low)) {
        return None;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if at(middle) > nats {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(unit * (0.5 * (low + high)).exp())
}

/// The policy with logits `reference + a·(positive − negative)`, normalised token by token.
///
/// It is contrastive decoding, and extrapolation of weights where logits are linear in them. With
/// `a = 1/β` it equals [`kl_optimum`] for the log-ratio of the two at horizon 1, or where reference
/// and `negative` are one policy and `β = 1`; elsewhere it lacks the look-ahead: a token's share of
/// `Z` is what the rest of the answer can still earn.
///
/// # Panics
/// Unless all three are of one space.
pub fn extrapolated<'s>(
    reference: &Policy<'s>,
    positive: &Policy<'_>,
    negative: &Policy<'_>,
    a: f64,
) -> Policy<'s> {
    let difference = positive.logits().iter().zip(negative.logits());
    let difference: Vec<f64> = difference.map(|(p, q)| p - q).collect();
    assert_eq!(difference.len(), reference.logits().len(), "one space");
    let logits = reference.logits().iter().zip(difference);
    let logits = logits.map(|(l, d)| l + a * d).collect();
    Policy::new(reference.space(), logits)
}

fn tilted(reference: &[f64], reward: &[f64], beta: f64) -> Vec<f64> {
    assert!(beta > 0.0, "a KL coefficient of {beta} holds nothing");
    assert_eq!(reference.len(), reward.len(), "a reward for each answer");
    let pairs = reference.iter().zip(reward);
    pairs.map(|(p, r)| p.ln() + r / beta).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        best_of_n::best_of_n,
        check::{apart, close, close_all},
        reward::answer_rewards,
        space::Space,
    };

    fn three(space: &Space, seed: u64) -> (Policy<'_>, Policy<'_>) {
        let init = Policy::random(space, 1.5, seed);
        (init, Policy::random(space, 1.5, 500 + seed))
    }

    #[test]
    fn no_policy_is_worth_more_and_the_gap_is_a_kl() {
        let space = Space::new(3, 3);
        for seed in 0..50 {
            let (reference, other) = three(&space, seed);
            let (reference, other) = (reference.distribution(), other.distribution());
            let reward = Policy::random(&space, 2.0, 900 + seed).log_probs();
            for beta in [0.1, 0.5, 1.0, 3.0] {
                let best = kl_optimum(&reference, &reward, beta);
                let value = |p: &[f64]| regularised_value(p, &reference, &reward, beta);
                close(value(&best), optimal_value(&reference, &reward, beta), 1e-9);
                // Gibbs: value(best) − value(p) = β KL(p ‖ best).
                let gap = value(&best) - value(&other);
                close(gap, beta * kl(&other, &best), 1e-9);
                assert!(gap > 0.0);
            }
        }
    }

    #[test]
    fn the_init_sft_reward_extrapolates_from_either_policy() {
        let space = Space::new(3, 3);
        for seed in 0..50 {
            let (init, sft) = three(&space, seed);
            let reward = answer_rewards(&sft, &init);
            let (p0, p1) = (init.distribution(), sft.distribution());
            for beta in [0.3f64, 1.0, 2.0] {
                let power = |p: &[f64]| {
                    let tilted = p.iter().zip(p1.iter().zip(&p0));
                    let tilted: Vec<f64> = tilted
                        .map(|(p, (s, i))| p * (s / i).powf(1.0 / beta))
                        .collect();
                    crate::divergence::normalised(&tilted)
                };
                close_all(&kl_optimum(&p1, &reward, beta), &power(&p1), 1e-10);
                close_all(&kl_optimum(&p0, &reward, beta), &power(&p0), 1e-10);
            }
            // A coefficient of 1 from pi_0 returns exactly pi_SFT, and no other does.
            close_all(&kl_optimum(&p0, &reward, 1.0), &p1, 1e-12);
            assert!(apart(&kl_optimum(&p0, &reward, 0.7), &p1) > 1e-3);
        }
    }

    #[test]
    fn token_extrapolation_is_the_optimum_at_horizon_one_and_from_pi_0_at_one() {
        for seed in 0..30 {
            for (horizon, exact) in [(1, true), (3, false)] {
                let space = Space::new(4, horizon);
                let (init, sft) = three(&space, seed);
                let reward = answer_rewards(&sft, &init);
                for reference in [&init, &sft] {
                    for beta in [0.5, 1.0, 2.0] {
                        let best = kl_optimum(&reference.distribution(), &reward, beta);
                        let token = extrapolated(reference, &sft, &init, 1.0 / beta);
                        let gap = apart(&token.distribution(), &best);
                        let from_init_at_one = beta == 1.0 && std::ptr::eq(reference, &init);
                        if exact || from_init_at_one {
                            assert!(gap < 1e-12, "{gap}");
                        } else {
                            assert!(gap > 1e-4, "{gap} at {beta}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_token_extrapolation_lacks_is_the_rest_of_the_answer() {
        // At a state, the optimum's token has log-odds of the extrapolated one plus the change of
        // log Z of what follows: checked at the root of a two-token world.
        let space = Space::new(3, 2);
        for seed in 0..30 {
            let (init, sft) = three(&space, seed);
            let (reward, beta) = (answer_rewards(&sft, &init), 0.5);
            let best = kl_optimum(&sft.distribution(), &reward, beta);
            let best = Policy::from_answers(&space, &best).token_log_probs();
            let short = extrapolated(&sft, &sft, &init, 1.0 / beta).token_log_probs();
            let (s, i) = (sft.token_log_probs(), init.token_log_probs());
            let rest = |state: usize| {
                let steps = state * 3..state * 3 + 3;
                let tilted: Vec<f64> = steps.map(|k| s[k] + (s[k] - i[k]) / beta).collect();
                log_sum_exp(&tilted)
            };
            let odds = |p: &[f64], token: usize| p[token] - p[0];
            for token in [1, 2] {
                let expected = odds(&short, token) + rest(token);
                close(odds(&best, token), expected, 1e-9);
            }
        }
    }

    #[test]
    fn at_matched_kl_the_unit_of_a_reward_is_nothing_and_best_of_n_is_not_better() {
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let (reference, other) = three(&space, seed);
            let (p, reward) = (reference.distribution(), other.log_probs());
            let tenfold: Vec<f64> = reward.iter().map(|r| 10.0 * r - 4.0).collect();
            for n in [2, 4, 16] {
                let best = best_of_n(&p, &reward, n);
                let nats = kl(&best, &p);
                let beta = beta_at_kl(&p, &reward, nats).unwrap();
                let tilted = kl_optimum(&p, &reward, beta);
                close(kl(&tilted, &p), nats, 1e-9);
                close(beta_at_kl(&p, &tenfold, nats).unwrap() / beta, 10.0, 1e-6);
                // No policy as near earns more.
                let gap = expectation(&tilted, &reward) - expectation(&best, &reward);
                assert!(gap > 0.0, "{gap} at {n}");
            }
            assert_eq!(beta_at_kl(&p, &reward, 50.0), None);
            assert_eq!(beta_at_kl(&p, &[1.0; 15], 0.1), None);
        }
    }

    #[test]
    fn less_regularisation_moves_further_and_earns_more() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (reference, other) = three(&space, seed);
            let (p, reward) = (reference.distribution(), other.log_probs());
            let at = |beta: f64| kl_optimum(&p, &reward, beta);
            let (loose, tight) = (at(0.2), at(2.0));
            assert!(kl(&loose, &p) > kl(&tight, &p));
            assert!(expectation(&loose, &reward) > expectation(&tight, &reward));
            close_all(&at(1e9), &p, 1e-7);
        }
    }
}
