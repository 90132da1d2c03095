//! What estimators of the policy gradient expect, over every group they could have drawn.
//!
//! An expectation is a table of weights `w`, one per answer, that stands for the update
//! `Σ_y w(y) ∇ log pi(y)` ([`crate::Policy::gradient`]), uphill. Since
//! `Σ_y pi(y) ∇ log pi(y) = 0`, weights that differ by a multiple of `pi` are one update, and a
//! table is stationary where its weights *are* a multiple of `pi`.

/// The most groups [`expected`] goes through.
pub const MAX_GROUPS: usize = 1 << 22;

/// Each reward less the mean of the others'. Source: RLOO, Ahmadian et al., arXiv 2402.14740.
/// Unbiased: its expectation is the gradient of `E[r]`.
///
/// # Panics
/// On groups of fewer than two.
pub fn leave_one_out(rewards: &[f64]) -> Vec<f64> {
    let n = rewards.len() as f64;
    assert!(n > 1.0, "nobody is left when one leaves");
    let total: f64 = rewards.iter().sum();
    let of = |r: &f64| r - (total - r) / (n - 1.0);
    rewards.iter().map(of).collect()
}

/// Each reward less the mean of all. Source: Dr. GRPO, Liu et al., arXiv 2503.20783.
/// Its expectation is `(G−1)/G` of [`leave_one_out`]'s.
pub fn less_mean(rewards: &[f64]) -> Vec<f64> {
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    rewards.iter().map(|r| r - mean).collect()
}

/// Each reward less the mean, over the group's standard deviation plus `epsilon`; 0 where all are
/// equal.
///
/// Source: GRPO, Shao et al., arXiv 2402.03300, with the deviation over `G − 1`, as TRL has it. It
/// is no gradient of `E[r]`: rewards of a prompt in another unit give the same update.
///
/// # Panics
/// On groups of fewer than two.
pub fn over_deviation(rewards: &[f64], epsilon: f64) -> Vec<f64> {
    let n = rewards.len() as f64;
    assert!(n > 1.0, "one reward has no deviation");
    let centred = less_mean(rewards);
    let square: f64 = centred.iter().map(|r| r * r).sum();
    let deviation = (square / (n - 1.0)).sqrt();
    // The mean of equals is equal to them but for its rounding, which nothing may be divided by.
    let equal = rewards.iter().all(|r| *r == rewards[0]);
    let by = if equal {
        f64::INFINITY
    } else {
        deviation + epsilon
    };
    centred.iter().map(|r| r / by).collect()
}

/// The expected weights of an estimator: `E[1/G Σ_i A_i 1(y_i = y)]` over groups of `group` answers
/// of `policy`, where `advantages` turns a group's rewards into its `A_i`.
///
/// REINFORCE is the identity on groups of one.
///
/// # Panics
/// Where there are more than [`MAX_GROUPS`] groups, and on different lengths.
pub fn expected(
    policy: &[f64],
    reward: &[f64],
    group: u32,
    advantages: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    let n = policy.len();
    assert_eq!(n, reward.len(), "a reward for each answer");
    let groups = n.checked_pow(group).filter(|&g| g <= MAX_GROUPS);
    let Some(groups) = groups else {
        panic!("more than {MAX_GROUPS} groups of {group} among {n} answers");
    };
    let mut weights = vec![0.0; n];
    let mut members = vec![0; group as usize];
    for _ in 0..groups {
        let likely: f64 = members.iter().map(|&y: &usize| policy[y]).product();
        let rewards: Vec<f64> = members.iter().map(|&y| reward[y]).collect();
        for (&y, a) in members.iter().zip(advantages(&rewards)) {
            weights[y] += likely * a / f64::from(group);
        }
        next(&mut members, n);
    }
    weights
}

/// The weights of an estimator whose loss is the *mean* over an answer's tokens.
///
/// Source: GRPO as published. It is no gradient of `E[r]` either: short answers are pushed harder.
///
/// # Panics
/// On different lengths.
pub fn per_token_mean(weights: &[f64], lengths: &[f64]) -> Vec<f64> {
    assert_eq!(weights.len(), lengths.len(), "a length for each answer");
    weights.iter().zip(lengths).map(|(w, l)| w / l).collect()
}

