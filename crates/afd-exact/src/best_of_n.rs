//! Best-of-N, exactly: the distribution of the winner, its KL, and what samples say of it.

/// How `P(r ≤ r(y))` and `P(r < r(y))` lie around each answer, and the mass of its ties.
struct Ranks {
    up_to: f64,
    below: f64,
}

/// The distribution of the best of `n` answers of `policy`, ties broken by chance.
///
/// Formula: `P(y) = pi(y)/pi(tie) · (F(y)^n − F_<(y)^n)` with `F(y)` the probability of an answer
/// with at most, `F_<(y)` with less than, the reward of `y`.
///
/// # Panics
/// Without answers to choose from (`n = 0`), and on different lengths.
pub fn best_of_n(policy: &[f64], reward: &[f64], n: u32) -> Vec<f64> {
    assert!(n > 0, "the best of no answers");
    let power = |f: f64| f.powi(n as i32);
    let ranks = ranks(policy, reward);
    let winners = policy.iter().zip(&ranks).map(|(p, rank)| {
        let tie = rank.up_to - rank.below;
        if *p == 0.0 {
            return 0.0;
        }
        p / tie * (power(rank.up_to) - power(rank.below))
    });
    winners.collect()
}

/// `log N − (N−1)/N` in nats: at least `KL(Best-of-N ‖ pi)`, reached where no two answers tie and
/// none has any mass.
pub fn kl_bound(n: u32) -> f64 {
    let n = f64::from(n);
    n.ln() - (n - 1.0) / n
}

/// `P(y is the best and z the worst of n answers)`, `[y][z]`, where they do not tie; ties within
/// either are shared out by chance.
///
/// # Panics
/// Without answers to choose from (`n = 0`), and on different lengths.
pub fn best_and_worst(policy: &[f64], reward: &[f64], n: u32) -> Vec<Vec<f64>> {
    assert!(n > 0, "the best of no answers");
    let ranks = ranks(policy, reward);
    let power = |f: f64| f.max(0.0).powi(n as i32);
    let share = |i: usize| policy[i] / (ranks[i].up_to - ranks[i].below);
    let pair = |y: usize, z: usize| {
        if reward[y] <= reward[z] {
            return 0.0;
        }
        let (best, worst) = (&ranks[y], &ranks[z]);
        // All answers between the two, less those without the best or the worst.
        let within = power(best.up_to - worst.below)
            - power(best.below - worst.below)
            - power(best.up_to - worst.up_to)
            + power(best.below - worst.up_to);
        share(y) * share(z) * within
    };
    let all = 0..policy.len();
    all.clone()
        .map(|y| all.clone().map(|z| pair(y, z)).collect())
        .collect()
}

/// The mean `value` of the best by `reward` of `n` out of these samples, over all subsets of `n`:
/// an unbiased estimate of `Σ_y P(y) value(y)` under [`best_of_n`].
///
/// Formula: `Σ_ties mean(value) · [C(below + tied, n) − C(below, n)] / C(m, n)`.
///
/// # Panics
/// Unless `1 ≤ n ≤` the number of samples, and on different lengths.
pub fn estimate(reward: &[f64], value: &[f64], n: usize) -> f64 {
    let m = reward.len();
    assert_eq!(m, value.len(), "a value for each sample");
    assert!((1..=m).contains(&n), "the best of {n} among {m} samples");
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| reward[a].total_cmp(&reward[b]));
    let tied = order.chunk_by(|&a, &b| reward[a] == reward[b]);
    let (mut below, mut total) = (0, 0.0);
    for tie in tied {
        let up_to = below + tie.len();
        let mean = tie.iter().map(|&i| value[i]).sum::<f64>() / tie.len() as f64;
        total += mean * (without(m, up_to, n) - without(m, below, n));
        below = up_to;
    }
    total
}

/// `C(k, n) / C(m, n)`: how likely `n` of `m` samples all lie among `k` of them.
fn without(m: usize, k: usize, n: usize) -> f64 {
    let factor = |i: usize| (k as f64 - i as f64).max(0.0) / (m - i) as f64;
    (0..n).map(factor).product()
}

