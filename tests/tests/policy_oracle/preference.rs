//! Policies learned from stored answers against the oracle: each loss, by the code that trains with
//! it, has **its own** optimum where `afd-exact` says.
//!
//! The policy is a table of logits over a space of answers that can be enumerated, so that nothing
//! but the loss stands between it and its optimum. Its gradients are Burn's, in f32, which is what
//! the tolerances are for.

use afd_backend::device::test_device;
use afd_exact::{
    best_of_n::best_of_n,
    divergence::kl,
    minimise::{Minimum, minimise},
    optimum::kl_optimum,
    policy::Policy,
    preference::{drawn_labels, hard_labels, self_play, spin_step},
    space::Space,
};
use afd_model::best_of_n_weights;
use afd_policy::offline::{
    Labels, dpo_loss, kto_loss,
    pairs::{desirable, labelled},
    weighted_nll,
};
use burn::{
    Tensor,
    tensor::{Int, TensorData, activation::log_softmax},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Instances of everything.
const SEEDS: u64 = 4;

/// How near an optimum a table of f32 is to come, in nats.
const NEAR: f64 = 1e-6;

fn vector(values: &[f64]) -> Tensor<1> {
    let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::from_data(narrow.as_slice(), &test_device())
}

fn places(values: impl Iterator<Item = usize>) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), &test_device())
}

/// Log-probabilities of all answers by a table of logits, `[A]`.
struct Table {
    states: usize,
    vocab: usize,
    /// Which steps an answer takes, `[A, steps]`.
    along: Tensor<2>,
}

impl Table {
    fn new(space: &Space) -> Self {
        let (answers, steps) = (space.answers().len(), space.states().len() * space.vocab());
        let mut along = vec![0f32; answers * steps];
        for answer in 0..answers {
            for step in space.steps(answer) {
                along[answer * steps + step] = 1.0;
            }
        }
        let along = TensorData::new(along, [answers, steps]);
        Self {
            states: space.states().len(),
            vocab: space.vocab(),
            along: Tensor::from_data(along, &test_device()),
        }
    }

    fn log_probs(&self, logits: Tensor<1>) -> Tensor<1> {
        let steps = self.states * self.vocab;
        let tokens = log_softmax(logits.reshape([self.states, self.vocab]), 1);
        let answers = self.along.dims()[0];
        self.along
            .clone()
            .matmul(tokens.reshape([steps, 1]))
            .reshape([answers])
    }

    /// Where a loss of the answers' log-probabilities has its minimum, from `start`.
    fn minimum(
        &self,
        start: &[f64],
        steps: usize,
        loss: impl Fn(Tensor<1>) -> Tensor<1>,
    ) -> Minimum {
        let device = test_device().autodiff();
        let value = |table: &[f64]| {
            let narrow: Vec<f32> = table.iter().map(|value| *value as f32).collect();
            let table = Tensor::<1>::from_data(narrow.as_slice(), &device).require_grad();
            let loss = loss(self.log_probs(table.clone())).sum();
            let gradient = table.grad(&loss.backward()).unwrap();
            let gradient = gradient.into_data().iter::<f64>().collect();
            (f64::from(loss.into_scalar::<f32>()), gradient)
        };
        minimise(value, start, 3e-7, steps)
    }
}

/// What DPO learns from pairs that come up so often (`beats[y][z]`: `y` preferred to `z`), starting
/// where it also has its reference.
fn dpo(
    reference: &Policy<'_>,
    beats: &[Vec<f64>],
    beta: f64,
    label_smoothing: f64,
    steps: usize,
) -> (Vec<f64>, Minimum) {
    let space = reference.space();
    let pairs = || {
        let rows = beats.iter().enumerate();
        rows.flat_map(|(y, row)| row.iter().enumerate().map(move |(z, often)| (y, z, *often)))
            .filter(|pair| pair.2 > 0.0)
    };
    let (chosen, rejected) = (places(pairs().map(|p| p.0)), places(pairs().map(|p| p.1)));
    let often = vector(&pairs().map(|pair| pair.2).collect::<Vec<_>>());
    let start = vector(&reference.log_probs());
    let found = Table::new(space).minimum(reference.logits(), steps, |log_probs| {
        let ratios = log_probs - start.clone();
        let chosen = ratios.clone().select(0, chosen.clone());
        let rejected = ratios.select(0, rejected.clone());
        dpo_loss(chosen, rejected, beta, label_smoothing) * often.clone()
    });
    let policy = Policy::new(space, found.at.clone());
    (policy.distribution(), found)
}

