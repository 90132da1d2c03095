//! IQ-Learn: inverse soft Q-learning without an adversary, and what it is on answers.
//!
//! `Q(s,a)` is a table of logits: the policy is their softmax, `V(s) = log Σ_a exp Q(s,a)`, and the
//! implied reward `r(s,a) = Q(s,a) − V(s')` with `V = 0` after the answer.

use crate::{
    policy::{Policy, log_sum_exp},
    sft::sft,
};

/// The reward a table of logits implies, `r(s,a) = Q(s,a) − V(s')` in nats, by step.
///
/// Along an answer it sums to `log pi(y) + V(s_0)`: the log-probability, but for a constant of the
/// prompt.
pub fn implied_rewards(q: &Policy<'_>) -> Vec<f64> {
    let values = values(q);
    let of = |(step, q_of): (usize, &f64)| q_of - value_after(q, &values, step);
    q.logits().iter().enumerate().map(of).collect()
}

/// IQ-Learn's loss on demonstrations and its gradient over the logits, by step.
///
/// Formula: `−E_demo Σ_t [r_t − r_t²/(4α)] + V(s_0)`.
/// Source: Garg et al., arXiv 2106.12142, the χ² objective with `φ(x) = x − x²/(4α)`.
/// Departures: no discount; the value term telescopes along demonstrations, whose transitions are
/// known.
///
/// Without the square (`α → ∞`) it is exactly fine-tuning, for
/// `Σ_t (Q_t − V_(t+1)) − V_0 = Σ_t (Q_t − V_t) = log pi(y)`; with it, fine-tuning plus
/// `E_demo Σ_t r_t²/(4α)`, which also fixes the constant of each state's logits that a softmax
/// leaves free.
///
/// # Panics
/// Unless `alpha` is positive, and unless there is one probability per answer.
pub fn iq_learn(q: &Policy<'_>, demonstrator: &[f64], alpha: f64) -> (f64, Vec<f64>) {
    assert!(alpha > 0.0, "a temperature of {alpha}");
    let (mut loss, mut gradient) = sft(q, demonstrator);
    let (space, tokens) = (q.space(), q.token_log_probs());
    let visits = space.step_sums(demonstrator);
    for (step, (r, visits)) in implied_rewards(q).iter().zip(&visits).enumerate() {
        loss += visits * r * r / (4.0 * alpha);
        let pull = visits * r / (2.0 * alpha);
        gradient[step] += pull;
        if let Some(next) = space.next(step) {
            for after in next * space.vocab()..(next + 1) * space.vocab() {
                gradient[after] -= pull * tokens[after].exp();
            }
        }
    }
    (loss, gradient)
}

/// `V`, by state.
fn values(q: &Policy<'_>) -> Vec<f64> {
    let states = q.logits().chunks(q.space().vocab());
    states.map(log_sum_exp).collect()
}

/// `V` of where a step leads.
fn value_after(q: &Policy<'_>, values: &[f64], step: usize) -> f64 {
    q.space().next(step).map_or(0.0, |next| values[next])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::expectation,
        minimise::{differences, minimise},
        space::Space,
    };

    fn pair(space: &Space, seed: u64) -> (Policy<'_>, Vec<f64>) {
        let demonstrator = Policy::random(space, 1.0, 500 + seed).distribution();
        (Policy::random(space, 1.0, seed), demonstrator)
    }

    #[test]
    fn it_is_fine_tuning_plus_a_square() {
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let (q, demo) = pair(&space, seed);
            let rewards = implied_rewards(&q);
            // The published form: the mean of φ(r) along demonstrations less V(s_0).
            for alpha in [0.1, 1.0, 10.0] {
                let phi: Vec<f64> = rewards.iter().map(|r| r - r * r / (4.0 * alpha)).collect();
                let published = values(&q)[0] - expectation(&demo, &space.along(&phi));
                close(iq_learn(&q, &demo, alpha).0, published, 1e-10);
            }
            let (plain, _) = sft(&q, &demo);
            close(iq_learn(&q, &demo, 1e12).0, plain, 1e-9);
            let logs = q.log_probs().into_iter().map(|l| l + values(&q)[0]);
            close_all(&space.along(&rewards), &logs.collect::<Vec<_>>(), 1e-10);
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let space = Space::new(3, 3);
        for seed in 0..10 {
            let (q, demo) = pair(&space, seed);
            let value = |x: &[f64]| iq_learn(&Policy::new(&space, x.to_vec()), &demo, 0.7).0;
            let numeric = differences(value, q.logits());
            close_all(&iq_learn(&q, &demo, 0.7).1, &numeric, 1e-7);
        }
    }

    #[test]
    fn a_weaker_square_comes_closer_to_the_demonstrator() {
        let space = Space::new(3, 3);
        for seed in 0..10 {
            let (q, demo) = pair(&space, seed);
            let gap = |alpha: f64| {
                let f = |x: &[f64]| iq_learn(&Policy::new(&space, x.to_vec()), &demo, alpha);
                let found = minimise(f, q.logits(), 1e-10, 5000);
                apart(&Policy::new(&space, found.at).distribution(), &demo)
            };
            let gaps = [gap(1.0), gap(10.0), gap(1e5)];
            assert!(gaps[0] > gaps[1] && gaps[1] > gaps[2], "{gaps:?}");
            assert!(gaps[0] > 1e-3 && gaps[2] < 1e-4, "{gaps:?}");
        }
    }
}
