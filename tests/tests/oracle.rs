//! Reward objectives against the oracle: on answers drawn from policies that are known exactly, each
//! approaches **its own** optimum, at the rate of the square root.
//!
//! The reward here is a table with one logit for each answer, so that nothing but the objective and
//! the sample stands between it and the optimum. The error is the root of the mean square, weighted by
//! the positive policy, of logits less their prompt's mean.

use afd_backend::device::test_device;
use afd_exact::{
    discriminator::{fitted, optimum},
    loss::{Kind, Loss},
    minimise::minimise,
    policy::Policy,
    reward::prefix_logits,
    space::Space,
};
use afd_reward::{ObjectiveKind, PairLoss, objective::token_cross_entropy};
use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Prompts, each with policies of its own.
const PROMPTS: u64 = 3;

/// Independent draws of every sample.
const SEEDS: u64 = 6;

/// Answers of each class to each prompt.
const SIZES: [usize; 4] = [1000, 4000, 16_000, 64_000];

/// How sharp the policies are; every answer has some 1 % or more.
const SCALE: f64 = 0.6;

fn space() -> Space {
    Space::new(3, 3)
}

/// The policies of a prompt: negative, positive, and a demonstrator.
fn policies(space: &Space, prompt: u64) -> [Policy<'_>; 3] {
    [0, 1, 2].map(|who| Policy::random(space, SCALE, 10 * prompt + who))
}

/// How often each pair of answers was drawn, and each answer on either side.
struct Drawn {
    pairs: Vec<(usize, usize, f64)>,
    chosen: Vec<f64>,
    rejected: Vec<f64>,
}

impl Drawn {
    fn of(positive: &Policy<'_>, negative: &Policy<'_>, size: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let answers = positive.space().answers().len();
        let mut counts = vec![0u32; answers * answers];
        let (mut chosen, mut rejected) = (vec![0.0; answers], vec![0.0; answers]);
        for _ in 0..size {
            let (c, r) = (positive.sample(&mut rng), negative.sample(&mut rng));
            counts[c * answers + r] += 1;
            chosen[c] += 1.0 / size as f64;
            rejected[r] += 1.0 / size as f64;
        }
        let pairs = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let share = |count: u32| f64::from(count) / size as f64;
        Self {
            pairs: pairs
                .map(|(place, &count)| (place / answers, place % answers, share(count)))
                .collect(),
            chosen,
            rejected,
        }
    }

    /// The table that minimises our loss on what was drawn.
    fn fit(&self, loss: &PairLoss) -> Vec<f64> {
        let start = vec![0.0; self.chosen.len()];
        minimise(self.loss(loss), &start, 3e-6, 300).at
    }

    /// [`Self::fit`] of a loss with kinks, at which gradients do not fade: ever shorter steps
    /// downhill, each logit on its own.
    fn fit_with_kinks(&self, loss: &PairLoss) -> Vec<f64> {
        let loss = self.loss(loss);
        let mut table = vec![0.0; self.chosen.len()];
        for step in 1..=300 {
            let (_, gradient) = loss(&table);
            for (logit, slope) in table.iter_mut().zip(gradient) {
                *logit -= f64::from(u8::from(slope != 0.0)) * slope.signum() / f64::from(step);
            }
        }
        table
    }

    /// Our loss on what was drawn, and its gradient, as a function of the table.
    fn loss(&self, loss: &PairLoss) -> impl Fn(&[f64]) -> (f64, Vec<f64>) {
        let loss = *loss;
        let index = |of: fn(&(usize, usize, f64)) -> usize| {
            let places: Vec<i32> = self.pairs.iter().map(|pair| of(pair) as i32).collect();
            let shape = [places.len()];
            Tensor::<1, Int>::from_data(TensorData::new(places, shape), &test_device())
        };
        let (chosen, rejected) = (index(|pair| pair.0), index(|pair| pair.1));
        let weights: Vec<f32> = self.pairs.iter().map(|pair| pair.2 as f32).collect();
        let weights = Tensor::<1>::from_data(weights.as_slice(), &test_device());
        move |table: &[f64]| {
            descend(table, |table| {
                let c = table.clone().select(0, chosen.clone());
                let r = table.select(0, rejected.clone());
                (loss.of(c, r) * weights.clone()).sum()
            })
        }
    }
}

/// A loss of a table and its gradient, by Burn.
fn descend(table: &[f64], loss: impl FnOnce(Tensor<1>) -> Tensor<1>) -> (f64, Vec<f64>) {
    let narrow: Vec<f32> = table.iter().map(|value| *value as f32).collect();
    let device = test_device().autodiff();
    let table = Tensor::<1>::from_data(narrow.as_slice(), &device).require_grad();
    let loss = loss(table.clone());
    let gradient = table.grad(&loss.backward());
    let gradient = gradient.map_or_else(Vec::new, |g| g.into_data().iter::<f64>().collect());
    (f64::from(loss.into_scalar::<f32>()), gradient)
}

