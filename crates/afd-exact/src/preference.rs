//! Learning from pairs without a reward model: DPO and SPIN, over every pair.
//!
//! A table `beats[y][z]` says how often a pair comes up in which `y` is preferred to `z`.

use crate::{
    best_of_n::best_and_worst,
    loss::{sigmoid, softplus},
    policy::{Policy, log_softmax},
};

/// Pairs drawn from `policy` and labelled by chance: `p(y) p(z) σ(r(y) − r(z))`.
///
/// # Panics
/// On different lengths.
pub fn drawn_labels(policy: &[f64], reward: &[f64]) -> Vec<Vec<f64>> {
    assert_eq!(policy.len(), reward.len(), "a reward for each answer");
    let answers = || policy.iter().zip(reward);
    let row = |(p, r): (&f64, &f64)| answers().map(|(q, s)| p * q * sigmoid(r - s)).collect();
    answers().map(row).collect()
}

/// The best against the worst of `n` answers, the better one preferred for certain; groups that tie
/// throughout are left out.
///
/// # Panics
/// As [`best_and_worst`].
pub fn hard_labels(policy: &[f64], reward: &[f64], n: u32) -> Vec<Vec<f64>> {
    best_and_worst(policy, reward, n)
}

/// SPIN's pairs: a demonstration preferred to an answer of the previous policy, `d(y) p_t(z)`.
pub fn self_play(demonstrator: &[f64], previous: &[f64]) -> Vec<Vec<f64>> {
    let row = |d: &f64| previous.iter().map(|p| d * p).collect();
    demonstrator.iter().map(row).collect()
}

/// DPO's expected loss and its gradient over the policy's logits, by step.
///
/// Formula: `−Σ beats[y][z] log σ(β(l_y − l_z))`, `l = log pi − log ref`.
/// Source: Rafailov et al., arXiv 2305.18290, eq. 7; with [`self_play`] and the previous policy as
/// reference, SPIN: Chen et al., arXiv 2401.01335, eq. 4.7, `β` being its `λ`.
/// Departures: none; every pair counts as often as it comes up.
///
/// # Panics
/// Unless `reference` has one log-probability and `beats` one row per answer.
pub fn dpo(
    policy: &Policy<'_>,
    reference: &[f64],
    beats: &[Vec<f64>],
    beta: f64,
) -> (f64, Vec<f64>) {
    let logs = policy.log_probs();
    assert!(reference.len() == logs.len() && beats.len() == logs.len());
    let l: Vec<f64> = logs.iter().zip(reference).map(|(p, q)| p - q).collect();
    let (mut loss, mut weights) = (0.0, vec![0.0; l.len()]);
    for (y, row) in beats.iter().enumerate() {
        for (z, often) in row.iter().enumerate() {
            let lead = beta * (l[y] - l[z]);
            let pull = often * beta * sigmoid(-lead);
            loss += often * softplus(-lead);
            weights[y] -= pull;
            weights[z] += pull;
        }
    }
    (loss, policy.gradient(&weights))
}

