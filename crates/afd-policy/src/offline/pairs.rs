//! How the rewards of a prompt's answers become pairs, labels and verdicts.
//!
//! Every draw belongs to a prompt and its answers' places, so nothing changes when other prompts
//! come or go.

use afd_stage::seed::derive;

use super::Labels;

/// A draw from `[0, 1)`.
fn uniform(seed: u64, name: &str, index: u64) -> f64 {
    (derive(seed, name, index) >> 11) as f64 / (1u64 << 53) as f64
}

/// Pairs of answers to `prompt` whose `rewards` these are: `(preferred, other)`, as places.
///
/// With [`Labels::Sampled`] every pair comes up, or `at_most` so many of them, drawn; answers of
/// equal reward win as often as they lose. With [`Labels::BestWorst`] there is one pair, the
/// earliest of the highest against the earliest of the lowest. There is none for a single answer,
/// and by [`Labels::BestWorst`] none for equal rewards.
pub fn labelled(
    rewards: &[f64],
    labels: Labels,
    at_most: Option<usize>,
    prompt: &str,
    seed: u64,
) -> Vec<(usize, usize)> {
    let pairs = match labels {
        Labels::BestWorst => return best_and_worst(rewards).into_iter().collect(),
        Labels::Sampled => {
            let all = 0..rewards.len();
            let pairs = all.flat_map(|i| (i + 1..rewards.len()).map(move |j| (i, j)));
            drawn(pairs.collect(), at_most, prompt, seed)
        }
    };
    let seed = derive(seed, "labels", 0);
    let label = |(i, j): (usize, usize)| {
        let first = 1.0 / (1.0 + (rewards[j] - rewards[i]).exp());
        // The draw does not depend on which other pairs come up.
        let draw = uniform(seed, prompt, (i * rewards.len() + j) as u64);
        if draw < first { (i, j) } else { (j, i) }
    };
    pairs.into_iter().map(label).collect()
}

/// The earliest of the highest and the earliest of the lowest rewards; none if all are equal.
fn best_and_worst(rewards: &[f64]) -> Option<(usize, usize)> {
    let earliest = |leads: fn(f64, f64) -> bool| {
        (0..rewards.len()).reduce(|a, b| if leads(rewards[b], rewards[a]) { b } else { a })
    };
    let (best, worst) = (earliest(|b, a| b > a)?, earliest(|b, a| b < a)?);
    (best != worst).then_some((best, worst))
}

/// Each of the first `left` places against each of the `right` ones after them, or `at_most` so
/// many of these pairs, drawn: demonstrations of `prompt` before its answers.
pub fn crossed(
    left: usize,
    right: usize,
    at_most: Option<usize>,
    prompt: &str,
    seed: u64,
) -> Vec<(usize, usize)> {
    let pairs = (0..left).flat_map(|i| (left..left + right).map(move |j| (i, j)));
    drawn(pairs.collect(), at_most, prompt, seed)
}

/// All of `pairs`, or `at_most` so many, each as likely as another.
fn drawn(
    mut pairs: Vec<(usize, usize)>,
    at_most: Option<usize>,
    prompt: &str,
    seed: u64,
) -> Vec<(usize, usize)> {
    let Some(at_most) = at_most else {
        return pairs;
    };
    let seed = derive(seed, "pairs", 0);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&place| derive(seed, prompt, place as u64));
    order.truncate(at_most);
    order.sort_unstable();
    pairs = order.into_iter().map(|place| pairs[place]).collect();
    pairs
}

/// Whether each reward is above (`true`) or below the prompt's mean; none for one that is the mean.
pub fn desirable(rewards: &[f64]) -> Vec<Option<bool>> {
    if !prefer_any(rewards) {
        // Their sum may be rounded away from what they are.
        return vec![None; rewards.len()];
    }
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    let verdict = |&reward: &f64| (reward != mean).then_some(reward > mean);
    rewards.iter().map(verdict).collect()
}

/// Whether the rewards prefer any answer to another.
pub fn prefer_any(rewards: &[f64]) -> bool {
    rewards.iter().any(|reward| *reward != rewards[0])
}

/// Which of `prompts` are kept for evaluation: a share of them, but `least` on either side. A
/// prompt's turn does not depend on the order of the file. None if there are not enough.
pub fn held_out(prompts: &[&str], share: f64, least: usize, seed: u64) -> Option<Vec<bool>> {
    let most = prompts.len().checked_sub(least)?;
    if most < least {
        return None;
    }
    let count = (share * prompts.len() as f64).round() as usize;
    let seed = derive(seed, "held out", 0);
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&prompt| derive(seed, prompts[prompt], 0));
    let mut kept = vec![false; prompts.len()];
    for &prompt in &order[..count.clamp(least, most)] {
        kept[prompt] = true;
    }
    Some(kept)
}