fn ranks(policy: &[f64], reward: &[f64]) -> Vec<Ranks> {
    assert_eq!(policy.len(), reward.len(), "a reward for each answer");
    let mass = |keep: &dyn Fn(f64) -> bool| -> f64 {
        let kept = policy.iter().zip(reward).filter(|(_, r)| keep(**r));
        kept.map(|(p, _)| p).sum()
    };
    let of = |r: &f64| Ranks {
        up_to: mass(&|other| other <= *r),
        below: mass(&|other| other < *r),
    };
    reward.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::{close, close_all},
        divergence::{expectation, kl},
        policy::Policy,
        space::Space,
    };

    /// All `n`-tuples of `0..m`.
    fn tuples(m: usize, n: u32) -> impl Iterator<Item = Vec<usize>> {
        (0..m.pow(n)).map(move |code| (0..n).map(|i| code / m.pow(i) % m).collect())
    }

    /// A policy and rewards of few values, so that answers tie.
    fn tied(space: &Space, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let p = Policy::random(space, 1.5, seed).distribution();
        let raw = Policy::random(space, 1.5, 500 + seed).log_probs();
        (p, raw.iter().map(|r| r.round()).collect())
    }

    #[test]
    fn the_winner_is_distributed_as_all_groups_say() {
        let space = Space::new(3, 2);
        for seed in 0..20 {
            let (p, r) = tied(&space, seed);
            for n in 1..=4 {
                let mut expected = vec![0.0; p.len()];
                for group in tuples(p.len(), n) {
                    let likely: f64 = group.iter().map(|&y| p[y]).product();
                    let most = group.iter().map(|&y| r[y]).fold(f64::MIN, f64::max);
                    let best: Vec<usize> = group.into_iter().filter(|&y| r[y] == most).collect();
                    for &y in &best {
                        expected[y] += likely / best.len() as f64;
                    }
                }
                close_all(&best_of_n(&p, &r, n), &expected, 1e-12);
            }
        }
    }

    #[test]
    fn best_and_worst_are_distributed_as_all_groups_say() {
        let space = Space::new(3, 2);
        for seed in 0..10 {
            let (p, r) = tied(&space, seed);
            for n in 2..=4 {
                let mut expected = vec![vec![0.0; p.len()]; p.len()];
                for group in tuples(p.len(), n) {
                    let likely: f64 = group.iter().map(|&y| p[y]).product();
                    let most = group.iter().map(|&y| r[y]).fold(f64::MIN, f64::max);
                    let least = group.iter().map(|&y| r[y]).fold(f64::MAX, f64::min);
                    if most == least {
                        continue;
                    }
                    let at = |value: f64| -> Vec<usize> {
                        let found = group.iter().copied();
                        found.filter(|&y| r[y] == value).collect()
                    };
                    let (best, worst) = (at(most), at(least));
                    let pairs = (best.len() * worst.len()) as f64;
                    for &y in &best {
                        worst.iter().for_each(|&z| expected[y][z] += likely / pairs);
                    }
                }
                for (found, expected) in best_and_worst(&p, &r, n).iter().zip(&expected) {
                    close_all(found, expected, 1e-12);
                }
            }
        }
    }

    #[test]
    fn rounds_multiply() {
        let space = Space::new(3, 3);
        for seed in 0..50 {
            let (p, r) = tied(&space, seed);
            for (n, rounds) in [(2, 4), (3, 3), (5, 2)] {
                let mut policy = p.clone();
                for _ in 0..rounds {
                    policy = best_of_n(&policy, &r, n);
                }
                close_all(&policy, &best_of_n(&p, &r, n.pow(rounds)), 1e-10);
            }
        }
    }

    #[test]
    fn the_kl_is_within_its_bound_and_not_tight() {
        let expected = [
            (2, 0.193),
            (5, 0.809),
            (10, 1.403),
            (30, 2.435),
            (50, 2.932),
            (100, 3.615),
            (300, 4.707),
            (500, 5.217),
        ];
        let space = Space::new(3, 3);
        for (n, bound) in expected {
            close(kl_bound(n), bound, 5e-4);
            for seed in 0..50 {
                let (p, tied) = tied(&space, seed);
                let distinct = Policy::random(&space, 2.0, 900 + seed).log_probs();
                for r in [tied, distinct] {
                    let found = kl(&best_of_n(&p, &r, n), &p);
                    assert!((0.0..kl_bound(n)).contains(&found), "{found}");
                }
            }
        }
    }

    #[test]
    fn the_bound_is_reached_where_no_answer_has_mass() {
        let p = vec![1.0 / 4096.0; 4096];
        let r: Vec<f64> = (0..4096).map(f64::from).collect();
        close(kl(&best_of_n(&p, &r, 4), &p), kl_bound(4), 1e-3);
    }

    #[test]
    fn the_estimate_over_subsets_is_unbiased() {
        let space = Space::new(2, 3);
        for seed in 0..10 {
            let (p, r) = tied(&space, seed);
            let value = Policy::random(&space, 1.0, 700 + seed).log_probs();
            for (m, n) in [(4, 1), (4, 2), (5, 3), (4, 4)] {
                let mut mean = 0.0;
                for sample in tuples(p.len(), m) {
                    let likely: f64 = sample.iter().map(|&y| p[y]).product();
                    let of = |table: &[f64]| sample.iter().map(|&y| table[y]).collect::<Vec<_>>();
                    mean += likely * estimate(&of(&r), &of(&value), n);
                }
                let exact = expectation(&best_of_n(&p, &r, n as u32), &value);
                close(mean, exact, 1e-10);
            }
        }
    }

    #[test]
    fn from_a_truncated_sampler_its_own_kl_comes_on_top() {
        for seed in 0..20 {
            for horizon in [1, 3] {
                let space = Space::new(5, horizon);
                let sft = Policy::random(&space, 1.5, seed);
                let (p, sampler) = (sft.distribution(), sft.truncated(0.8));
                let r = Policy::random(&space, 1.5, 500 + seed).log_probs();
                let best = best_of_n(&sampler, &r, 4);
                let own = kl(&sampler, &p);
                assert!(own > 0.0 && kl(&best, &sampler) <= kl_bound(4));
                let whole = kl(&best, &p);
                let lost: Vec<f64> = sampler.iter().zip(&p).map(|(s, p)| (s / p).ln()).collect();
                close(
                    whole,
                    kl(&best, &sampler) + expectation(&best, &lost),
                    1e-10,
                );
                // After one token all that is left was scaled alike, so it is the sampler's KL
                // itself; after several, only about that, for states cut off different amounts.
                let apart = (whole - kl(&best, &sampler) - own).abs();
                assert_eq!(apart < 1e-10, horizon == 1, "{apart}");
            }
        }
    }

    #[test]
    fn one_answer_is_no_choice_and_equal_rewards_are_none() {
        let space = Space::new(3, 3);
        let p = Policy::random(&space, 2.0, 1).distribution();
        let r = Policy::random(&space, 2.0, 2).log_probs();
        close_all(&best_of_n(&p, &r, 1), &p, 1e-14);
        close_all(&best_of_n(&p, &[0.0; 15], 64), &p, 1e-14);
    }
}