/// A reference and rewards of its answers.
fn instance(space: &Space, seed: u64) -> (Policy<'_>, Vec<f64>) {
    let rewards = Policy::random(space, 1.0, 900 + seed).log_probs();
    (Policy::random(space, 1.0, 500 + seed), rewards)
}

#[test]
fn dpo_on_drawn_labels_comes_to_the_tilted_reference() {
    let space = Space::new(3, 2);
    for seed in 0..SEEDS {
        let (reference, rewards) = instance(&space, seed);
        let p = reference.distribution();
        for beta in [0.5, 1.0] {
            let beats = drawn_labels(&p, &rewards);
            let (found, _) = dpo(&reference, &beats, beta, 0.0, 2000);
            let best = kl_optimum(&p, &rewards, beta);
            let apart = kl(&found, &best);
            assert!(apart < NEAR, "{apart} nats at {beta}");
            assert!(kl(&p, &best) > 1e-2, "nothing to learn");
        }
    }
}

#[test]
fn dpo_on_labels_as_the_stage_draws_them_comes_near_the_tilted_reference() {
    let space = Space::new(2, 2);
    let (reference, rewards) = instance(&space, 1);
    let p = reference.distribution();
    let best = kl_optimum(&p, &rewards, 1.0);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // Prompts that mean the same, each with some answers and their labels.
    let apart = [300, 30_000].map(|prompts| {
        let mut beats = vec![vec![0.0; p.len()]; p.len()];
        for prompt in 0..prompts {
            let answers: Vec<usize> = (0..4).map(|_| reference.sample(&mut rng)).collect();
            let of: Vec<f64> = answers.iter().map(|&answer| rewards[answer]).collect();
            let name = format!("{prompt} of {prompts}");
            for (c, r) in labelled(&of, Labels::Sampled, None, &name, 5) {
                beats[answers[c]][answers[r]] += 1.0 / f64::from(6 * prompts);
            }
        }
        kl(&dpo(&reference, &beats, 1.0, 0.0, 2000).0, &best)
    });
    // With two free logits or so, the KL is some 1/(pairs · information): 1e-4 at the larger size.
    assert!(apart[1] < 1e-3 && apart[1] < apart[0], "{apart:?}");
}

#[test]
fn certain_labels_have_no_finite_optimum_and_smoothed_ones_do() {
    // Two answers: the better one's lead is all there is.
    let space = Space::new(2, 1);
    let (reference, rewards) = (Policy::random(&space, 1.0, 3), [0.0, 1.0]);
    let beats = hard_labels(&reference.distribution(), &rewards, 4);
    let lead = |smoothing, steps| {
        let (found, minimum) = dpo(&reference, &beats, 0.5, smoothing, steps);
        let log_ratio = |y: usize| (found[y] / reference.distribution()[y]).ln();
        (0.5 * (log_ratio(1) - log_ratio(0)), minimum.slope)
    };
    let grown: Vec<f64> = [2, 4, 8].map(|steps| lead(0.0, steps).0).to_vec();
    assert!(grown.is_sorted_by(|a, b| b - a > 0.3), "{grown:?}");
    // m = ln((1−ε)/ε).
    for smoothing in [0.1, 0.3f64] {
        let (found, slope) = lead(smoothing, 500);
        let expected = ((1.0 - smoothing) / smoothing).ln();
        assert!((found - expected).abs() < 1e-3, "{found} for {expected}");
        assert!(slope < 1e-5, "{slope}");
    }
    // And of many answers: further and further, or to rest.
    let space = Space::new(3, 2);
    for seed in 0..SEEDS {
        let (reference, rewards) = instance(&space, seed);
        let p = reference.distribution();
        let beats = hard_labels(&p, &rewards, 4);
        let at = |smoothing, steps| dpo(&reference, &beats, 1.0, smoothing, steps);
        let gone = [4, 12, 36].map(|steps| {
            let found = at(0.0, steps).0;
            let ratios = found
                .iter()
                .zip(&p)
                .map(|(found, p)| (found / p).ln().abs());
            ratios.fold(0.0, f64::max)
        });
        assert!(gone.is_sorted_by(|a, b| *b > 1.2 * a), "{gone:?}");
        let (rest, again) = (at(0.2, 500), at(0.2, 1000));
        assert!(rest.1.slope < 1e-5, "{}", rest.1.slope);
        assert!(kl(&rest.0, &again.0) < NEAR);
    }
}