/// The weighted root mean square of `found − expected` less its mean.
fn error(found: &[f64], expected: &[f64], weights: &[f64]) -> f64 {
    let apart = |i: usize| found[i] - expected[i];
    let mean: f64 = (0..found.len()).map(|i| weights[i] * apart(i)).sum();
    let squares = (0..found.len()).map(|i| weights[i] * (apart(i) - mean).powi(2));
    squares.sum::<f64>().sqrt()
}

/// The root mean square of an error over prompts and draws at each of [`SIZES`].
fn errors(error: impl Fn(u64, usize, u64) -> f64) -> Vec<f64> {
    let at = |size: usize| {
        let draws = (0..PROMPTS).flat_map(|prompt| (0..SEEDS).map(move |seed| (prompt, seed)));
        let squares = draws.map(|(prompt, seed)| {
            let seed = 1000 * size as u64 + 10 * seed + prompt;
            error(prompt, size, seed).powi(2)
        });
        (squares.sum::<f64>() / (PROMPTS * SEEDS) as f64).sqrt()
    };
    SIZES.map(at).to_vec()
}

/// The slope of `log error` in `log size`.
fn slope(errors: &[f64]) -> f64 {
    let x: Vec<f64> = SIZES.iter().map(|size| (*size as f64).ln()).collect();
    let y: Vec<f64> = errors.iter().map(|error| error.ln()).collect();
    afd_stats::line(&x, &y).map_or(f64::NAN, |line| line.slope)
}

/// Holds our loss with its constants against its optimum over the exact distributions.
///
/// A slope of 18 draws at 4 sizes has a standard error of about 0.02, as far as draws go; ±0.1 are
/// five of them.
fn approaches_its_optimum(ours: &PairLoss) {
    let space = space();
    let exact = Loss {
        kind: match ours.kind {
            ObjectiveKind::BinaryCrossEntropy | ObjectiveKind::TokenCrossEntropy => {
                Kind::BinaryCrossEntropy
            }
            ObjectiveKind::BradleyTerry => Kind::BradleyTerry,
            ObjectiveKind::Brier => Kind::Brier,
            ObjectiveKind::Hinge => Kind::Hinge,
            ObjectiveKind::Kliep => Kind::Kliep,
            ObjectiveKind::Lsif => Kind::Lsif,
        },
        label_smoothing: ours.label_smoothing,
        margin: ours.margin,
        centering: ours.center_rewards_coefficient,
        penalty: ours.logit_penalty,
    };
    let errors = errors(|prompt, size, seed| {
        let [negative, positive, _] = policies(&space, prompt);
        let (p, q) = (positive.distribution(), negative.distribution());
        let expected = optimum(&exact, &p, &q).unwrap_or_else(|| fitted(&exact, &p, &q).at);
        let found = Drawn::of(&positive, &negative, size, seed).fit(ours);
        error(&found, &expected, &p)
    });
    let slope = slope(&errors);
    assert!((slope + 0.5).abs() < 0.1, "slope {slope}: {errors:?}");
    assert!(errors[3] < 0.03, "{errors:?}");
}

#[test]
fn density_ratio_objectives_approach_the_log_ratio() {
    for kind in [
        ObjectiveKind::BinaryCrossEntropy,
        ObjectiveKind::Brier,
        ObjectiveKind::Kliep,
        ObjectiveKind::Lsif,
    ] {
        approaches_its_optimum(&PairLoss::plain(kind));
    }
}

#[test]
fn bradley_terry_approaches_the_log_ratio_up_to_a_constant_per_prompt() {
    approaches_its_optimum(&PairLoss::plain(ObjectiveKind::BradleyTerry));
}

#[test]
fn smoothing_margin_centring_and_penalty_have_optima_of_their_own() {
    let plain = PairLoss::plain(ObjectiveKind::BinaryCrossEntropy);
    let bradley_terry = PairLoss::plain(ObjectiveKind::BradleyTerry);
    for loss in [
        PairLoss {
            label_smoothing: 0.1,
            ..plain
        },
        PairLoss {
            logit_penalty: 0.05,
            ..plain
        },
        PairLoss {
            label_smoothing: 0.1,
            ..bradley_terry
        },
        PairLoss {
            margin: 0.5,
            center_rewards_coefficient: 0.01,
            ..bradley_terry
        },
    ] {
        approaches_its_optimum(&loss);
    }
}

