//! What further held-out scorers say of the same answers, and whether they agree.

use afd_stats::{mean, pearson_within, six_digits, spearman_within};

use super::{Evaluation, contest::Contestant};
use crate::{
    golden::GoldenRow,
    inputs::Ranker,
    summary::{Agreement, RankerKind, ScoredPolicy, ScorerSummary},
};

impl Evaluation<'_> {
    /// Each further scorer's rewards of all policies.
    pub(super) fn scorers(&self, rankers: &[(&Ranker, RankerKind)]) -> Vec<ScorerSummary> {
        let scorers = self.data.scorers.iter();
        let scorer = |(name, golden): &(String, Vec<GoldenRow>)| {
            let sft: Vec<f64> = golden.iter().map(|row| mean(&row.sft)).collect();
            let policy = |one: &Contestant| {
                let means = one.means();
                let (delta, delta_ci) = self.difference(&means, &sft);
                ScoredPolicy {
                    policy: one.name.clone(),
                    mean: six_digits(mean(&means)),
                    mean_ci95: self.bootstrap.interval(&means).map(six_digits),
                    delta_vs_sft: delta,
                    delta_vs_sft_ci95: delta_ci,
                }
            };
            let contestants = self.contestants(golden, rankers);
            ScorerSummary {
                scorer: name.clone(),
                policies: contestants.iter().map(policy).collect(),
            }
        };
        scorers.map(scorer).collect()
    }

    /// How alike the scorers, the golden one first, order SFT's answers to a prompt: all pairs.
    pub(super) fn agreement(&self, golden_name: &str) -> Vec<Agreement> {
        let further = self.data.scorers.iter();
        let all: Vec<(&str, Vec<Vec<f64>>)> = std::iter::once((golden_name, self.golden))
            .chain(further.map(|(name, golden)| (name.as_str(), golden.as_slice())))
            .map(|(name, golden)| (name, golden.iter().map(|row| row.sft.clone()).collect()))
            .collect();
        let mut pairs = Vec::new();
        for (place, (scorer, ours)) in all.iter().enumerate() {
            for (versus, theirs) in &all[place + 1..] {
                pairs.push(Agreement {
                    scorer: (*scorer).to_owned(),
                    versus: (*versus).to_owned(),
                    spearman_within_prompt: spearman_within(ours, theirs).map(six_digits),
                    pearson_within_prompt: pearson_within(ours, theirs).map(six_digits),
                });
            }
        }
        pairs
    }
}
