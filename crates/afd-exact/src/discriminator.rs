//! Optimal reward models: what each loss makes of two known distributions.
//!
//! Distributions are over answers; over the steps of [`crate::Space::step_sums`] the same functions
//! speak of the token-level discriminator, over pairs of prompt and answer of unmatched prompts.

use crate::{
    divergence::log_ratio,
    loss::{Kind, Loss},
    minimise::{Minimum, minimise},
};

/// Which two distributions a reward model tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Negatives of the initial policy, positives of the fine-tuned one.
    InitSft,
    /// Negatives of the initial policy, positives of the demonstrator.
    InitDemo,
    /// Negatives of the fine-tuned policy, positives of the demonstrator.
    SftDemo,
}

impl Source {
    /// The positive and the negative distribution among the three.
    pub fn classes<'a>(
        self,
        init: &'a [f64],
        sft: &'a [f64],
        demonstrator: &'a [f64],
    ) -> (&'a [f64], &'a [f64]) {
        match self {
            Source::InitSft => (sft, init),
            Source::InitDemo => (demonstrator, init),
            Source::SftDemo => (demonstrator, sft),
        }
    }
}

/// The expected loss of a table of logits and its gradient.
///
/// Formula: `Σ_y Σ_z p₊(y) p₋(z) ℓ(h_y, h_z)` over independent pairs. A loss on origins alone is
/// `Σ_y [p₊(y) ℓ₊(h_y) + p₋(y) ℓ₋(h_y)]`, and there the classes may be unnormalised: scaled by
/// `n₊` and `n₋` they are pooled data with that many of each.
///
/// # Panics
/// On different lengths.
pub fn population(
    loss: &Loss,
    positive: &[f64],
    negative: &[f64],
    logits: &[f64],
) -> (f64, Vec<f64>) {
    assert!(positive.len() == logits.len() && negative.len() == logits.len());
    let (mut value, mut gradient) = (0.0, vec![0.0; logits.len()]);
    if loss.is_of_origin() {
        let zero = loss.of(0.0, 0.0).loss;
        for (i, &h) in logits.iter().enumerate() {
            let (p, q) = (positive[i], negative[i]);
            let (chosen, rejected) = (loss.of(h, 0.0), loss.of(0.0, h));
            // `ℓ(h, 0) = ℓ₊(h) + ℓ₋(0)`: constants of the other side shift the value alone.
            value += p * (chosen.loss - 0.5 * zero) + q * (rejected.loss - 0.5 * zero);
            gradient[i] += p * chosen.by_chosen + q * rejected.by_rejected;
        }
        return (value, gradient);
    }
    for (i, &c) in logits.iter().enumerate() {
        for (j, &r) in logits.iter().enumerate() {
            let (weight, pair) = (positive[i] * negative[j], loss.of(c, r));
            value += weight * pair.loss;
            gradient[i] += weight * pair.by_chosen;
            gradient[j] += weight * pair.by_rejected;
        }
    }
    (value, gradient)
}

/// The minimum of [`population`] found from logits of 0: of any loss with any constants.
///
/// Bradley–Terry without centring or penalty has a line of minima; from 0 the one is found whose
/// logits sum to 0.
pub fn fitted(loss: &Loss, positive: &[f64], negative: &[f64]) -> Minimum {
    let start = vec![0.0; positive.len()];
    let f = |logits: &[f64]| population(loss, positive, negative, logits);
    minimise(f, &start, 1e-12, 5000)
}