#[test]
fn hinge_learns_the_sign_and_nothing_else() {
    let space = space();
    let loss = PairLoss::plain(ObjectiveKind::Hinge);
    for prompt in 0..PROMPTS {
        let [negative, positive, _] = policies(&space, prompt);
        let drawn = Drawn::of(&positive, &negative, SIZES[3], prompt);
        let found = drawn.fit_with_kinks(&loss);
        let (p, q) = (positive.distribution(), negative.distribution());
        for (answer, found) in found.iter().enumerate() {
            // A log-ratio of 0.2 is some six standard errors of the rarest answers' at this size.
            let ratio = (p[answer] / q[answer]).ln();
            if ratio.abs() > 0.2 {
                assert!((found - ratio.signum()).abs() < 0.05, "{found} for {ratio}");
            }
        }
    }
}

#[test]
fn a_token_discriminator_approaches_the_log_ratio_of_every_prefix() {
    let space = space();
    let errors = errors(|prompt, size, seed| {
        let [negative, positive, _] = policies(&space, prompt);
        let drawn = Drawn::of(&positive, &negative, size, seed);
        let sums = |weights: &[f64]| {
            let sums: Vec<f32> = space.step_sums(weights).iter().map(|s| *s as f32).collect();
            Tensor::<1>::from_data(sums.as_slice(), &test_device())
        };
        let (chosen, rejected) = (sums(&drawn.chosen), sums(&drawn.rejected));
        let steps = space.states().len() * space.vocab();
        let of = |label: f32| Tensor::<1>::full([steps], label, &test_device());
        let value = |table: &[f64]| {
            descend(table, |table| {
                let one = token_cross_entropy(table.clone(), of(1.0), 0.0);
                let zero = token_cross_entropy(table, of(0.0), 0.0);
                (one * chosen.clone() + zero * rejected.clone()).sum()
            })
        };
        let found = minimise(value, &vec![0.0; steps], 3e-6, 300).at;
        let (p, q) = (positive.distribution(), negative.distribution());
        let expected = prefix_logits(&space, &p, &q);
        let visits = space.step_sums(&p);
        let total: f64 = visits.iter().sum();
        let visits: Vec<f64> = visits.iter().map(|visits| visits / total).collect();
        error(&found, &expected, &visits)
    });
    let slope = slope(&errors);
    assert!((slope + 0.5).abs() < 0.1, "slope {slope}: {errors:?}");
}

#[test]
fn init_demo_is_init_sft_and_sft_demo_together() {
    let space = space();
    let loss = PairLoss::plain(ObjectiveKind::BinaryCrossEntropy);
    let errors = errors(|prompt, size, seed| {
        let [init, sft, demonstrator] = policies(&space, prompt);
        // Samples of their own for each reward, as in a run.
        let learned = |chosen, rejected, number: u64| {
            Drawn::of(chosen, rejected, size, 10_000 * number + seed).fit(&loss)
        };
        let init_sft = learned(&sft, &init, 1);
        let sft_demo = learned(&demonstrator, &sft, 2);
        let init_demo = learned(&demonstrator, &init, 3);
        let sum: Vec<f64> = init_sft.iter().zip(&sft_demo).map(|(a, b)| a + b).collect();
        error(&init_demo, &sum, &sft.distribution())
    });
    let slope = slope(&errors);
    assert!((slope + 0.5).abs() < 0.1, "slope {slope}: {errors:?}");
}

#[test]
fn a_class_ratio_shifts_every_logit_of_cross_entropy() {
    let space = space();
    let loss = PairLoss::plain(ObjectiveKind::BinaryCrossEntropy);
    let [negative, positive, _] = policies(&space, 0);
    let drawn = Drawn::of(&positive, &negative, SIZES[3], 1);
    let balanced = drawn.fit(&loss);
    // Three times as many positives: each of their pairs' halves weighs three times as much.
    let answers = balanced.len();
    let thrice = |weights: &[f64], factor: f64| {
        let weights: Vec<f32> = weights.iter().map(|w| (factor * w) as f32).collect();
        Tensor::<1>::from_data(weights.as_slice(), &test_device())
    };
    let (chosen, rejected) = (thrice(&drawn.chosen, 3.0), thrice(&drawn.rejected, 1.0));
    let of = |label: f32| Tensor::<1>::full([answers], label, &test_device());
    let value = |table: &[f64]| {
        descend(table, |table| {
            let one = token_cross_entropy(table.clone(), of(1.0), 0.0);
            let zero = token_cross_entropy(table, of(0.0), 0.0);
            (one * chosen.clone() + zero * rejected.clone()).sum()
        })
    };
    let shifted = minimise(value, &vec![0.0; answers], 3e-6, 300).at;
    for (shifted, balanced) in shifted.iter().zip(&balanced) {
        assert!(
            (shifted - balanced - 3f64.ln()).abs() < 0.01,
            "{shifted} for {balanced}"
        );
    }
}