/// Counts up.
fn next(members: &mut [usize], n: usize) {
    for member in members {
        *member += 1;
        if *member < n {
            return;
        }
        *member = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::expectation,
        minimise::differences,
        policy::Policy,
        space::Space,
    };

    fn gradient_of_value(policy: &Policy<'_>, reward: &[f64]) -> Vec<f64> {
        let value = |logits: &[f64]| {
            let policy = Policy::new(policy.space(), logits.to_vec());
            expectation(&policy.distribution(), reward)
        };
        differences(value, policy.logits())
    }

    fn scaled(x: &[f64], by: f64) -> Vec<f64> {
        x.iter().map(|x| x * by).collect()
    }

    /// The cosine of two updates.
    fn cosine(x: &[f64], y: &[f64]) -> f64 {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
    }

    #[test]
    fn reinforce_and_leave_one_out_expect_the_gradient() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let policy = Policy::random(&space, 1.5, seed);
            let reward = Policy::random(&space, 1.5, 500 + seed).log_probs();
            let (p, truth) = (policy.distribution(), gradient_of_value(&policy, &reward));
            let reinforce = expected(&p, &reward, 1, <[f64]>::to_vec);
            close_all(&policy.gradient(&reinforce), &truth, 1e-8);
            for group in 2..=4 {
                let rloo = policy.gradient(&expected(&p, &reward, group, leave_one_out));
                close_all(&rloo, &truth, 1e-8);
                let share = 1.0 - 1.0 / f64::from(group);
                let mean = policy.gradient(&expected(&p, &reward, group, less_mean));
                close_all(&mean, &scaled(&truth, share), 1e-8);
            }
        }
    }

    #[test]
    fn leave_one_out_in_closed_form() {
        let space = Space::new(3, 2);
        let p = Policy::random(&space, 1.5, 1).distribution();
        let reward = Policy::random(&space, 1.5, 2).log_probs();
        let mean = expectation(&p, &reward);
        let closed: Vec<f64> = p.iter().zip(&reward).map(|(p, r)| p * (r - mean)).collect();
        close_all(&expected(&p, &reward, 3, leave_one_out), &closed, 1e-12);
    }

    #[test]
    fn a_baseline_takes_variance_away_and_nothing_else() {
        // E|Σ A_i ∇ log pi(y_i)|² / G² over all pairs, with and without the other's reward.
        let space = Space::new(2, 3);
        for seed in 0..20 {
            let policy = Policy::random(&space, 1.0, seed);
            let p = policy.distribution();
            // Rewards around 5: what REINFORCE suffers from.
            let raw = Policy::random(&space, 1.0, 500 + seed).log_probs();
            let reward: Vec<f64> = raw.iter().map(|r| r + 5.0).collect();
            let second = |advantages: &dyn Fn(&[f64]) -> Vec<f64>| {
                let mut sum = 0.0;
                for y in 0..p.len() {
                    for z in 0..p.len() {
                        let a = advantages(&[reward[y], reward[z]]);
                        let mut weights = vec![0.0; p.len()];
                        weights[y] += 0.5 * a[0];
                        weights[z] += 0.5 * a[1];
                        let g = policy.gradient(&weights);
                        sum += p[y] * p[z] * g.iter().map(|g| g * g).sum::<f64>();
                    }
                }
                sum
            };
            assert!(second(&leave_one_out) < second(&<[f64]>::to_vec));
        }
    }

    #[test]
    fn over_its_deviation_a_group_forgets_the_unit_of_its_rewards() {
        let space = Space::new(3, 2);
        let std = |r: &[f64]| over_deviation(r, 0.0);
        for seed in 0..20 {
            let policy = Policy::random(&space, 1.5, seed);
            let reward = Policy::random(&space, 1.5, 500 + seed).log_probs();
            let p = policy.distribution();
            for group in 2..=4 {
                let once = expected(&p, &reward, group, std);
                let tenfold = expected(&p, &scaled(&reward, 10.0), group, std);
                close_all(&once, &tenfold, 1e-12);
                let truth = gradient_of_value(&policy, &reward);
                let cosine = cosine(&policy.gradient(&once), &truth);
                assert!((0.0..1.0 - 1e-6).contains(&cosine), "{cosine}");
            }
            // Of two answers only which is better is left: A = ±1/√2.
            let pairs = expected(&p, &reward, 2, std);
            for (y, w) in pairs.iter().enumerate() {
                let sign = |r: f64| {
                    if r == reward[y] {
                        0.0
                    } else {
                        (reward[y] - r).signum()
                    }
                };
                let wins: Vec<f64> = reward.iter().map(|&r| sign(r)).collect();
                close(*w, p[y] * expectation(&p, &wins) / 2f64.sqrt(), 1e-12);
            }
        }
        assert_eq!(over_deviation(&[0.1; 3], 0.0), [0.0; 3]);
    }

    #[test]
    fn a_mean_over_tokens_is_another_update() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let policy = Policy::random(&space, 1.5, seed);
            let reward = Policy::random(&space, 1.5, 500 + seed).log_probs();
            let weights = expected(&policy.distribution(), &reward, 2, less_mean);
            let meant = per_token_mean(&weights, &space.lengths());
            let (summed, meant) = (policy.gradient(&weights), policy.gradient(&meant));
            assert!(cosine(&summed, &meant) < 1.0 - 1e-4);
        }
        // Where all answers are equally long there is nothing to tell.
        let space = Space::new(4, 1);
        let p = Policy::random(&space, 1.0, 1).distribution();
        let weights = expected(&p, &[1.0, 2.0, 0.0, 3.0], 2, less_mean);
        assert_eq!(
            apart(&per_token_mean(&weights, &space.lengths()), &weights),
            0.0
        );
    }

    #[test]
    #[should_panic(expected = "groups of 9 among 15 answers")]
    fn too_many_groups_are_refused() {
        expected(&[1.0 / 15.0; 15], &[0.0; 15], 9, less_mean);
    }
}
