//! Implied rewards: what two policies say an answer, or a token of it, is worth.

use crate::{divergence::log_ratio, policy::Policy, space::Space};

/// The reward of each answer, `log p₊(y) − log p₋(y)` in nats.
///
/// Of `pi_SFT` against `pi_0` it is the optimum of the Init-SFT reward model, without training.
pub fn answer_rewards(positive: &Policy<'_>, negative: &Policy<'_>) -> Vec<f64> {
    let logs = positive.log_probs().into_iter().zip(negative.log_probs());
    logs.map(|(p, q)| p - q).collect()
}

/// The reward of each token, `log p₊(a|s) − log p₋(a|s)` in nats, by step.
///
/// Along an answer it sums to [`answer_rewards`].
pub fn token_rewards(positive: &Policy<'_>, negative: &Policy<'_>) -> Vec<f64> {
    let tokens = positive.token_log_probs().into_iter();
    let tokens = tokens.zip(negative.token_log_probs());
    tokens.map(|(p, q)| p - q).collect()
}

/// The logit `h_t` of the token-level discriminator at its optimum, by step: the *cumulative*
/// log-ratio `log p₊(y_1…y_t) − log p₋(y_1…y_t)` in nats, since a prefix comes up as often as
/// answers begin with it.
pub fn prefix_logits(space: &Space, positive: &[f64], negative: &[f64]) -> Vec<f64> {
    log_ratio(&space.step_sums(positive), &space.step_sums(negative))
}

/// The reward of each token of a token-level discriminator, `h_t − h_(t−1)` with `h_0 = 0`, by
/// step.
///
/// # Panics
/// Unless there is one logit per step.
pub fn paid_out(space: &Space, logits: &[f64]) -> Vec<f64> {
    assert_eq!(logits.len(), space.states().len() * space.vocab());
    let mut rewards = logits.to_vec();
    for answer in 0..space.answers().len() {
        for pair in space.steps(answer).windows(2) {
            rewards[pair[1]] = logits[pair[1]] - logits[pair[0]];
        }
    }
    rewards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close_all},
        discriminator::fitted,
        loss::{Kind, Loss},
    };

    #[test]
    fn token_rewards_telescope_to_the_answers() {
        let space = Space::new(3, 4);
        for seed in 0..50 {
            let p = Policy::random(&space, 2.0, seed);
            let q = Policy::random(&space, 2.0, 500 + seed);
            let whole = answer_rewards(&p, &q);
            close_all(&space.along(&token_rewards(&p, &q)), &whole, 1e-10);
            let h = prefix_logits(&space, &p.distribution(), &q.distribution());
            close_all(&paid_out(&space, &h), &token_rewards(&p, &q), 1e-9);
            for (answer, reward) in whole.iter().enumerate() {
                let steps = space.steps(answer);
                // At its last token the discriminator says what one on whole answers would.
                assert!((h[steps[steps.len() - 1]] - reward).abs() < 1e-10);
            }
            assert!(apart(&h, &token_rewards(&p, &q)) > 0.1, "cumulative");
        }
    }

    #[test]
    fn the_token_level_discriminator_finds_the_prefix_ratio() {
        let space = Space::new(3, 3);
        for seed in 0..20 {
            let p = Policy::random(&space, 1.5, seed).distribution();
            let q = Policy::random(&space, 1.5, 500 + seed).distribution();
            // Every prefix of every answer is an example, all tokens weighing the same.
            let loss = Loss::plain(Kind::BinaryCrossEntropy);
            let found = fitted(&loss, &space.step_sums(&p), &space.step_sums(&q));
            close_all(&found.at, &prefix_logits(&space, &p, &q), 1e-5);
            // Tokens averaged within each answer are weighted by how long it will become, which
            // no prefix knows: the optimum moves.
            let mean = |p: &[f64]| {
                let weights: Vec<f64> = p.iter().zip(space.lengths()).map(|(p, l)| p / l).collect();
                space.step_sums(&weights)
            };
            let moved = fitted(&loss, &mean(&p), &mean(&q)).at;
            assert!(apart(&moved, &found.at) > 1e-3);
        }
    }
}
