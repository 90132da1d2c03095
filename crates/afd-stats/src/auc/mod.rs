//! Area under the ROC curve, its standard errors, and paired comparison of two classifiers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{moments::mean, win_rates::win_rates};

/// Standard errors on either side of an estimate that a 95 % interval reaches.
const REACH: f64 = 1.959_963_984_540_054;

/// The chance that a positive's score is above a negative's, both drawn at random; a tie counts
/// half. 0.5 is chance, 1 a perfect order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Auc {
    /// The estimate, in 0 to 1.
    pub auc: f64,
    /// Standard error clustered by prompt; `None` with a single prompt.
    ///
    /// It is asymptotic in the number of prompts, and 0 where all positives are above all
    /// negatives, which says nothing about how sure that is.
    pub standard_error: Option<f64>,
    /// DeLong's standard error, which takes all answers as independent; `None` if a class has a
    /// single answer. Beside the clustered one it shows what clustering costs.
    pub delong_error: Option<f64>,
    /// Number of positive answers.
    pub positives: usize,
    /// Number of negative answers.
    pub negatives: usize,
    /// Number of different prompts.
    pub prompts: usize,
}

impl Auc {
    /// The 95 % interval by the clustered standard error, cut to 0 to 1.
    pub fn interval(&self) -> Option<[f64; 2]> {
        self.standard_error.map(|error| {
            [
                (self.auc - REACH * error).max(0.0),
                (self.auc + REACH * error).min(1.0),
            ]
        })
    }
}

/// Two classifiers on the same answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AucDifference {
    /// AUC of the first.
    pub first: f64,
    /// AUC of the second.
    pub second: f64,
    /// First less second.
    pub difference: f64,
    /// Of the difference, clustered by prompt; `None` with a single prompt.
    pub standard_error: Option<f64>,
    /// Difference by its standard error: beyond ±1.96, chance alone is a 5 % explanation. `None`
    /// where the standard error is 0 or missing.
    pub z: Option<f64>,
}

/// The AUC of `scores` for telling positives (`true`) from negatives; `None` if either is missing.
///
/// All positives are compared with all negatives, whatever their prompts; [`auc_within`] compares
/// answers to one prompt. Each of the three has one entry for each answer; `prompts` holds numbers
/// of prompts, of any values. O(n log n).
///
/// The standard error is DeLong's with the placements summed by prompt: with `u_c` the sum over
/// the answers of prompt `c` of their share in the estimate's deviation, the variance is
/// `C/(C-1) Σ u_c²` over `C` prompts. Positives and negatives of one prompt may thus offset each
/// other.
///
/// # Panics
///
/// If lengths differ or a score is NaN.
pub fn auc(scores: &[f64], labels: &[bool], prompts: &[usize]) -> Option<Auc> {
    let placed = Placements::new(scores, labels, prompts)?;
    let (of_positives, of_negatives) = (placed.of(true), placed.of(false));
    Some(Auc {
        auc: placed.auc,
        standard_error: cluster_error(placed.by_prompt(prompts).values()),
        delong_error: delong_error(&of_positives, &of_negatives),
        positives: of_positives.len(),
        negatives: of_negatives.len(),
        prompts: placed.by_prompt(prompts).len(),
    })
}

/// Compares two classifiers of the same answers; `None` if a class is missing.
///
/// The standard error takes into account that both see the same answers, as DeLong's does, and
/// that answers share prompts.
///
/// # Panics
///
/// If lengths differ or a score is NaN.
pub fn compare_aucs(
    first: &[f64],
    second: &[f64],
    labels: &[bool],
    prompts: &[usize],
) -> Option<AucDifference> {
    let of_first = Placements::new(first, labels, prompts)?;
    let of_second = Placements::new(second, labels, prompts)?;
    let (one, other) = (of_first.by_prompt(prompts), of_second.by_prompt(prompts));
    let apart: Vec<f64> = one
        .values()
        .zip(other.values())
        .map(|(a, b)| a - b)
        .collect();
    let difference = of_first.auc - of_second.auc;
    let standard_error = cluster_error(apart.iter());
    // What rounding leaves where both order all answers alike is no error to divide by.
    let error = standard_error.filter(|&error| error > 1e-12);
    Some(AucDifference {
        first: of_first.auc,
        second: of_second.auc,
        difference,
        standard_error,
        z: error.map(|error| difference / error),
    })
}

