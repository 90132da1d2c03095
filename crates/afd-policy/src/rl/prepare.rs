//! From rewards of tokens to a batch that can be learned from: penalty, KL term, whitening, advantages.

use afd_data::TokenRow;

use super::{
    advantage::{Advantage, advantages, gae, whiten},
    config::RlConfig,
    kl::{KlLevel, KlPlacement},
    objective::Batch,
    rollout::Rollout,
};
use crate::Error;

/// What models say of a batch of answers, token by token.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What each token earned.
    pub rewards: Vec<Vec<f64>>,
    /// Log-probabilities by the policy, in nats.
    pub old: Vec<Vec<f32>>,
    /// Log-probabilities by the reference, in nats.
    pub reference: Vec<Vec<f32>>,
    /// Values of the states; empty where there is no value model.
    pub values: Vec<Vec<f32>>,
}

/// Makes a batch of `rollouts`, of which `config.num_generations` in a row are answers to one prompt.
pub fn prepare(config: &RlConfig, beta: f64, rollouts: &[Rollout], seen: Seen) -> Batch {
    let mut rewards = seen.rewards;
    for (tokens, rollout) in rewards.iter_mut().zip(rollouts) {
        if let (Some(last), false) = (tokens.last_mut(), rollout.ended()) {
            *last -= config.missing_eos_penalty;
        }
    }
    if beta > 0.0 && config.kl_placement == KlPlacement::Reward {
        let each = rewards.iter_mut().zip(seen.old.iter().zip(&seen.reference));
        for (rewards, (old, reference)) in each {
            take_off_kl(config, beta, rewards, old, reference);
        }
    }
    let left_out = |rollout: &Rollout| config.mask_truncated_completions && !rollout.ended();
    let weights = rollouts
        .iter()
        .map(|rollout| f64::from(u8::from(!left_out(rollout))));
    let weights: Vec<f64> = weights.collect();
    if config.whiten_rewards {
        whiten(&mut rewards, &weights, false);
    }
    let (mut advantages, returns): (Vec<Vec<f64>>, Vec<Vec<f64>>) = match &config.value {
        Some(value) if config.advantage == Advantage::Gae => {
            let each = rewards.iter().zip(&seen.values).map(|(rewards, values)| {
                let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
                gae(rewards, &values, value.gamma, value.lam)
            });
            each.unzip()
        }
        _ => {
            let groups = rewards.chunks(config.num_generations);
            let each = groups.flat_map(|group| advantages(config.advantage, group));
            (each.collect(), Vec::new())
        }
    };
    if config.whiten_advantages {
        whiten(&mut advantages, &weights, true);
    }
    let rows: Vec<TokenRow> = rollouts.iter().map(|rollout| rollout.row.clone()).collect();
    Batch {
        rows,
        old: seen.old,
        reference: seen.reference,
        advantages,
        weights,
        returns,
        values: seen.values,
    }
}

fn take_off_kl(config: &RlConfig, beta: f64, rewards: &mut [f64], old: &[f32], reference: &[f32]) {
    let pairs = old.iter().zip(reference);
    let ratios: Vec<f64> = pairs.map(|(p, q)| f64::from(*p) - f64::from(*q)).collect();
    let price = |l: f64| beta * config.kl_estimator.of(l);
    match config.kl_level {
        KlLevel::Token => {
            for (reward, l) in rewards.iter_mut().zip(ratios) {
                *reward -= price(l);
            }
        }
        KlLevel::Sequence => {
            if let Some(last) = rewards.last_mut() {
                *last -= price(ratios.iter().sum());
            }
        }
    }
}

/// Refuses rewards from which answers to one prompt cannot be told apart, whatever the prompt.
///
/// # Errors
/// [`Error::ConstantReward`].
pub fn refuse_constant(rewards: &[Vec<f64>], num_generations: usize) -> Result<(), Error> {
    let totals: Vec<f64> = rewards.iter().map(|tokens| tokens.iter().sum()).collect();
    let equal = |group: &[f64]| group.iter().all(|total| *total == group[0]);
    match num_generations > 1 && totals.chunks(num_generations).all(equal) {
        true => Err(Error::ConstantReward {
            prompts: totals.len() / num_generations,
            num_generations,
        }),
        false => Ok(()),
    }
}