/// The population optimum in closed form; `None` where there is none in closed form, or no finite
/// one.
///
/// `positive` and `negative` may be unnormalised, which is the class ratio: every proper loss on
/// origins then has its optimum at `log p₊/p₋ + log n₊/n₋`.
///
/// * Cross-entropy: the logit of `(1−ε)D + ε(1−D)`, `D = p₊/(p₊+p₋)`; bounded by
///   `±log((1−ε)/ε)`, and `log p₊/p₋` without smoothing.
/// * Brier: `log p₊/p₋`.
/// * Hinge: `sign(log p₊/p₋)`, and 0 where the classes weigh the same (anything in between does).
/// * KLIEP, LSIF: `log p₊/p₋` below the tangents at 10, none above them.
/// * Bradley–Terry: `log p₊/p₋`, up to a constant of each prompt; here the one that makes the
///   logits sum to 0.
pub fn optimum(loss: &Loss, positive: &[f64], negative: &[f64]) -> Option<Vec<f64>> {
    if loss.centering != 0.0 || loss.penalty != 0.0 {
        return None;
    }
    let ratio = log_ratio(positive, negative);
    let below = |bound: f64| ratio.iter().all(|&h| h < bound);
    match loss.kind {
        Kind::BinaryCrossEntropy => {
            let of = |h: &f64| smoothed_logit(*h, loss.label_smoothing);
            Some(ratio.iter().map(of).collect())
        }
        Kind::Brier => Some(ratio),
        Kind::Hinge => {
            let sign = |h: &f64| if *h == 0.0 { 0.0 } else { h.signum() };
            Some(ratio.iter().map(sign).collect())
        }
        Kind::Kliep | Kind::Lsif => below(10.0).then_some(ratio),
        Kind::BradleyTerry if loss.margin == 0.0 && loss.label_smoothing == 0.0 => {
            Some(centred(&ratio))
        }
        Kind::BradleyTerry => None,
    }
}

/// The logit of `(1−ε) σ(h) + ε σ(−h)`: what smoothed labels leave of a log-ratio.
pub fn smoothed_logit(h: f64, epsilon: f64) -> f64 {
    // Both sides are divided by the larger of p₊ and p₋, so that nothing overflows.
    let (p, q) = ((h.min(0.0)).exp(), (-h.max(0.0)).exp());
    let one = (1.0 - epsilon) * p + epsilon * q;
    (one / ((1.0 - epsilon) * q + epsilon * p)).ln()
}

