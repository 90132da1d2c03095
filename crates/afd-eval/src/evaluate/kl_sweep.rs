//! What a reward buys by the distance from SFT: its answers tilted towards the reward, step by step.

use afd_model::{beta_at_kl, tilted_weights};
use afd_stats::{mean, six_digits, weighted};
use rayon::prelude::*;

use super::Evaluation;
use crate::{
    inputs::Ranker,
    summary::{KlSweep, RankerKind},
};

impl Evaluation<'_> {
    /// For each reward, and for the golden one as what could be had, the golden reward of SFT's stored
    /// answers under weights `∝ exp(score/β)`, at the β at which these lie as far from them as asked. A
    /// distance that no β reaches is left out.
    pub(super) fn kl_sweep(&self, nats: &[f64], rankers: &[(&Ranker, RankerKind)]) -> Vec<KlSweep> {
        let rewards = rankers
            .par_iter()
            .filter(|(_, kind)| *kind != RankerKind::Trivial);
        let sweep = rewards.flat_map_iter(|(ranker, _)| {
            let scores: Vec<&[f64]> = ranker.scores.iter().map(Vec::as_slice).collect();
            nats.iter().filter_map(move |&nats| {
                let beta = beta_at_kl(&scores, nats)?;
                Some(self.tilted(ranker, beta, nats))
            })
        });
        sweep.collect()
    }

    fn tilted(&self, ranker: &Ranker, beta: f64, nats: f64) -> KlSweep {
        let each = ranker.scores.iter().zip(&self.sft);
        let golden: Vec<f64> = each
            .map(|(scores, golden)| weighted(&tilted_weights(scores, beta), golden))
            .collect();
        let (delta, delta_ci) = self.difference(&golden, &self.sft_golden);
        KlSweep {
            ranker: ranker.name.clone(),
            kl_nats: nats,
            golden_mean: six_digits(mean(&golden)),
            delta_vs_sft: delta,
            delta_vs_sft_ci95: delta_ci,
        }
    }
}
