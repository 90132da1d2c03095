//! Selection by chance from stored samples, worked out exactly: tilted weights, and their KL.
//!
//! [`best_of_n_weights`](crate::best_of_n_weights) prefers by rank; these prefer by how much better a
//! score is, so the unit of the score matters and a temperature or KL coefficient goes with it.

/// The probability of each stored sample under the KL-regularised optimum on these samples.
///
/// Formula: `w ∝ exp(score/β)`, self-normalised. It is what rejection sampling ends in that draws a
/// sample at random and accepts it with probability `exp((score − max)/β)` until one is accepted;
/// the mean of these is [`acceptance_rate`].
///
/// Source: Liu et al., *Statistical Rejection Sampling* (RSO), arXiv 2309.06657.
///
/// Departures: stored samples may be taken again and again, so there is always one to accept.
///
/// # Panics
/// Unless `beta` is positive, and without scores or with one that is not finite.
pub fn tilted_weights(scores: &[f64], beta: f64) -> Vec<f64> {
    let accepted = accepted(scores, beta);
    let total: f64 = accepted.iter().sum();
    accepted.iter().map(|a| a / total).collect()
}

/// The share of samples that rejection sampling with coefficient `beta` accepts: 1 where all scores
/// are equal, `1/M` where the best of `M` is all that is left.
///
/// # Panics
/// Those of [`tilted_weights`].
pub fn acceptance_rate(scores: &[f64], beta: f64) -> f64 {
    accepted(scores, beta).iter().sum::<f64>() / scores.len() as f64
}