/// The table less its mean.
pub fn centred(table: &[f64]) -> Vec<f64> {
    let mean = table.iter().sum::<f64>() / table.len() as f64;
    table.iter().map(|x| x - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        policy::Policy,
        space::Space,
    };

    const PLAIN: [Kind; 5] = [
        Kind::BinaryCrossEntropy,
        Kind::Brier,
        Kind::Kliep,
        Kind::Lsif,
        Kind::BradleyTerry,
    ];

    fn scaled(p: &[f64], by: f64) -> Vec<f64> {
        p.iter().map(|p| by * p).collect()
    }

    fn classes(space: &Space, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let positive = Policy::random(space, 1.0, seed).distribution();
        (
            positive,
            Policy::random(space, 1.0, 500 + seed).distribution(),
        )
    }

    #[test]
    fn closed_forms_are_where_the_minimiser_goes() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (p, q) = classes(&space, seed);
            for kind in PLAIN {
                let loss = Loss::plain(kind);
                let found = fitted(&loss, &p, &q);
                let closed = optimum(&loss, &p, &q).unwrap();
                assert!(found.slope < 1e-9, "{kind:?} {found:?}");
                close_all(&found.at, &closed, 1e-5);
            }
        }
    }

    #[test]
    fn hinge_knows_the_side_and_not_the_ratio() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (p, q) = classes(&space, seed);
            let loss = Loss::plain(Kind::Hinge);
            let best = optimum(&loss, &p, &q).unwrap();
            let least = population(&loss, &p, &q, &best).0;
            for (i, h) in log_ratio(&p, &q).iter().enumerate() {
                assert_eq!(best[i], h.signum());
                for other in [-1.5, -0.9, -0.1, 0.0, 0.4, 0.9, 1.5] {
                    let mut logits = best.clone();
                    logits[i] = other;
                    assert!(population(&loss, &p, &q, &logits).0 >= least);
                }
            }
        }
    }

    #[test]
    fn smoothing_bounds_the_logit() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let p = Policy::random(&space, 4.0, seed).distribution();
            let q = Policy::random(&space, 4.0, 500 + seed).distribution();
            let loss = Loss {
                label_smoothing: 0.1,
                ..Loss::plain(Kind::BinaryCrossEntropy)
            };
            let closed = optimum(&loss, &p, &q).unwrap();
            close_all(&fitted(&loss, &p, &q).at, &closed, 1e-4);
            assert!(closed.iter().all(|h| h.abs() < 9f64.ln()));
            assert!(log_ratio(&p, &q).iter().any(|h| h.abs() > 9f64.ln()));
        }
        close(smoothed_logit(900.0, 0.1), 9f64.ln(), 1e-12);
        close(smoothed_logit(0.7, 0.0), 0.7, 1e-12);
    }

    #[test]
    fn a_class_ratio_shifts_every_logit_by_its_log_where_data_are_pooled() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (p, q) = classes(&space, seed);
            for kind in [
                Kind::BinaryCrossEntropy,
                Kind::Brier,
                Kind::Kliep,
                Kind::Lsif,
            ] {
                let loss = Loss::plain(kind);
                let found = fitted(&loss, &scaled(&p, 3.0), &q);
                let expected: Vec<f64> = log_ratio(&p, &q).iter().map(|h| h + 3f64.ln()).collect();
                close_all(&found.at, &expected, 1e-5);
                let closed = optimum(&loss, &scaled(&p, 3.0), &q).unwrap();
                close_all(&closed, &expected, 1e-12);
            }
        }
    }

    #[test]
    fn unmatched_prompts_add_their_own_log_ratio() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (p, q) = classes(&space, seed);
            let (p2, q2) = classes(&space, 50 + seed);
            // Two prompts, asked 70:30 in the positive class and 20:80 in the negative one.
            let positive = [scaled(&p, 0.7), scaled(&p2, 0.3)].concat();
            let negative = [scaled(&q, 0.2), scaled(&q2, 0.8)].concat();
            let found = fitted(&Loss::plain(Kind::BinaryCrossEntropy), &positive, &negative);
            let shift = |h: Vec<f64>, by: f64| h.iter().map(|h| h + by.ln()).collect::<Vec<_>>();
            let first = shift(log_ratio(&p, &q), 0.7 / 0.2);
            let second = shift(log_ratio(&p2, &q2), 0.3 / 0.8);
            close_all(&found.at, &[first, second].concat(), 1e-6);
        }
    }

    #[test]
    fn bradley_terry_is_free_up_to_a_constant_of_each_prompt() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (p, q) = classes(&space, seed);
            let loss = Loss::plain(Kind::BradleyTerry);
            let h = log_ratio(&p, &q);
            let shifted: Vec<f64> = h.iter().map(|h| h - 4.0).collect();
            let at = |h: &[f64]| population(&loss, &p, &q, h);
            close(at(&h).0, at(&shifted).0, 1e-12);
            close_all(&at(&shifted).1, &[0.0; 7], 1e-12);
        }
    }

    #[test]
    fn a_margin_stretches_bradley_terry_beyond_any_log_ratio() {
        let space = Space::new(3, 2);
        let spread = |h: &[f64]| {
            let h = centred(h);
            h.iter().map(|h| h * h).sum::<f64>().sqrt()
        };
        for seed in 0..10 {
            let (p, q) = classes(&space, seed);
            let margin = Loss {
                margin: 1.0,
                ..Loss::plain(Kind::BradleyTerry)
            };
            let found = fitted(&margin, &p, &q);
            assert!(found.slope < 1e-9);
            let ratio = centred(&log_ratio(&p, &q));
            let stretch = spread(&found.at) / spread(&ratio);
            assert!(stretch > 1.2, "{stretch}");
            // Nor is it the log-ratio in another unit.
            assert!(apart(&found.at, &scaled(&ratio, stretch)) > 1e-3);
        }
    }

    #[test]
    fn centring_and_penalties_fix_the_constant_and_bias_the_ratio() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (p, q) = classes(&space, seed);
            let ratio = centred(&log_ratio(&p, &q));
            let with = |centering, penalty| Loss {
                centering,
                penalty,
                ..Loss::plain(Kind::BradleyTerry)
            };
            let found = fitted(&with(0.01, 0.0), &p, &q);
            assert!(found.slope < 1e-9);
            // The mean over both classes is held at 0: Σ (p₊ + p₋) h + … = 0 by its own gradient.
            let total: f64 = population(&with(0.01, 0.0), &p, &q, &found.at)
                .1
                .iter()
                .sum();
            close(total, 0.0, 1e-9);
            let pulled: f64 = p
                .iter()
                .zip(&q)
                .zip(&found.at)
                .map(|((p, q), h)| (p + q) * h)
                .sum();
            close(pulled, 0.0, 1e-8);
            assert!(apart(&centred(&found.at), &ratio) > 1e-4);
            // Less of it biases less.
            let gentle = fitted(&with(1e-5, 0.0), &p, &q);
            close_all(&centred(&gentle.at), &ratio, 1e-2);
            let shrunk = fitted(&with(0.0, 0.1), &p, &q).at;
            let norm = |h: &[f64]| h.iter().map(|h| h * h).sum::<f64>();
            assert!(norm(&shrunk) < norm(&ratio));
        }
    }

    #[test]
    fn beyond_their_tangents_kliep_and_lsif_rise_for_ever() {
        let (p, q) = ([0.7, 0.3], [0.4, 0.6]);
        let far = [(-12f64).exp(), 1.0 - (-12f64).exp()];
        for kind in [Kind::Kliep, Kind::Lsif] {
            let at = |h: f64| population(&Loss::plain(kind), &p, &q, &[h, -0.5]).0;
            let ratio = (0.7f64 / 0.4).ln();
            let rising = [ratio, ratio + 0.1, 5.0, 9.0, 11.0, 25.0, 100.0, 1e3];
            assert!(
                rising.windows(2).all(|pair| at(pair[0]) < at(pair[1])),
                "{kind:?}"
            );
            assert!(optimum(&Loss::plain(kind), &p, &far).is_none());
        }
    }

    #[test]
    fn init_demo_is_init_sft_and_sft_demo_together() {
        let space = Space::new(3, 3);
        for seed in 0..50 {
            let init = Policy::random(&space, 2.0, seed).distribution();
            let (sft, demo) = classes(&space, 100 + seed);
            let reward = |source: Source| {
                let (p, q) = source.classes(&init, &sft, &demo);
                optimum(&Loss::plain(Kind::BinaryCrossEntropy), p, q).unwrap()
            };
            close_all(&reward(Source::InitSft), &log_ratio(&sft, &init), 1e-12);
            let parts = reward(Source::InitSft);
            let parts = parts.iter().zip(reward(Source::SftDemo));
            let sum: Vec<f64> = parts.map(|(a, b)| a + b).collect();
            close_all(&reward(Source::InitDemo), &sum, 1e-10);
        }
    }

    #[test]
    fn memorised_demonstrations_turn_init_sft_into_init_demo() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let init = Policy::random(&space, 2.0, seed).distribution();
            let (sft, demo) = classes(&space, seed);
            let reward = |memorised: f64| {
                let mixed = sft.iter().zip(&demo);
                let mixed: Vec<f64> = mixed
                    .map(|(s, d)| (1.0 - memorised) * s + memorised * d)
                    .collect();
                fitted(&Loss::plain(Kind::BinaryCrossEntropy), &mixed, &init).at
            };
            let full = log_ratio(&demo, &init);
            close_all(&reward(1.0), &full, 1e-6);
            close_all(&reward(0.0), &log_ratio(&sft, &init), 1e-6);
            assert!(apart(&reward(0.9), &full) < apart(&reward(0.3), &full));
        }
    }
}
