//! All policies against each other: tests of what differs, and one strength for each.

use afd_model::best_of_n_weights;
use afd_stats::{
    ELO_POINTS_PER_NAT, bradley_terry, holm, mean, percentile_interval, permutation_p, six_digits,
    weighted,
};

use super::{COMPARISONS, Evaluation};
use crate::{
    EvalConfig,
    golden::GoldenRow,
    inputs::Ranker,
    summary::{RankerKind, Strength, Test},
};

/// A policy: its answers to each prompt, by their golden reward, and what each weighs.
pub(super) struct Contestant {
    pub(super) name: String,
    golden: Vec<Vec<f64>>,
    weights: Vec<Vec<f64>>,
}

impl Contestant {
    /// Answers of which none is chosen before others.
    fn plain(name: &str, golden: Vec<Vec<f64>>) -> Self {
        let even = |answers: &Vec<f64>| vec![1.0 / answers.len() as f64; answers.len()];
        Self {
            name: name.to_owned(),
            weights: golden.iter().map(even).collect(),
            golden,
        }
    }

    /// The golden reward to be expected at each prompt.
    pub(super) fn means(&self) -> Vec<f64> {
        let each = self.weights.iter().zip(&self.golden);
        each.map(|(weights, golden)| weighted(weights, golden))
            .collect()
    }

    /// At each prompt the chance that an answer of this policy beats one of another; ties count half.
    fn beats(&self, other: &Self) -> Vec<f64> {
        let ours = self.golden.iter().zip(&self.weights);
        let theirs = other.golden.iter().zip(&other.weights);
        ours.zip(theirs)
            .map(|(ours, theirs)| chance(ours, theirs))
            .collect()
    }
}

/// The chance that one draw is above another; ties count half.
fn chance((values, weights): (&Vec<f64>, &Vec<f64>), others: (&Vec<f64>, &Vec<f64>)) -> f64 {
    let mut others: Vec<(f64, f64)> = others
        .0
        .iter()
        .copied()
        .zip(others.1.iter().copied())
        .collect();
    others.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The weight of all before each place.
    let mut before = vec![0.0];
    for (_, weight) in &others {
        before.push(before[before.len() - 1] + weight);
    }
    let each = values.iter().zip(weights).map(|(value, weight)| {
        let below = others.partition_point(|(other, _)| other < value);
        let not_above = others.partition_point(|(other, _)| other <= value);
        weight * (before[below] + before[not_above]) / 2.0
    });
    each.sum()
}