#[test]
fn spins_loss_comes_to_spins_step() {
    let space = Space::new(3, 2);
    for seed in 0..SEEDS {
        let (previous, _) = instance(&space, seed);
        let demonstrator = Policy::random(&space, 1.0, seed).distribution();
        let p = previous.distribution();
        for lambda in [0.5, 1.0, 3.0] {
            let beats = self_play(&demonstrator, &p);
            let (found, _) = dpo(&previous, &beats, lambda, 0.0, 2000);
            let apart = kl(&found, &spin_step(&p, &demonstrator, lambda));
            assert!(apart < NEAR, "{apart} nats at {lambda}");
        }
    }
}

#[test]
fn distilled_best_of_n_is_best_of_n() {
    let space = Space::new(3, 2);
    let (n, sizes) = (4, [500, 2000, 8000, 32_000]);
    let table = Table::new(&space);
    let fit = |start: &Policy<'_>, weights: &[f64]| {
        let weights = vector(weights);
        let found = table.minimum(start.logits(), 500, |log_probs| {
            weighted_nll(log_probs, weights.clone())
        });
        Policy::new(&space, found.at).distribution()
    };
    let mut errors = [0.0; 4];
    for seed in 0..SEEDS {
        let (policy, rewards) = instance(&space, seed);
        // Some answers are as good as others.
        let rewards: Vec<f64> = rewards.iter().map(|r| (2.0 * r).round()).collect();
        let best = best_of_n(&policy.distribution(), &rewards, n);
        // With the weights that infinitely many stored answers would have.
        let apart = kl(&best, &fit(&policy, &best));
        assert!(apart < NEAR, "{apart}");
        for (error, size) in errors.iter_mut().zip(sizes) {
            let mut rng = ChaCha8Rng::seed_from_u64(1000 * size as u64 + seed);
            let stored: Vec<usize> = (0..size).map(|_| policy.sample(&mut rng)).collect();
            let of: Vec<f64> = stored.iter().map(|&answer| rewards[answer]).collect();
            let mut weights = vec![0.0; best.len()];
            for (&answer, weight) in stored.iter().zip(best_of_n_weights(&of, n as usize)) {
                weights[answer] += weight;
            }
            let found = fit(&policy, &weights);
            let apart = found.iter().zip(&best).map(|(f, b)| (f - b).powi(2));
            *error += apart.sum::<f64>() / SEEDS as f64;
        }
    }
    let x: Vec<f64> = sizes.iter().map(|&size| f64::from(size).ln()).collect();
    let y: Vec<f64> = errors.iter().map(|error| 0.5 * error.ln()).collect();
    let slope = afd_stats::line(&x, &y).map_or(f64::NAN, |line| line.slope);
    // Of 4 draws at 4 sizes the slope has a standard error of some 0.06.
    assert!((slope + 0.5).abs() < 0.2, "slope {slope}: {errors:?}");
    assert!(errors[3].sqrt() < 0.01, "{errors:?}");
}

#[test]
fn winners_alone_are_what_is_left_of_best_of_as_many_as_there_are() {
    // Of as many answers as there are stored, RAFT keeps the best: all else weighs nothing.
    let weights = best_of_n_weights(&[0.2, 1.5, -0.3, 1.5], 4);
    assert_eq!(weights, [0.0, 0.5, 0.0, 0.5]);
}

#[test]
fn kto_leans_to_desirable_answers() {
    let space = Space::new(3, 2);
    let table = Table::new(&space);
    for seed in 0..SEEDS {
        let (reference, rewards) = instance(&space, seed);
        let p = reference.distribution();
        let verdicts = desirable(&rewards);
        let good: Vec<bool> = verdicts
            .iter()
            .map(|verdict| *verdict == Some(true))
            .collect();
        let (often, start) = (vector(&p), vector(&reference.log_probs()));
        let found = table.minimum(reference.logits(), 20, |log_probs| {
            let ratios = log_probs - start.clone();
            kto_loss(ratios, &good, 0.0, 1.0, [1.0, 1.0]) * often.clone()
        });
        let found = Policy::new(&space, found.at).distribution();
        let mass = |of: &[f64]| {
            let kept = of.iter().zip(&good).filter(|(_, good)| **good);
            kept.map(|(p, _)| p).sum::<f64>()
        };
        assert!(
            mass(&found) > mass(&p) + 0.05,
            "{} {}",
            mass(&found),
            mass(&p)
        );
    }
}