/// For each of `prompts`, which stand in runs of equals, the place of another prompt's example,
/// drawn. None if there is no other prompt.
pub fn mismatched(prompts: &[&str], seed: u64) -> Option<Vec<usize>> {
    let (seed, all) = (derive(seed, "mismatched", 0), prompts.len());
    let mut places = Vec::with_capacity(all);
    for run in prompts.chunk_by(|a, b| a == b) {
        let others = all - run.len();
        if others == 0 {
            return None;
        }
        let after = places.len() + run.len();
        for (index, prompt) in run.iter().enumerate() {
            let steps = uniform(seed, prompt, index as u64) * others as f64;
            places.push((after + steps as usize) % all);
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(rewards: &[f64], at_most: Option<usize>, prompt: &str) -> Vec<(usize, usize)> {
        labelled(rewards, Labels::Sampled, at_most, prompt, 7)
    }

    #[test]
    fn the_best_meets_the_worst_and_the_earliest_of_equals_stand_for_them() {
        let hard = |rewards: &[f64]| labelled(rewards, Labels::BestWorst, None, "p", 1);
        assert_eq!(hard(&[1.0, 3.0, 0.0, 3.0, 0.0]), [(1, 2)]);
        assert_eq!(hard(&[2.0, 2.0]), []);
        assert_eq!(hard(&[2.0]), []);
        assert_eq!(hard(&[]), []);
    }

    #[test]
    fn every_pair_comes_up_once_and_far_leads_always_win() {
        let pairs = sampled(&[0.0, 100.0, 200.0], None, "p");
        assert_eq!(pairs, [(1, 0), (2, 0), (2, 1)]);
        assert_eq!(sampled(&[1.0], None, "p"), []);
        // A reward so far ahead that its exponential overflows.
        assert_eq!(sampled(&[0.0, 1e6], None, "p"), [(1, 0)]);
    }

    #[test]
    fn labels_are_drawn_as_the_sigmoid_of_the_lead() {
        for (lead, expected) in [(0.0, 0.5), (3f64.ln(), 0.75)] {
            let draws = 20_000;
            let wins = (0..draws)
                .filter(|draw| sampled(&[lead, 0.0], None, &draw.to_string()) == [(0, 1)])
                .count();
            let share = wins as f64 / f64::from(draws);
            // Four standard errors: wrong once in some 16,000 seeds, and this seed is fixed.
            let error = (expected * (1.0 - expected) / f64::from(draws)).sqrt();
            assert!((share - expected).abs() < 4.0 * error, "{share}");
        }
    }

    #[test]
    fn fewer_pairs_are_some_of_all_with_the_same_labels() {
        let rewards = [0.3, -0.2, 0.1, 0.9, 0.0];
        let all = sampled(&rewards, None, "p");
        assert_eq!(all.len(), 10);
        let mut seen = [0u32; 10];
        for prompt in 0..400 {
            let prompt = prompt.to_string();
            let all = sampled(&rewards, None, &prompt);
            let three = sampled(&rewards, Some(3), &prompt);
            assert_eq!(three.len(), 3);
            for pair in three {
                seen[all.iter().position(|other| *other == pair).unwrap()] += 1;
            }
        }
        // 120 expected of each; a standard deviation is 9.
        assert!(seen.iter().all(|seen| (75..165).contains(seen)), "{seen:?}");
        assert_eq!(sampled(&rewards, Some(99), "p"), all);
    }

    #[test]
    fn demonstrations_meet_every_answer() {
        let pairs = crossed(2, 2, None, "p", 1);
        assert_eq!(pairs, [(0, 2), (0, 3), (1, 2), (1, 3)]);
        assert_eq!(crossed(2, 2, Some(1), "p", 1).len(), 1);
    }

    #[test]
    fn what_is_neither_above_nor_below_the_mean_is_left_out() {
        let verdicts = [Some(false), None, Some(true)];
        assert_eq!(desirable(&[1.0, 2.0, 3.0]), verdicts);
        assert_eq!(desirable(&[0.1; 3]), [None; 3]);
        assert_eq!(desirable(&[5.0]), [None]);
        assert!(prefer_any(&[1.0, 1.0, 2.0]));
        assert!(!prefer_any(&[1.0, 1.0]) && !prefer_any(&[]));
    }

    #[test]
    fn a_share_of_the_prompts_is_held_out_whatever_their_order() {
        let names: Vec<String> = (0..50).map(|i| format!("p{i}")).collect();
        let prompts: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let kept = held_out(&prompts, 0.1, 1, 3).unwrap();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 5);
        let backwards: Vec<&str> = prompts.iter().rev().copied().collect();
        let again = held_out(&backwards, 0.1, 1, 3).unwrap();
        assert!(kept.iter().eq(again.iter().rev()));
        let count = |share, least| {
            let kept = held_out(&prompts[..4], share, least, 3)?;
            Some(kept.iter().filter(|kept| **kept).count())
        };
        assert_eq!(count(0.01, 1), Some(1));
        assert_eq!(count(0.99, 2), Some(2));
        assert_eq!(count(0.5, 3), None);
    }

    #[test]
    fn an_answer_is_mismatched_with_another_prompts() {
        let prompts = ["a", "a", "a", "b", "c", "c"];
        for seed in 0..50 {
            let places = mismatched(&prompts, seed).unwrap();
            let others = places.iter().zip(prompts);
            assert!(others.clone().all(|(&other, own)| prompts[other] != own));
        }
        assert_eq!(mismatched(&["a", "a"], 1), None);
    }
}
