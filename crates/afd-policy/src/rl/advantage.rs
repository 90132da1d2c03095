//! From rewards of tokens to advantages of tokens: what each token's log-probability is weighted by.

use serde::{Deserialize, Serialize};

/// How advantages come from rewards.
///
/// Those of whole answers give every token of an answer the same advantage, from the sum of the
/// answer's rewards. Uphill throughout: a token with a positive advantage is made likelier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// The answer's reward itself: REINFORCE without baseline. Unbiased, and of high variance.
    Reward,
    /// Less the mean of the other answers to the prompt: RLOO (Ahmadian et al., arXiv 2402.14740).
    /// Unbiased.
    LeaveOneOut,
    /// Less the mean of all answers to the prompt: Dr. GRPO (Liu et al., arXiv 2503.20783).
    /// `(G − 1)/G` of [`Self::LeaveOneOut`]'s update in expectation.
    GroupMean,
    /// Less the mean, over the standard deviation: GRPO (Shao et al., arXiv 2402.03300). The
    /// deviation is that over `G − 1`, and `1e-4` is added to it, as in TRL. No gradient of the expected
    /// reward: it scales `beta` by prompt.
    GroupStd,
    /// The rewards from the token on, less the mean of the other answers' from the same place on
    /// (0 where they have ended): token-level REINFORCE, as Dense-Path has it. A token cannot change
    /// what came before it, so this is unbiased, with less variance where rewards are dense.
    RewardToGo,
    /// Generalised advantage estimation on a learned value of each state: PPO. See [`gae`].
    Gae,
}

/// What is added to a group's standard deviation.
const EPSILON: f64 = 1e-4;

/// The advantages of all tokens of a group of answers to one prompt; `rewards[i][t]` is the reward
/// of token `t` of answer `i`.
///
/// # Panics
/// For [`Advantage::Gae`], which knows no groups, and for a group of one where answers are compared.
pub fn advantages(kind: Advantage, rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let totals: Vec<f64> = rewards.iter().map(|tokens| tokens.iter().sum()).collect();
    let spread = |by_answer: Vec<f64>| {
        let pairs = by_answer.iter().zip(rewards);
        pairs
            .map(|(&advantage, tokens)| vec![advantage; tokens.len()])
            .collect()
    };
    match kind {
        Advantage::Reward => spread(totals),
        Advantage::LeaveOneOut => spread(less_others(&totals)),
        Advantage::GroupMean => spread(less_mean(&totals)),
        Advantage::GroupStd => spread(over_deviation(&totals)),
        Advantage::RewardToGo => to_go(rewards),
        Advantage::Gae => panic!("advantages from values are no matter of groups"),
    }
}

fn less_others(rewards: &[f64]) -> Vec<f64> {
    let others = rewards.len() as f64 - 1.0;
    assert!(others > 0.0, "a group of one has no others");
    let total: f64 = rewards.iter().sum();
    let less = |reward: &f64| reward - (total - reward) / others;
    rewards.iter().map(less).collect()
}

fn less_mean(rewards: &[f64]) -> Vec<f64> {
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    rewards.iter().map(|reward| reward - mean).collect()
}

fn over_deviation(rewards: &[f64]) -> Vec<f64> {
    let others = rewards.len() as f64 - 1.0;
    assert!(others > 0.0, "a group of one has no deviation");
    // The mean of equals may differ from them in the last bits, which are not to be blown up.
    if rewards.iter().all(|reward| *reward == rewards[0]) {
        return vec![0.0; rewards.len()];
    }
    let centred = less_mean(rewards);
    let square: f64 = centred.iter().map(|c| c * c).sum();
    let by = (square / others).sqrt() + EPSILON;
    centred.iter().map(|c| c / by).collect()
}

fn to_go(rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let others = rewards.len() as f64 - 1.0;
    assert!(others > 0.0, "a group of one has no others");
    let from_here: Vec<Vec<f64>> = rewards
        .iter()
        .map(|tokens| sums_from_here(tokens))
        .collect();
    let longest = from_here.iter().map(Vec::len).max().unwrap_or(0);
    let at = |t: usize| from_here.iter().filter_map(move |sums| sums.get(t));
    let totals: Vec<f64> = (0..longest).map(|t| at(t).sum()).collect();
    let less = |sums: &Vec<f64>| {
        let pairs = sums.iter().zip(&totals);
        pairs.map(|(own, all)| own - (all - own) / others).collect()
    };
    from_here.iter().map(less).collect()
}

/// For each place the sum of what stands from there on.
fn sums_from_here(values: &[f64]) -> Vec<f64> {
    let mut sums = values.to_vec();
    for t in (1..sums.len()).rev() {
        sums[t - 1] += sums[t];
    }
    sums
}