/// SPIN's step in closed form: `p_(t+1) ∝ p_t · (d/p_t)^(1/λ)`, the minimum of [`dpo`] over
/// [`self_play`].
///
/// The demonstrator is its fixed point. A small log-ratio to it is multiplied by `1 − 1/λ`, so it
/// attracts only for `λ > 1/2`.
///
/// # Panics
/// Unless `lambda` is positive, and on different lengths.
pub fn spin_step(previous: &[f64], demonstrator: &[f64], lambda: f64) -> Vec<f64> {
    assert!(lambda > 0.0, "a coefficient of {lambda} holds nothing");
    assert_eq!(previous.len(), demonstrator.len());
    let pairs = previous.iter().zip(demonstrator);
    let logs: Vec<f64> = pairs
        .map(|(p, d)| p.ln() + (d.ln() - p.ln()) / lambda)
        .collect();
    log_softmax(&logs).iter().map(|l| l.exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::kl,
        minimise::{Minimum, differences, minimise},
        optimum::kl_optimum,
        space::Space,
    };

    fn learned<'s>(
        start: &Policy<'s>,
        reference: &[f64],
        beats: &[Vec<f64>],
        beta: f64,
        steps: usize,
    ) -> (Policy<'s>, Minimum) {
        let space = start.space();
        let f = |logits: &[f64]| dpo(&Policy::new(space, logits.to_vec()), reference, beats, beta);
        let found = minimise(f, start.logits(), 1e-11, steps);
        (Policy::new(space, found.at.clone()), found)
    }

    fn instance(space: &Space, seed: u64) -> (Policy<'_>, Policy<'_>, Vec<f64>) {
        let reference = Policy::random(space, 1.0, 500 + seed);
        let start = Policy::random(space, 1.0, seed);
        (
            start,
            reference,
            Policy::random(space, 1.0, 900 + seed).log_probs(),
        )
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (policy, reference, reward) = instance(&space, seed);
            let beats = drawn_labels(&reference.distribution(), &reward);
            let at = |logits: &[f64]| {
                let policy = Policy::new(&space, logits.to_vec());
                dpo(&policy, &reference.log_probs(), &beats, 0.3)
            };
            let numeric = differences(|x| at(x).0, policy.logits());
            close_all(&at(policy.logits()).1, &numeric, 1e-8);
        }
    }

    #[test]
    fn dpo_on_labels_drawn_by_the_reward_comes_to_the_tilted_reference() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (start, reference, reward) = instance(&space, seed);
            let (q, log_q) = (reference.distribution(), reference.log_probs());
            for beta in [0.5, 1.0] {
                // Whoever draws the pairs, as long as every pair comes up.
                for drawer in [q.clone(), vec![1.0 / 7.0; 7]] {
                    let beats = drawn_labels(&drawer, &reward);
                    let (policy, found) = learned(&start, &log_q, &beats, beta, 3000);
                    assert!(found.slope < 1e-9, "{found:?}");
                    let best = kl_optimum(&q, &reward, beta);
                    close_all(&policy.distribution(), &best, 1e-5);
                }
            }
        }
    }

    #[test]
    fn dpo_on_hard_pairs_has_no_finite_optimum() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (_, reference, reward) = instance(&space, seed);
            let log_q = reference.log_probs();
            let beats = hard_labels(&reference.distribution(), &reward, 4);
            // Along ref·exp(s·r) the loss falls towards 0 for ever.
            let at = |s: f64| {
                let tilted = kl_optimum(&reference.distribution(), &reward, 1.0 / s);
                dpo(&Policy::from_answers(&space, &tilted), &log_q, &beats, 1.0)
            };
            let losses: Vec<f64> = [1.0, 4.0, 16.0, 64.0].map(|s| at(s).0).to_vec();
            assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
            assert!(losses[3] < 0.1 * losses[0]);
            // And the further it is minimised, the further the policy has gone.
            let gone = |steps| {
                let (policy, found) = learned(&reference, &log_q, &beats, 1.0, steps);
                assert!(found.slope > 0.0);
                let ratio = policy.log_probs().into_iter().zip(&log_q);
                ratio.map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
            };
            let gone = [gone(5), gone(15), gone(60)];
            assert!(gone[2] > 1.5 * gone[1] && gone[1] > gone[0], "{gone:?}");
        }
    }

    #[test]
    fn spins_loss_has_its_closed_form_as_minimum() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (previous, demonstrator, _) = instance(&space, seed);
            let (p, d) = (previous.distribution(), demonstrator.distribution());
            for lambda in [0.5, 1.0, 3.0] {
                let beats = self_play(&d, &p);
                let (policy, found) =
                    learned(&previous, &previous.log_probs(), &beats, lambda, 3000);
                assert!(found.slope < 1e-9, "{found:?}");
                close_all(&policy.distribution(), &spin_step(&p, &d, lambda), 1e-5);
            }
        }
    }

    #[test]
    fn spin_finds_the_demonstrator_only_above_one_half() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let (start, demonstrator, _) = instance(&space, seed);
            let d = demonstrator.distribution();
            close_all(&spin_step(&d, &d, 0.3), &d, 1e-12);
            let after = |lambda: f64, rounds: usize| {
                (0..rounds).fold(start.distribution(), |p, _| spin_step(&p, &d, lambda))
            };
            for lambda in [0.6, 1.0, 2.0, 5.0] {
                close_all(&after(lambda, 200), &d, 1e-9);
            }
            // With λ = 1 in one step; at ½ it goes back and forth; below it, away.
            close_all(&after(1.0, 1), &d, 1e-12);
            close_all(&after(0.5, 2), &start.distribution(), 1e-9);
            assert!(apart(&after(0.5, 1), &start.distribution()) > 1e-3);
            assert!(kl(&after(0.4, 8), &d) > 2.0 * kl(&after(0.4, 0), &d));
            // A log-ratio to the demonstrator is multiplied by 1 − 1/λ, up to a constant.
            let next = spin_step(&start.distribution(), &d, 3.0);
            let log_ratio = |p: &[f64], y: usize| (p[y] / d[y]).ln() - (p[0] / d[0]).ln();
            for y in 1..15 {
                let before = log_ratio(&start.distribution(), y);
                close(log_ratio(&next, y), (1.0 - 1.0 / 3.0) * before, 1e-9);
            }
        }
    }
}
