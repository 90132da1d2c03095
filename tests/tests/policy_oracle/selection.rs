//! Selection from stored samples against the oracle: what a policy that is known exactly becomes.

use afd_exact::{
    Policy, Space,
    best_of_n::best_of_n,
    divergence::{expectation, kl},
    optimum,
};
use afd_model::{
    best_of_n_weights, beta_at_kl, selection_kl, soft_best_of_n_weights, tilted_weights,
};

/// How many samples of each of `answers` a store of about `size` holds, and what policy that is.
fn store(policy: &[f64], size: f64) -> (Vec<usize>, Vec<f64>) {
    let copies: Vec<usize> = policy
        .iter()
        .map(|p| 1 + (p * size).round() as usize)
        .collect();
    let total: usize = copies.iter().sum();
    let shares = copies.iter().map(|&c| c as f64 / total as f64).collect();
    (copies, shares)
}

/// For every sample in the store the value of its answer.
fn spread(copies: &[usize], of: &[f64]) -> Vec<f64> {
    let each = copies.iter().zip(of);
    each.flat_map(|(&copies, &value)| std::iter::repeat_n(value, copies))
        .collect()
}

/// The other way about: weights of samples as a distribution over answers.
fn gathered(copies: &[usize], weights: &[f64]) -> Vec<f64> {
    let mut weights = weights.iter();
    let sum = |&copies: &usize| weights.by_ref().take(copies).sum();
    copies.iter().map(sum).collect()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // A NaN is as far apart as can be.
    gaps.fold(0.0, |most, gap| if gap <= most { most } else { gap })
}

#[test]
fn tilted_weights_are_the_kl_optimum_of_what_is_stored() {
    let space = Space::new(3, 3);
    for seed in 0..20 {
        let policy = Policy::random(&space, 1.0, seed).distribution();
        let reward = Policy::random(&space, 2.0, 500 + seed).log_probs();
        let (copies, stored) = store(&policy, 400.0);
        let scores = spread(&copies, &reward);
        for beta in [0.2, 1.0, 5.0] {
            let weights = tilted_weights(&scores, beta);
            let best = optimum::kl_optimum(&stored, &reward, beta);
            assert!(apart(&gathered(&copies, &weights), &best) < 1e-12);
            assert!((selection_kl(&weights) - kl(&best, &stored)).abs() < 1e-12);
        }
        for nats in [0.05, 0.5] {
            let beta = beta_at_kl(&[&scores], nats).unwrap();
            let exact = optimum::beta_at_kl(&stored, &reward, nats).unwrap();
            assert!((beta / exact - 1.0).abs() < 1e-9, "{beta}, {exact}");
        }
        assert_eq!(beta_at_kl(&[&scores], 50.0), None);
    }
}

#[test]
fn from_a_large_store_best_of_n_is_the_exact_one_and_its_kl_too() {
    let space = Space::new(3, 2);
    for seed in 0..5 {
        let policy = Policy::random(&space, 1.0, seed).distribution();
        let reward = Policy::random(&space, 1.5, 500 + seed).log_probs();
        let (copies, stored) = store(&policy, 4000.0);
        let scores = spread(&copies, &reward);
        for n in [1, 2, 4, 16] {
            let weights = best_of_n_weights(&scores, n);
            let exact = best_of_n(&stored, &reward, n as u32);
            // Draws without replacement differ from those with it by the order of n²/M.
            let bound = (n * n) as f64 / 4000.0;
            let gap = apart(&gathered(&copies, &weights), &exact);
            assert!(gap <= bound, "{gap} at {n}");
            let gap = (selection_kl(&weights) - kl(&exact, &stored)).abs();
            assert!(gap <= 2.0 * bound, "{gap} at {n}");
        }
    }
}

/// All `n`-tuples of `0..m`.
fn tuples(m: usize, n: u32) -> impl Iterator<Item = Vec<usize>> {
    (0..m.pow(n)).map(move |code| (0..n).map(|i| code / m.pow(i) % m).collect())
}

/// `answers`, of which one is drawn by softmax at `temperature` from `n` draws of `policy`.
fn soft(policy: &[f64], reward: &[f64], n: u32, temperature: f64) -> Vec<f64> {
    let mut chosen = vec![0.0; policy.len()];
    for group in tuples(policy.len(), n) {
        let likely: f64 = group.iter().map(|&y| policy[y]).product();
        let most = group.iter().map(|&y| reward[y]).fold(f64::MIN, f64::max);
        let rates = group
            .iter()
            .map(|&y| ((reward[y] - most) / temperature).exp());
        let total: f64 = rates.clone().sum();
        for (&y, rate) in group.iter().zip(rates) {
            chosen[y] += likely * rate / total;
        }
    }
    chosen
}

#[test]
fn soft_best_of_n_from_a_store_is_unbiased_and_becomes_the_hard_one() {
    let space = Space::new(2, 2);
    for seed in 0..3 {
        let policy = Policy::random(&space, 1.0, seed).distribution();
        let reward = Policy::random(&space, 1.5, 500 + seed).log_probs();
        let value = Policy::random(&space, 1.0, 700 + seed).log_probs();
        for (stored, n) in [(4, 2), (5, 3)] {
            for temperature in [0.3, 2.0] {
                // Over all stores that may come to be.
                let mut mean = 0.0;
                for sample in tuples(policy.len(), stored) {
                    let likely: f64 = sample.iter().map(|&y| policy[y]).product();
                    let of = |table: &[f64]| sample.iter().map(|&y| table[y]).collect::<Vec<_>>();
                    let weights = soft_best_of_n_weights(&of(&reward), n, temperature);
                    mean += likely * expectation(&weights, &of(&value));
                }
                let exact = soft(&policy, &reward, n as u32, temperature);
                let gap = (mean - expectation(&exact, &value)).abs();
                assert!(gap < 1e-10, "{gap} at {n} of {stored}, {temperature}");
            }
        }
        let cold = soft(&policy, &reward, 3, 1e-3);
        assert!(apart(&cold, &best_of_n(&policy, &reward, 3)) < 1e-6);
    }
}