/// The coefficient at which [`tilted_weights`] lie `nats` from the stored samples in the mean over
/// prompts; `None` where none does, because taking the best of each prompt is nearer than that or
/// nothing sets samples apart.
///
/// There is one coefficient for all prompts: where scores differ much the policy moves far, and
/// where they do not it stays.
///
/// # Panics
/// Those of [`tilted_weights`] for any prompt's scores.
pub fn beta_at_kl(prompts: &[&[f64]], nats: f64) -> Option<f64> {
    let spread = |scores: &&[f64]| {
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        most - least
    };
    let unit = prompts.iter().map(spread).fold(0.0, f64::max);
    let at = |log: f64| {
        let beta = unit * log.exp();
        let each = prompts
            .iter()
            .map(|scores| selection_kl(&tilted_weights(scores, beta)));
        each.sum::<f64>() / prompts.len() as f64
    };
    // The KL falls as the coefficient grows.
    let (mut low, mut high) = (-25.0, 25.0);
    if !(unit > 0.0 && at(high) < nats && nats < at(low)) {
        return None;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at(middle) > nats {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(unit * (0.5 * (low + high)).exp())
}

/// `KL(w ‖ stored samples)` in nats: how far a choice with these weights lies from taking any of
/// the stored samples, each an answer of its own.
///
/// It estimates the KL to the policy that drew them and cannot exceed `ln M`, whatever the KL: only
/// far below that is it near it.
pub fn selection_kl(weights: &[f64]) -> f64 {
    let m = weights.len() as f64;
    let some = weights.iter().filter(|w| **w > 0.0);
    some.map(|w| w * (w * m).ln()).sum()
}

/// The probability of each of M stored samples to be the answer of soft Best-of-N.
///
/// N of the M samples are drawn without replacement, and one of these is taken with probability
/// `∝ exp(score/λ)`, with `λ` the `temperature`: as it falls to 0 this becomes Best-of-N, as it
/// grows one of the N at random.
///
/// Formula: `w_i = n/M ∫ e_i exp(−e_i t) E[Π_(j ∈ S) exp(−e_j t)] dt` with `e = exp(score/λ)` and
/// `S` any `n − 1` of the others, because a choice by softmax is the first of independent
/// exponential clocks. The expectation is a ratio of two polynomials' coefficients, and the
/// integral over `ln t` one that the trapezoid rule takes to the last digits.
///
/// Source: Verdun et al., *Soft Best-of-n Sampling for Model Alignment*, arXiv 2505.03156.
///
/// Departures: N of the stored M instead of N fresh draws; all subsets at once instead of one.
///
/// Time is `M · n · (range of scores/λ + 80)`, so a temperature of next to nothing is better
/// asked for as [`best_of_n_weights`](crate::best_of_n_weights).
///
/// # Panics
/// When `n` is not in `1..=M`, unless `temperature` is positive, and on scores that are not finite.
pub fn soft_best_of_n_weights(scores: &[f64], n: usize, temperature: f64) -> Vec<f64> {
    let m = scores.len();
    assert!(
        (1..=m).contains(&n),
        "best of {n} needs 1 ≤ {n} ≤ {m}, the number of samples"
    );
    // The logarithms of the clocks' rates, the fastest having 0.
    let logs = logs(scores, temperature);
    if n == 1 {
        return vec![1.0 / m as f64; m];
    }
    /// The trapezoid rule's error is of the order of `exp(−π²/step)`.
    const STEP: f64 = 0.25;
    /// Below the rounding of a weight.
    const NOTHING: f64 = 36.0;
    let slowest = logs.iter().copied().fold(0.0, f64::min);
    let from = -NOTHING - (n as f64).ln();
    let steps = ((NOTHING.ln() - slowest - from) / STEP).ceil() as usize;
    let subsets = Subsets::new(m, n - 1);
    let mut weights = vec![0.0; m];
    for step in 0..=steps {
        let log_t = from + STEP * step as f64;
        let waited = |log: &f64| (log + log_t).exp();
        let silent: Vec<f64> = logs.iter().map(|log| (-waited(log)).exp()).collect();
        let others = subsets.without_each(&silent);
        for (index, weight) in weights.iter_mut().enumerate() {
            *weight += waited(&logs[index]) * silent[index] * others[index];
        }
    }
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Means of products over all subsets of one size.
struct Subsets {
    size: usize,
    /// How likely an element is in a subset.
    share: f64,
    /// How likely that many are, when each is with probability `share` on its own.
    likely: f64,
}

impl Subsets {
    /// Those of `size` out of all `m` but one.
    fn new(m: usize, size: usize) -> Self {
        let share = size as f64 / (m - 1) as f64;
        let mut subsets = Self {
            size,
            share,
            likely: 1.0,
        };
        subsets.likely = subsets.without_each(&vec![1.0; m])[0];
        subsets
    }

    /// For each element the mean, over all subsets of the others, of the product of their values,
    /// which lie between 0 and 1.
    ///
    /// It is a coefficient of `Π (1 − share + share · value · z)` over the others, divided by what
    /// it would be for values of 1. With the factors before and behind each element multiplied out
    /// once, all are sums of positive terms: no digit is lost, nothing overflows.
    fn without_each(&self, values: &[f64]) -> Vec<f64> {
        let (m, width) = (values.len(), self.size + 1);
        let multiplied = |product: &[f64], value: f64| -> Vec<f64> {
            let (stays, joins) = (1.0 - self.share, self.share * value);
            let below = |k: usize| if k > 0 { product[k - 1] * joins } else { 0.0 };
            (0..width).map(|k| product[k] * stays + below(k)).collect()
        };
        let mut one = vec![0.0; width];
        one[0] = 1.0;
        let mut before = vec![one.clone()];
        for (index, &value) in values.iter().enumerate() {
            before.push(multiplied(&before[index], value));
        }
        let mut behind = one;
        let mut means = vec![0.0; m];
        for index in (0..m).rev() {
            let pairs = before[index].iter().zip(behind.iter().rev());
            let coefficient: f64 = pairs.map(|(a, b)| a * b).sum();
            means[index] = coefficient / self.likely;
            behind = multiplied(&behind, values[index]);
        }
        means
    }
}

/// The probability of each sample to be accepted.
fn accepted(scores: &[f64], beta: f64) -> Vec<f64> {
    logs(scores, beta).iter().map(|log| log.exp()).collect()
}

/// `(score − max)/unit`.
fn logs(scores: &[f64], unit: f64) -> Vec<f64> {
    assert!(unit > 0.0, "a unit of {unit} sets no scores apart");
    assert!(
        !scores.is_empty() && scores.iter().all(|score| score.is_finite()),
        "scores must be finite numbers, at least one"
    );
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter().map(|score| (score - max) / unit).collect()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{best_of_n_kl_bound, best_of_n_weights};

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < tolerance, "{found:?} against {expected:?}");
        }
    }

    fn random(count: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
    }

    #[test]
    fn tilted_weights_on_paper() {
        // With β = 1/ln 2 a score more by one counts twice.
        let beta = 1.0 / 2.0_f64.ln();
        let scores = [0.0, 1.0, 2.0, 0.0];
        close(
            &tilted_weights(&scores, beta),
            &[0.125, 0.25, 0.5, 0.125],
            1e-15,
        );
        // Accepted with 1/4, 1/2, 1, 1/4.
        assert!((acceptance_rate(&scores, beta) - 0.5).abs() < 1e-15);
        // Σ w ln(4 w): 2 · 1/8 · ln(1/2) + 0 + 1/2 · ln 2.
        let kl = selection_kl(&tilted_weights(&scores, beta));
        assert!((kl - 0.25 * 2.0_f64.ln()).abs() < 1e-15);
        let found = beta_at_kl(&[&scores], 0.25 * 2.0_f64.ln()).unwrap();
        assert!((found - beta).abs() < 1e-9);
    }

    #[test]
    fn rejection_sampling_ends_in_the_tilted_weights() {
        let (scores, beta) = ([0.3, -1.0, 2.0, 1.1], 0.8_f64);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut counts, mut draws) = ([0.0; 4], 0.0);
        for _ in 0..100_000 {
            loop {
                draws += 1.0;
                let index = rng.random_range(0..4);
                if rng.random::<f64>() < ((scores[index] - 2.0) / beta).exp() {
                    counts[index] += 1e-5;
                    break;
                }
            }
        }
        // Five standard errors of at most 0.0016.
        close(&counts, &tilted_weights(&scores, beta), 0.008);
        let rate: f64 = 100_000.0 / draws;
        assert!((rate - acceptance_rate(&scores, beta)).abs() < 0.008);
    }

    #[test]
    fn one_coefficient_brings_the_mean_of_all_prompts_to_the_kl_asked_for() {
        let (a, b, same) = (random(30, 1), random(8, 2), [1.0; 5]);
        let wide: Vec<f64> = b.iter().map(|score| 7.0 * score - 100.0).collect();
        let prompts: [&[f64]; 4] = [&a, &b, &wide, &same];
        for nats in [0.01, 0.3, 1.0] {
            let beta = beta_at_kl(&prompts, nats).unwrap();
            let each = prompts.map(|scores| selection_kl(&tilted_weights(scores, beta)));
            assert!((each.iter().sum::<f64>() / 4.0 - nats).abs() < 1e-9);
            assert!(each[2] > each[1] && each[3] == 0.0, "{each:?}");
        }
        // (ln 30 + ln 8 + ln 8)/4 is the best of each.
        assert!(beta_at_kl(&prompts, 1.88).is_some());
        assert_eq!(beta_at_kl(&prompts, 1.90), None);
        assert_eq!(beta_at_kl(&[&same], 0.1), None);
    }

    /// Every subset of size n in turn.
    fn by_enumeration(scores: &[f64], n: usize, temperature: f64) -> Vec<f64> {
        let (mut weights, mut subsets) = (vec![0.0; scores.len()], 0.0);
        for subset in 0_u32..1 << scores.len() {
            if subset.count_ones() as usize != n {
                continue;
            }
            subsets += 1.0;
            let drawn: Vec<usize> = (0..scores.len())
                .filter(|&i| subset & (1 << i) != 0)
                .collect();
            let of: Vec<f64> = drawn.iter().map(|&i| scores[i]).collect();
            for (&i, share) in drawn.iter().zip(tilted_weights(&of, temperature)) {
                weights[i] += share;
            }
        }
        weights.iter().map(|weight| weight / subsets).collect()
    }

    #[test]
    fn soft_best_of_two_of_three_on_paper() {
        // Rates 1, 2, 4: pairs give 1/3 and 2/3, 1/5 and 4/5, 1/3 and 2/3.
        let weights = soft_best_of_n_weights(&[0.0, 1.0, 2.0], 2, 1.0 / 2.0_f64.ln());
        let expected = [1.0 / 3.0 + 0.2, 2.0 / 3.0 + 1.0 / 3.0, 0.8 + 2.0 / 3.0];
        close(&weights, &expected.map(|sum| sum / 3.0), 1e-13);
    }

    #[test]
    fn soft_best_of_n_equals_the_enumeration_of_all_subsets() {
        for seed in 0..6 {
            let mut scores = random(7, seed);
            scores[3] = scores[1];
            for n in 1..=7 {
                for temperature in [0.02, 0.5, 5.0] {
                    let found = soft_best_of_n_weights(&scores, n, temperature);
                    close(&found, &by_enumeration(&scores, n, temperature), 1e-12);
                }
            }
        }
    }

    #[test]
    fn soft_best_of_n_lies_between_chance_and_best_of_n_also_for_many_samples() {
        let scores = random(300, 9);
        for n in [2, 40, 299, 300] {
            let (hard, cold, warm) = (
                best_of_n_weights(&scores, n),
                soft_best_of_n_weights(&scores, n, 0.01),
                soft_best_of_n_weights(&scores, n, 1e6),
            );
            close(&warm, &[1.0 / 300.0; 300], 1e-7);
            // Scores nearer than the temperature still change places.
            let mean = |weights: &[f64]| -> f64 {
                weights
                    .iter()
                    .zip(&scores)
                    .map(|(w, score)| w * score)
                    .sum()
            };
            let gap = mean(&hard) - mean(&cold);
            assert!((0.0..0.02).contains(&gap), "{gap}");
            let middle = soft_best_of_n_weights(&scores, n, 0.5);
            let kl = [&warm, &middle, &cold].map(|weights| selection_kl(weights));
            assert!(kl[0] < kl[1] && kl[1] < kl[2], "{kl:?}");
        }
        // All samples at once are one softmax.
        let all = soft_best_of_n_weights(&scores, 300, 0.7);
        close(&all, &tilted_weights(&scores, 0.7), 1e-12);
    }

    #[test]
    fn the_kl_of_best_of_n_over_many_samples_nears_its_bound() {
        let weights = best_of_n_weights(&random(4000, 4), 8);
        let gap = best_of_n_kl_bound(8) - selection_kl(&weights);
        assert!(gap.abs() < 0.01, "{gap}");
    }

    #[test]
    #[should_panic(expected = "scores must be finite")]
    fn a_nan_panics() {
        tilted_weights(&[1.0, f64::NAN], 1.0);
    }
}