/// Generalised advantage estimation of one answer, and the returns that values are fitted to.
///
/// Formula: `δ_t = r_t + γ V(s_(t+1)) − V(s_t)`, `A_t = Σ_k (γλ)^k δ_(t+k)`, return `A_t + V(s_t)`;
/// nothing is worth anything after the answer. Source: Schulman et al., arXiv 1506.02438.
///
/// `values[t]` is that of the state at which token `t` is drawn. At `γ = λ = 1` it is the reward to
/// go less the value.
///
/// # Panics
/// On different lengths.
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lam: f64) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(
        rewards.len(),
        values.len(),
        "a value for each token's state"
    );
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let surprise = rewards[t] + gamma * next_value - values[t];
        advantages[t] = surprise + gamma * lam * next_advantage;
        (next_value, next_advantage) = (values[t], advantages[t]);
    }
    let pairs = advantages.iter().zip(values);
    let returns = pairs.map(|(advantage, value)| advantage + value).collect();
    (advantages, returns)
}

/// Shifts and scales all values together to mean 0 (where `shift`) and standard deviation 1, as PPO
/// whitens. Those of an answer whose weight is 0 are changed like the others, and not counted.
pub fn whiten(values: &mut [Vec<f64>], weights: &[f64], shift: bool) {
    let kept = values
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0);
    let counted: Vec<f64> = kept
        .flat_map(|(tokens, _)| tokens.iter().copied())
        .collect();
    let count = counted.len() as f64;
    if count < 2.0 {
        return;
    }
    let mean = counted.iter().sum::<f64>() / count;
    let square: f64 = counted.iter().map(|v| (v - mean).powi(2)).sum();
    let by = (square / (count - 1.0)).sqrt() + 1e-8;
    let kept = if shift { 0.0 } else { mean };
    for value in values.iter_mut().flatten() {
        *value = (*value - mean) / by + kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of two tokens and one, whose rewards are 3, 1 and 5.
    fn group() -> Vec<Vec<f64>> {
        vec![vec![1.0, 2.0], vec![1.0], vec![4.0, 1.0]]
    }

    #[test]
    fn of_answers_on_paper() {
        let of = |kind| advantages(kind, &group());
        assert_eq!(
            of(Advantage::Reward),
            [vec![3.0, 3.0], vec![1.0], vec![5.0, 5.0]]
        );
        assert_eq!(
            of(Advantage::LeaveOneOut),
            [vec![0.0, 0.0], vec![-3.0], vec![3.0, 3.0]]
        );
        assert_eq!(
            of(Advantage::GroupMean),
            [vec![0.0, 0.0], vec![-2.0], vec![2.0, 2.0]]
        );
        // The deviation over two is 2.
        let by = 2.0 + EPSILON;
        assert_eq!(
            of(Advantage::GroupStd),
            [vec![0.0, 0.0], vec![-2.0 / by], vec![2.0 / by, 2.0 / by]]
        );
    }

    #[test]
    fn what_is_still_to_come_on_paper() {
        // To go: (3, 2), (1), (5, 1); at the second place the others have 1 and nothing, or 2 and
        // nothing.
        assert_eq!(
            advantages(Advantage::RewardToGo, &group()),
            [vec![0.0, 1.5], vec![-3.0], vec![3.0, 0.0]]
        );
    }

    #[test]
    fn equals_have_no_advantage_however_they_round() {
        let equal = vec![vec![0.1]; 3];
        for kind in [Advantage::GroupStd, Advantage::LeaveOneOut] {
            for advantage in advantages(kind, &equal).concat() {
                assert!(advantage.abs() < 1e-15);
            }
        }
    }

    #[test]
    fn gae_on_paper_and_at_its_ends() {
        // δ = (1 + ½·4 − 2, 3 − 4) = (1, −1); A = (1 + ¼·(−1), −1) at γ = λ = ½.
        let (found, returns) = gae(&[1.0, 3.0], &[2.0, 4.0], 0.5, 0.5);
        assert_eq!(found, [0.75, -1.0]);
        assert_eq!(returns, [2.75, 3.0]);
        // Without discount it is what is still to come, less the value …
        let (found, returns) = gae(&[1.0, 3.0], &[2.0, 4.0], 1.0, 1.0);
        assert_eq!((found, returns), (vec![2.0, -1.0], vec![4.0, 3.0]));
        // … and at λ = 0 the surprise alone.
        assert_eq!(gae(&[1.0, 3.0], &[2.0, 4.0], 1.0, 0.0).0, [3.0, -1.0]);
    }

    #[test]
    fn whitening_leaves_mean_0_and_deviation_1() {
        let mut values = vec![vec![1.0, 2.0], vec![3.0]];
        whiten(&mut values, &[1.0; 2], true);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        for (found, expected) in values.concat().iter().zip([-1.0, 0.0, 1.0]) {
            close(*found, expected);
        }
        let mut values = vec![vec![2.0, 4.0], vec![6.0]];
        whiten(&mut values, &[1.0; 2], false);
        for (found, expected) in values.concat().iter().zip([3.0, 4.0, 5.0]) {
            close(*found, expected);
        }
        // What is left out sets no scale.
        let mut values = vec![vec![1.0, 3.0], vec![100.0]];
        whiten(&mut values, &[1.0, 0.0], true);
        close(values[0][0], -std::f64::consts::FRAC_1_SQRT_2);
    }
}