/// The AUC among answers to the same prompt, over the prompts that have both classes; `None` if
/// none has.
///
/// Each pair of a positive and a negative of one prompt counts once, so that prompts weigh by
/// their number of pairs. This is what ranking by the score can use: Best-of-N never compares
/// answers to different prompts. The counts are of the prompts taken in; `delong_error` is `None`.
///
/// # Panics
///
/// If lengths differ or a score is NaN.
pub fn auc_within(scores: &[f64], labels: &[bool], prompts: &[usize]) -> Option<Auc> {
    check(scores, labels, prompts);
    let mut split: BTreeMap<usize, [Vec<f64>; 2]> = BTreeMap::new();
    for ((&score, &label), &prompt) in scores.iter().zip(labels).zip(prompts) {
        split.entry(prompt).or_default()[usize::from(label)].push(score);
    }
    split.retain(|_, classes| classes.iter().all(|class| !class.is_empty()));
    let count = |class: usize| split.values().map(|classes| classes[class].len()).sum();
    // `(pairs, pairs won)` of each prompt.
    let each: Vec<(f64, f64)> = split
        .values()
        .map(|[negatives, positives]| {
            let pairs = (negatives.len() * positives.len()) as f64;
            (pairs, pairs * mean(&win_rates(positives, negatives)))
        })
        .collect();
    let pairs: f64 = each.iter().map(|(pairs, _)| pairs).sum();
    if each.is_empty() {
        return None;
    }
    let estimate = each.iter().map(|(_, won)| won).sum::<f64>() / pairs;
    let deviations: Vec<f64> = each
        .iter()
        .map(|(of_prompt, won)| (won - of_prompt * estimate) / pairs)
        .collect();
    Some(Auc {
        auc: estimate,
        standard_error: cluster_error(deviations.iter()),
        delong_error: None,
        positives: count(1),
        negatives: count(0),
        prompts: split.len(),
    })
}

/// An AUC, and each answer's placement among the other class.
struct Placements<'a> {
    auc: f64,
    labels: &'a [bool],
    /// For a positive the share of negatives below it, for a negative the share of positives above
    /// it; ties count half. Their mean over either class is the AUC.
    values: Vec<f64>,
}

impl<'a> Placements<'a> {
    fn new(scores: &[f64], labels: &'a [bool], prompts: &[usize]) -> Option<Self> {
        check(scores, labels, prompts);
        let class = |wanted: bool| -> Vec<f64> {
            let found = scores
                .iter()
                .zip(labels)
                .filter(|(_, label)| **label == wanted);
            found.map(|(score, _)| *score).collect()
        };
        let (positives, negatives) = (class(true), class(false));
        if positives.is_empty() || negatives.is_empty() {
            return None;
        }
        let above = win_rates(&positives, &negatives);
        let auc = mean(&above);
        let mut above = above.into_iter();
        let mut below = win_rates(&negatives, &positives).into_iter();
        // Each class was kept in order, so the iterators end together with the labels.
        let values = labels
            .iter()
            .filter_map(|&label| {
                if label {
                    above.next()
                } else {
                    below.next().map(|rate| 1.0 - rate)
                }
            })
            .collect();
        Some(Self {
            auc,
            labels,
            values,
        })
    }

    fn of(&self, wanted: bool) -> Vec<f64> {
        let found = self.values.iter().zip(self.labels);
        found
            .filter(|(_, label)| **label == wanted)
            .map(|(value, _)| *value)
            .collect()
    }

    /// Each prompt's part of the estimate's deviation from the truth; they sum to 0.
    fn by_prompt(&self, prompts: &[usize]) -> BTreeMap<usize, f64> {
        let positives = self.labels.iter().filter(|label| **label).count();
        let negatives = self.labels.len() - positives;
        let mut sums = BTreeMap::new();
        for ((value, &label), &prompt) in self.values.iter().zip(self.labels).zip(prompts) {
            let size = if label { positives } else { negatives };
            *sums.entry(prompt).or_insert(0.0) += (value - self.auc) / size as f64;
        }
        sums
    }
}

fn check(scores: &[f64], labels: &[bool], prompts: &[usize]) {
    assert_eq!(scores.len(), labels.len(), "one label for each score");
    assert_eq!(scores.len(), prompts.len(), "one prompt for each score");
    assert!(scores.iter().all(|score| !score.is_nan()), "a score is NaN");
}

/// `sqrt(C/(C-1) Σ u²)`; `None` if there are fewer than two.
fn cluster_error<'a>(deviations: impl ExactSizeIterator<Item = &'a f64>) -> Option<f64> {
    let count = deviations.len() as f64;
    let squares: f64 = deviations.map(|value| value * value).sum();
    (count > 1.0).then(|| (count / (count - 1.0) * squares).sqrt())
}

/// `sqrt(S10/m + S01/n)`, with S the sample variances of the placements.
fn delong_error(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    let part = |values: &[f64]| {
        let (size, centre) = (values.len() as f64, mean(values));
        let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
        (size > 1.0).then(|| squares / (size - 1.0) / size)
    };
    Some((part(positives)? + part(negatives)?).sqrt())
}

#[cfg(test)]
mod tests;
