//! Whether a mean difference over prompts could be chance, and what that is worth among many.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::moments::mean;

/// The two-sided p-value of the hypothesis that the differences, one for each prompt, are as likely to have
/// the other sign: the share of sign changes whose mean is at least as far from 0.
///
/// Over up to `resamples` sign changes all are gone through; over more, that many are drawn from `seed`, the
/// one that was found counted among them, so that the p-value is never 0 and never too small. What it
/// speaks of is *these* checkpoints and prompts like these: no seed of training is varied.
///
/// Source: Fisher's randomisation test on pairs. 1 without differences.
///
/// # Panics
/// Without resamples.
pub fn permutation_p(differences: &[f64], resamples: u64, seed: u64) -> f64 {
    assert!(resamples > 0, "a test without resamples");
    // What does not differ has no sign.
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if differences.is_empty() {
        return 1.0;
    }
    let found = mean(&differences).abs();
    // Sums in another order may differ in their last bits.
    let reaches = |sum: f64| (sum / differences.len() as f64).abs() >= found * (1.0 - 1e-12);
    let signed = |bits: &dyn Fn(usize) -> bool| -> f64 {
        let each = differences.iter().enumerate();
        each.map(|(place, d)| if bits(place) { *d } else { -d })
            .sum()
    };
    let all = 1u64.checked_shl(differences.len() as u32);
    if let Some(all) = all.filter(|all| *all <= resamples) {
        let far = (0..all).filter(|bits| reaches(signed(&|place| bits >> place & 1 == 1)));
        return far.count() as f64 / all as f64;
    }
    let seed = afd_stage::seed::derive(seed, "permutation", 0);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut words = vec![0u64; differences.len().div_ceil(64)];
    let mut far = 0;
    for _ in 0..resamples {
        words.fill_with(|| rng.next_u64());
        far += u64::from(reaches(signed(&|place| {
            words[place / 64] >> (place % 64) & 1 == 1
        })));
    }
    (far + 1) as f64 / (resamples + 1) as f64
}

/// The p-values of a family of tests, each such that rejecting all at or below a level makes one false
/// rejection or more at most that often, whatever hangs together with what. In the order given.
///
/// Source: Holm, *A simple sequentially rejective multiple test procedure*, 1979.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (rank, &place) in order.iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        least = least.max((left * p_values[place]).min(1.0));
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, generator, normal};

    #[test]
    fn few_prompts_are_gone_through_on_paper() {
        // Of 8 sign changes of 1, 2, 3 only all plus and all minus reach a sum of 6.
        assert_eq!(permutation_p(&[1.0, 2.0, 3.0], 1000, 0), 0.25);
        // ±1 ±2 ±4: sums of 5 or more are 7, 5 and their mirror images.
        assert_eq!(permutation_p(&[-1.0, 2.0, 4.0], 1000, 0), 0.5);
        assert_eq!(permutation_p(&[0.0, 0.0], 1000, 0), 1.0);
        assert_eq!(permutation_p(&[], 1000, 0), 1.0);
        // A prompt without a difference changes nothing.
        assert_eq!(permutation_p(&[1.0, 0.0, 2.0, 3.0], 1000, 0), 0.25);
    }

    #[test]
    fn drawn_sign_changes_agree_with_all_of_them() {
        let mut rng = generator(4);
        let differences: Vec<f64> = (0..12).map(|_| normal(&mut rng) + 0.5).collect();
        let exact = permutation_p(&differences, 1 << 12, 0);
        let drawn = permutation_p(&differences, (1 << 12) - 1, 9);
        // Five standard errors of a share of about 0.1 among 4,095.
        assert!(
            exact > 0.01 && close(exact, drawn, 0.025),
            "{exact} {drawn}"
        );
    }

    #[test]
    fn where_nothing_differs_one_test_in_twenty_says_otherwise() {
        // 1,000 experiments of 30 prompts with a heavy-tailed, symmetric difference: rejections at 5 %
        // are 50 ± 6.9; five standard deviations.
        let mut rng = generator(8);
        let rejected = (0..1000).filter(|&experiment| {
            let differences: Vec<f64> = (0..30).map(|_| normal(&mut rng).powi(3)).collect();
            permutation_p(&differences, 400, experiment) <= 0.05
        });
        let rejected = rejected.count();
        assert!((16..=84).contains(&rejected), "{rejected}");
    }

    #[test]
    fn holm_on_paper() {
        // 3·0.01, 2·0.02, 1·0.5; and what comes after is never less.
        let found = holm(&[0.02, 0.5, 0.01]);
        assert!(close(found[0], 0.04, 1e-12) && close(found[2], 0.03, 1e-12));
        assert_eq!(found[1], 0.5);
        assert_eq!(holm(&[0.4, 0.4, 0.9]), [1.0, 1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    #[test]
    fn of_a_family_without_effects_one_rejection_or_more_is_as_rare_as_it_says() {
        // 1,000 families of 10 independent uniform p-values: 50 ± 6.9 with a rejection at 5 %.
        let mut rng = generator(15);
        let rejected = (0..1000).filter(|_| {
            let family: Vec<f64> = (0..10)
                .map(|_| rng.next_u64() as f64 / 2f64.powi(64))
                .collect();
            holm(&family).iter().any(|p| *p <= 0.05)
        });
        let rejected = rejected.count();
        assert!((16..=84).contains(&rejected), "{rejected}");
    }
}
