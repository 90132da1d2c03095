//! Rewards of tokens: which of them a token's log-probability is weighted by.

use crate::policy::Policy;

/// The expected gradient, by step, of `Σ_t ∇ log pi(a_t|s_t) · Σ_(u≥t) γ^(u−t) r_u` with a reward
/// for every step: what is still to come, discounted.
///
/// Without discount (`γ = 1`) it is the gradient of the answers' expected reward, wherever along an
/// answer that is paid: a token cannot change what came before it, so the past only adds variance.
/// With `γ < 1` it is not, and at `γ = 0` a token answers for its own reward alone and not for
/// where it leads.
///
/// # Panics
/// Unless there is one reward per step.
pub fn to_go_gradient(policy: &Policy<'_>, rewards: &[f64], discount: f64) -> Vec<f64> {
    let (space, tokens) = (policy.space(), policy.token_log_probs());
    assert_eq!(rewards.len(), tokens.len(), "a reward for each step");
    let vocab = space.vocab();
    let mut gradient = vec![0.0; tokens.len()];
    for (answer, p) in policy.distribution().iter().enumerate() {
        let mut to_go = 0.0;
        for &step in space.steps(answer).iter().rev() {
            to_go = rewards[step] + discount * to_go;
            let state = step / vocab;
            for other in state * vocab..(state + 1) * vocab {
                let taken = if other == step { 1.0 } else { 0.0 };
                gradient[other] += p * to_go * (taken - tokens[other].exp());
            }
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{apart, close_all},
        reward::{answer_rewards, token_rewards},
        space::Space,
    };

    fn instance(space: &Space, seed: u64) -> (Policy<'_>, Policy<'_>, Policy<'_>) {
        let policy = Policy::random(space, 1.0, seed);
        let sft = Policy::random(space, 1.0, 500 + seed);
        (policy, sft, Policy::random(space, 1.0, 900 + seed))
    }

    fn whole(policy: &Policy<'_>, rewards: &[f64]) -> Vec<f64> {
        let pairs = policy.distribution().into_iter().zip(rewards);
        policy.gradient(&pairs.map(|(p, r)| p * r).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_to_come_has_the_gradient_of_the_answers_reward() {
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let (policy, sft, init) = instance(&space, seed);
            let truth = whole(&policy, &answer_rewards(&sft, &init));
            let tokens = token_rewards(&sft, &init);
            close_all(&to_go_gradient(&policy, &tokens, 1.0), &truth, 1e-10);
            // Paid at the last token alone it is the same.
            let rewards = answer_rewards(&sft, &init);
            let mut late = vec![0.0; tokens.len()];
            for (answer, r) in rewards.iter().enumerate() {
                let steps = space.steps(answer);
                late[steps[steps.len() - 1]] = *r;
            }
            close_all(&to_go_gradient(&policy, &late, 1.0), &truth, 1e-10);
            // Discounted, the two part, and neither is right.
            let (dense, sparse) = (
                to_go_gradient(&policy, &tokens, 0.5),
                to_go_gradient(&policy, &late, 0.5),
            );
            assert!(apart(&dense, &truth) > 1e-3 && apart(&sparse, &truth) > 1e-3);
            assert!(apart(&dense, &sparse) > 1e-3);
        }
    }

    #[test]
    fn a_tokens_own_reward_is_enough_at_horizon_one_only() {
        for seed in 0..30 {
            for horizon in [1, 3] {
                let space = Space::new(3, horizon);
                let (policy, sft, init) = instance(&space, seed);
                let truth = whole(&policy, &answer_rewards(&sft, &init));
                let own = to_go_gradient(&policy, &token_rewards(&sft, &init), 0.0);
                assert_eq!(apart(&own, &truth) < 1e-10, horizon == 1);
            }
        }
    }

    #[test]
    fn a_baseline_of_the_state_changes_nothing() {
        // Shaping: r + V(s') − V(s) with V = 0 after the answer moves each answer by −V(s_0).
        let space = Space::new(3, 3);
        for seed in 0..30 {
            let (policy, sft, init) = instance(&space, seed);
            let tokens = token_rewards(&sft, &init);
            let values = &init.logits()[..space.states().len()];
            let shaped = tokens.iter().enumerate().map(|(step, r)| {
                let after = space.next(step).map_or(0.0, |next| values[next]);
                r + after - values[step / 3]
            });
            let shaped: Vec<f64> = shaped.collect();
            let plain = to_go_gradient(&policy, &tokens, 1.0);
            close_all(&to_go_gradient(&policy, &shaped, 1.0), &plain, 1e-10);
            assert!(apart(&to_go_gradient(&policy, &shaped, 0.0), &plain) > 1e-3);
        }
    }
}