impl Evaluation<'_> {
    /// Tests of the trained policies and of every reward's choice against SFT, and of the rewards' choices
    /// against each other, as one family; and the strengths of all policies.
    pub(super) fn contest(
        &self,
        config: &EvalConfig,
        rankers: &[(&Ranker, RankerKind)],
        seed: u64,
    ) -> (Vec<Test>, Vec<Strength>) {
        let contestants = self.contestants(self.golden, rankers);
        let means: Vec<Vec<f64>> = contestants.iter().map(Contestant::means).collect();
        (
            self.tests(config, &contestants, &means, seed),
            self.strengths(config, &contestants),
        )
    }

    /// All policies, their answers rewarded by `golden`: the initial one, SFT, those trained from it, what each
    /// reward chooses at the headline N, and the demonstrator.
    pub(super) fn contestants(
        &self,
        golden: &[GoldenRow],
        rankers: &[(&Ranker, RankerKind)],
    ) -> Vec<Contestant> {
        let of = |values: &dyn Fn(&GoldenRow) -> Vec<f64>| -> Vec<Vec<f64>> {
            golden.iter().map(values).collect()
        };
        let sft = of(&|row| row.sft.clone());
        let mut all = vec![
            Contestant::plain("init", of(&|row| row.init.clone())),
            Contestant::plain(SFT, sft.clone()),
        ];
        for policy in &self.data.policies {
            let own = of(&|row| row.policy(&policy.name).to_vec());
            all.push(Contestant::plain(&policy.name, own));
        }
        for (ranker, kind) in rankers {
            if *kind == RankerKind::Reward {
                let scores = ranker.scores.iter();
                all.push(Contestant {
                    name: self.best_of(&ranker.name),
                    golden: sft.clone(),
                    weights: scores
                        .map(|scores| best_of_n_weights(scores, self.headline_n))
                        .collect(),
                });
            }
        }
        let demonstrations = of(&|row| vec![row.demonstration]);
        all.push(Contestant::plain("demonstrator", demonstrations));
        all
    }

    /// What reports call the choice of a ranker.
    fn best_of(&self, ranker: &str) -> String {
        format!("best of {} by {ranker}", self.headline_n)
    }

    fn tests(
        &self,
        config: &EvalConfig,
        contestants: &[Contestant],
        means: &[Vec<f64>],
        seed: u64,
    ) -> Vec<Test> {
        let place = |name: &str| contestants.iter().position(|other| other.name == name);
        let against_sft = contestants
            .iter()
            .filter(|one| ![SFT, "init", "demonstrator"].contains(&one.name.as_str()))
            .map(|one| (one.name.clone(), SFT.to_owned()));
        let each_other = COMPARISONS.map(|(a, b)| (self.best_of(a), self.best_of(b)));
        let mut tests: Vec<Test> = against_sft
            .chain(each_other)
            .filter_map(|(policy, versus)| {
                let (a, b) = (&means[place(&policy)?], &means[place(&versus)?]);
                let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
                Some(Test {
                    policy,
                    versus,
                    delta: six_digits(mean(&differences)),
                    p: six_digits(permutation_p(
                        &differences,
                        config.bootstrap_resamples as u64,
                        seed,
                    )),
                    p_holm: 1.0,
                })
            })
            .collect();
        let p_values: Vec<f64> = tests.iter().map(|test| test.p).collect();
        for (test, adjusted) in tests.iter_mut().zip(holm(&p_values)) {
            test.p_holm = six_digits(adjusted);
        }
        tests
    }

    fn strengths(&self, config: &EvalConfig, contestants: &[Contestant]) -> Vec<Strength> {
        let count = contestants.len();
        // Of each pair the chance at each prompt, and its mean over each resample.
        let mut found = vec![vec![0.0; count]; count];
        let mut resampled: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); count]; count];
        for a in 0..count {
            for b in 0..a {
                let chances = contestants[a].beats(&contestants[b]);
                found[a][b] = mean(&chances);
                resampled[a][b] = self.bootstrap.means(&chances);
            }
        }
        let prompts = self.golden.len() as f64;
        let fitted = |chance: &dyn Fn(usize, usize) -> f64| {
            let won = |a: usize, b: usize| match a.cmp(&b) {
                std::cmp::Ordering::Greater => prompts * chance(a, b),
                std::cmp::Ordering::Less => prompts * (1.0 - chance(b, a)),
                std::cmp::Ordering::Equal => 0.0,
            };
            let wins: Vec<Vec<f64>> = (0..count)
                .map(|a| (0..count).map(|b| won(a, b)).collect())
                .collect();
            let nats = bradley_terry(&wins, config.bradley_terry_prior);
            // SFT, the second, is where the scale begins.
            let elo = nats.iter().map(|s| (s - nats[1]) * ELO_POINTS_PER_NAT);
            elo.collect::<Vec<f64>>()
        };
        let elo = fitted(&|a, b| found[a][b]);
        let resamples = resampled[1][0].len();
        let all: Vec<Vec<f64>> = (0..resamples)
            .map(|resample| fitted(&|a, b| resampled[a][b][resample]))
            .collect();
        let one = |(place, contestant): (usize, &Contestant)| Strength {
            policy: contestant.name.clone(),
            elo: six_digits(elo[place]),
            elo_ci95: percentile_interval(all.iter().map(|elo| elo[place]).collect())
                .map(six_digits),
        };
        contestants.iter().enumerate().map(one).collect()
    }
}

const SFT: &str = "sft";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_to_win_on_paper() {
        let (ours, even) = (vec![1.0, 3.0], vec![0.5, 0.5]);
        let (theirs, weights) = (vec![3.0, 0.0, 1.0], vec![0.2, 0.3, 0.5]);
        // 1 beats 0 and is level with 1: 0.3 + 0.25; 3 beats 0 and 1 and is level with 3: 0.8 + 0.1.
        let found = chance((&ours, &even), (&theirs, &weights));
        assert!((found - (0.55 + 0.9) / 2.0).abs() < 1e-12, "{found}");
        let back = chance((&theirs, &weights), (&ours, &even));
        assert!((found + back - 1.0).abs() < 1e-12);
    }
}
