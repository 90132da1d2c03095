//! Tabular policies: a softmax over tokens at every prefix of one prompt's answers.

use crate::{divergence::normalised, space::Space};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A policy on the answers to one prompt, one logit per step; several prompts are several policies.
///
/// It can be any distribution over answers without zeros: a table has as many free logits as there
/// are answers less one, so what holds of distributions holds of these policies and back.
#[derive(Debug, Clone)]
pub struct Policy<'s> {
    space: &'s Space,
    logits: Vec<f64>,
}

impl<'s> Policy<'s> {
    /// A policy with these logits, by step.
    ///
    /// # Panics
    /// Unless there is one logit per step.
    pub fn new(space: &'s Space, logits: Vec<f64>) -> Policy<'s> {
        assert_eq!(logits.len(), space.states().len() * space.vocab());
        Policy { space, logits }
    }

    /// Logits drawn evenly from `[−scale, scale]`.
    pub fn random(space: &'s Space, scale: f64, seed: u64) -> Policy<'s> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let steps = space.states().len() * space.vocab();
        let draw = |_| rng.random_range(-scale..=scale);
        Policy::new(space, (0..steps).map(draw).collect())
    }

    /// The policy with this distribution over answers: `pi(a|s) = p(s a …) / p(s …)`.
    ///
    /// # Panics
    /// Unless `answers` has one positive probability per answer.
    pub fn from_answers(space: &'s Space, answers: &[f64]) -> Policy<'s> {
        let sums = space.step_sums(answers);
        assert!(
            sums.iter().all(|&p| p > 0.0),
            "a softmax leaves nothing out"
        );
        Policy::new(space, sums.iter().map(|p| p.ln()).collect())
    }

    /// The policy that draws every token from one distribution, whatever came before.
    ///
    /// # Panics
    /// Unless there is one logit per token.
    pub fn unigram(space: &'s Space, tokens: &[f64]) -> Policy<'s> {
        assert_eq!(tokens.len(), space.vocab(), "one logit per token");
        Policy::new(space, tokens.repeat(space.states().len()))
    }

    /// Where it answers.
    pub fn space(&self) -> &'s Space {
        self.space
    }

    /// The logits, by step.
    pub fn logits(&self) -> &[f64] {
        &self.logits
    }

    /// `log pi(a|s)` in nats, by step.
    pub fn token_log_probs(&self) -> Vec<f64> {
        let states = self.logits.chunks(self.space.vocab());
        states.flat_map(log_softmax).collect()
    }

    /// `log pi(y)` of one answer in nats: the sum over its tokens, the end token included.
    pub fn log_prob(&self, answer: usize) -> f64 {
        let tokens = self.token_log_probs();
        let steps = self.space.steps(answer);
        steps.iter().map(|&step| tokens[step]).sum()
    }

    /// `log pi(y)` of all answers in nats.
    pub fn log_probs(&self) -> Vec<f64> {
        self.space.along(&self.token_log_probs())
    }

    /// `pi(y)` of all answers.
    pub fn distribution(&self) -> Vec<f64> {
        self.log_probs().iter().map(|l| l.exp()).collect()
    }

    /// How likely each state is to be passed, by state; 1 for the empty prefix.
    pub fn occupancy(&self) -> Vec<f64> {
        self.space.state_sums(&self.distribution())
    }

    /// Draws an answer, token by token.
    pub fn sample<R: Rng>(&self, rng: &mut R) -> usize {
        let (tokens, vocab) = (self.token_log_probs(), self.space.vocab());
        let (mut prefix, mut state) = (Vec::new(), 0);
        loop {
            let mut rest: f64 = rng.random();
            let mut token = 0;
            while token + 1 < vocab {
                rest -= tokens[state * vocab + token].exp();
                if rest < 0.0 {
                    break;
                }
                token += 1;
            }
            prefix.push(token);
            if let Some(answer) = self.space.index(&prefix) {
                return answer;
            }
            state = self.space.next(state * vocab + token).unwrap_or_default();
        }
    }

    /// `Σ_y w(y) ∇ log pi(y)`, by step: the gradient over logits of which every estimator's
    /// expectation is a case.
    ///
    /// # Panics
    /// Unless there is one weight per answer.
    pub fn gradient(&self, weights: &[f64]) -> Vec<f64> {
        let (steps, states) = (
            self.space.step_sums(weights),
            self.space.state_sums(weights),
        );
        let tokens = self.token_log_probs();
        let vocab = self.space.vocab();
        let of = |(step, sum): (usize, &f64)| sum - states[step / vocab] * tokens[step].exp();
        steps.iter().enumerate().map(of).collect()
    }

    /// The answers of a sampler that draws each token from the likeliest ones that together reach
    /// `top_p`, with zeros for those it cannot write.
    pub fn truncated(&self, top_p: f64) -> Vec<f64> {
        let tokens = self.token_log_probs();
        let states = tokens.chunks(self.space.vocab());
        let kept: Vec<f64> = states.flat_map(|s| nucleus(s, top_p)).collect();
        let probabilities = (0..self.space.answers().len()).map(|answer| {
            let steps = self.space.steps(answer);
            steps.iter().map(|&step| kept[step]).product()
        });
        probabilities.collect()
    }
}

/// `x − log Σ exp(x)`.
pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let z = log_sum_exp(x);
    x.iter().map(|x| x - z).collect()
}

/// `log Σ exp(x)` without overflow.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + x.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

/// One state's probabilities, cut to the likeliest tokens that reach `top_p`.
fn nucleus(log_probs: &[f64], top_p: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..log_probs.len()).collect();
    order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a]));
    let (mut kept, mut mass) = (vec![0.0; log_probs.len()], 0.0);
    for token in order {
        if mass >= top_p {
            break;
        }
        kept[token] = log_probs[token].exp();
        mass += kept[token];
    }
    normalised(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{close, close_all},
        divergence::kl,
        minimise::differences,
    };

    #[test]
    fn a_distribution_over_answers_is_one_and_comes_back() {
        for seed in 0..50 {
            let space = Space::new(2 + seed as usize % 3, 1 + seed as usize % 4);
            let policy = Policy::random(&space, 2.0, seed);
            let p = policy.distribution();
            close(p.iter().sum(), 1.0, 1e-12);
            close(policy.log_prob(0), policy.log_probs()[0], 0.0);
            let again = Policy::from_answers(&space, &p);
            close_all(&again.distribution(), &p, 1e-12);
            close_all(&again.token_log_probs(), &policy.token_log_probs(), 1e-10);
        }
    }

    #[test]
    fn occupancy_is_the_product_of_the_tokens_that_lead_there() {
        for seed in 0..20 {
            let space = Space::new(3, 3);
            let policy = Policy::random(&space, 2.0, seed);
            let tokens = policy.token_log_probs();
            let occupancy = policy.occupancy();
            close(occupancy[0], 1.0, 1e-12);
            // State 4 is the prefix [1, 2]: step 1 at the root, step 2 at state 1.
            assert_eq!(space.states()[4], [1, 2]);
            close(occupancy[4], (tokens[1] + tokens[3 + 2]).exp(), 1e-12);
        }
    }

    #[test]
    fn sampled_frequencies_are_the_distribution() {
        let space = Space::new(3, 3);
        let policy = Policy::random(&space, 1.5, 3);
        let (p, draws) = (policy.distribution(), 100_000);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut counts = vec![0.0; p.len()];
        for _ in 0..draws {
            counts[policy.sample(&mut rng)] += 1.0;
        }
        for (count, p) in counts.iter().zip(&p) {
            let error = (p * (1.0 - p) / f64::from(draws)).sqrt();
            close(count / f64::from(draws), *p, 5.0 * error);
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_weighted_log_probabilities() {
        for seed in 0..20 {
            let space = Space::new(3, 2);
            let policy = Policy::random(&space, 1.0, seed);
            let weights = Policy::random(&space, 1.0, 100 + seed).logits()[..7].to_vec();
            let value = |logits: &[f64]| {
                let l = Policy::new(&space, logits.to_vec()).log_probs();
                l.iter().zip(&weights).map(|(l, w)| l * w).sum::<f64>()
            };
            let numeric = differences(value, policy.logits());
            close_all(&policy.gradient(&weights), &numeric, 1e-7);
        }
    }

    #[test]
    fn the_expected_score_is_zero() {
        for seed in 0..20 {
            let space = Space::new(3, 3);
            let policy = Policy::random(&space, 2.0, seed);
            let gradient = policy.gradient(&policy.distribution());
            close_all(&gradient, &vec![0.0; gradient.len()], 1e-12);
        }
    }

    #[test]
    fn a_truncated_sampler_leaves_answers_out_and_lies_nats_away() {
        for seed in 0..20 {
            let space = Space::new(4, 3);
            let policy = Policy::random(&space, 2.0, seed);
            let (p, cut) = (policy.distribution(), policy.truncated(0.8));
            close(cut.iter().sum(), 1.0, 1e-12);
            assert!(cut.contains(&0.0));
            // Log-ratios are finite one way only.
            assert!(kl(&cut, &p) > 0.0 && kl(&cut, &p).is_finite());
            assert_eq!(kl(&p, &cut), f64::INFINITY);
            close_all(&policy.truncated(1.0), &p, 1e-12);
        }
    }
}
