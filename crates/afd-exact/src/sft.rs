//! Fine-tuning on demonstrations: forward KL, and what averaging over tokens makes of it.

use crate::{
    divergence::{expectation, normalised},
    policy::Policy,
};

/// `−E_demo Σ_t log pi(a_t|s_t)` in nats and its gradient over the policy's logits, by step.
///
/// It is `KL(demo ‖ pi)` plus the demonstrator's entropy: a *sum* over the answer's tokens, the end
/// token included.
///
/// # Panics
/// Unless there is one probability per answer.
pub fn sft(policy: &Policy<'_>, demonstrator: &[f64]) -> (f64, Vec<f64>) {
    let minus: Vec<f64> = policy.log_probs().iter().map(|l| -l).collect();
    let gradient = policy.gradient(demonstrator).iter().map(|g| -g).collect();
    (expectation(demonstrator, &minus), gradient)
}

/// Where the *mean* over each answer's tokens leads instead: `pi ∝ demo/|y|`, short answers too
/// often.
///
/// # Panics
/// On different lengths.
pub fn per_token_mean_optimum(demonstrator: &[f64], lengths: &[f64]) -> Vec<f64> {
    assert_eq!(demonstrator.len(), lengths.len(), "a length for each");
    let pairs = demonstrator.iter().zip(lengths);
    normalised(&pairs.map(|(p, l)| p / l).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close, close_all},
        divergence::{entropy, kl},
        minimise::{differences, minimise},
        space::Space,
    };

    #[test]
    fn it_is_the_forward_kl_but_for_the_demonstrators_entropy() {
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let demo = Policy::random(&space, 1.5, seed).distribution();
            let policy = Policy::random(&space, 1.5, 500 + seed);
            let (loss, gradient) = sft(&policy, &demo);
            close(
                loss,
                kl(&demo, &policy.distribution()) + entropy(&demo),
                1e-10,
            );
            let forward =
                |logits: &[f64]| kl(&demo, &Policy::new(&space, logits.to_vec()).distribution());
            close_all(&gradient, &differences(forward, policy.logits()), 1e-8);
        }
    }

    #[test]
    fn a_sum_over_tokens_finds_the_demonstrator_and_a_mean_answers_that_are_too_short() {
        let space = Space::new(3, 3);
        let lengths = space.lengths();
        for seed in 0..20 {
            let demo = Policy::random(&space, 1.0, seed).distribution();
            let found = |weights: &[f64]| {
                let f = |logits: &[f64]| sft(&Policy::new(&space, logits.to_vec()), weights);
                let found = minimise(f, &[0.0; 21], 1e-11, 2000);
                Policy::new(&space, found.at).distribution()
            };
            close_all(&found(&demo), &demo, 1e-7);
            let per_token: Vec<f64> = demo.iter().zip(&lengths).map(|(p, l)| p / l).collect();
            let mean = found(&per_token);
            close_all(&mean, &per_token_mean_optimum(&demo, &lengths), 1e-7);
            assert!(apart(&mean, &demo) > 1e-3);
            assert!(expectation(&mean, &lengths) < expectation(&demo, &lengths));
        }
    }
}
