//! Logistic regression on many hashed features, of which a row has a few.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Folds, both_classes, cross_validated, lbfgs};
use crate::calibration::{sigmoid, softplus};

/// A fit ends where no entry of the mean loss's gradient is above this.
const TOLERANCE: f64 = 1e-8;

/// A linear classifier on rows of `(bucket, value)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparseLogisticRegression {
    /// The logit of an empty row.
    pub intercept: f64,
    /// What a value of 1 in a bucket adds to the logit; buckets that no row of the fit had are
    /// left out and weigh nothing.
    pub weights: BTreeMap<u32, f64>,
}

impl SparseLogisticRegression {
    /// Minimises mean log loss plus `penalty / 2` times the squared weights; the intercept goes
    /// free and nothing is standardised. `None` if a class is missing.
    ///
    /// `rows` is `[answer][(bucket, value)]`; a bucket that stands twice in a row adds up. L-BFGS
    /// from zero over all rows at once, in one order of sums: the same rows give the same bits.
    /// Ends where no entry of the gradient is above 1e-8, or after 500 steps.
    ///
    /// # Panics
    ///
    /// If lengths differ, a value is not finite, or the penalty is not above 0.
    pub fn fit<R: AsRef<[(u32, f32)]>>(rows: &[R], labels: &[bool], penalty: f64) -> Option<Self> {
        if !both_classes(rows.len(), labels, penalty) {
            return None;
        }
        let entries = || rows.iter().flat_map(|row| row.as_ref());
        assert!(
            entries().all(|entry| entry.1.is_finite()),
            "a value is not finite"
        );
        let seen: BTreeSet<u32> = entries().map(|entry| entry.0).collect();
        let buckets: Vec<u32> = seen.into_iter().collect();
        // Only buckets that occur are parameters; each is in the list it was made of.
        let place = |bucket: &u32| buckets.partition_point(|other| other < bucket);
        let compact = |row: &R| -> Vec<(usize, f64)> {
            let entries = row.as_ref().iter();
            entries
                .map(|(bucket, value)| (place(bucket), f64::from(*value)))
                .collect()
        };
        let rows: Vec<Vec<(usize, f64)>> = rows.iter().map(compact).collect();
        // The intercept stands last.
        let start = vec![0.0; buckets.len() + 1];
        let mut weights = lbfgs::minimise(start, TOLERANCE, |at| {
            loss_and_gradient(&rows, labels, penalty, at)
        });
        let intercept = weights.pop()?;
        Some(Self {
            intercept,
            weights: buckets.into_iter().zip(weights).collect(),
        })
    }

    /// The logit of a row.
    pub fn logit(&self, row: &[(u32, f32)]) -> f64 {
        let weight = |bucket: &u32| self.weights.get(bucket).copied().unwrap_or(0.0);
        let terms = row
            .iter()
            .map(|(bucket, value)| weight(bucket) * f64::from(*value));
        self.intercept + terms.sum::<f64>()
    }

    /// Each row's logit by a fit without its prompt; see [`cross_validated`].
    pub fn cross_validated<R: AsRef<[(u32, f32)]>>(
        rows: &[R],
        labels: &[bool],
        prompts: &[usize],
        folds: Folds,
        penalty: f64,
    ) -> Option<Vec<f64>> {
        cross_validated(rows, labels, prompts, folds, |rows, labels| {
            let fitted = Self::fit(rows, labels, penalty)?;
            Some(move |row: &R| fitted.logit(row.as_ref()))
        })
    }
}

fn loss_and_gradient(
    rows: &[Vec<(usize, f64)>],
    labels: &[bool],
    penalty: f64,
    at: &[f64],
) -> (f64, Vec<f64>) {
    let count = rows.len() as f64;
    let last = at.len() - 1;
    let mut gradient: Vec<f64> = at.iter().map(|weight| penalty * weight).collect();
    gradient[last] = 0.0;
    let squares: f64 = at[..last].iter().map(|weight| weight * weight).sum();
    let mut loss = 0.0;
    for (row, &label) in rows.iter().zip(labels) {
        let terms = row.iter().map(|&(place, value)| at[place] * value);
        let logit = at[last] + terms.sum::<f64>();
        loss += softplus(if label { -logit } else { logit });
        let error = (sigmoid(logit) - f64::from(u8::from(label))) / count;
        gradient[last] += error;
        for &(place, value) in row {
            gradient[place] += error * value;
        }
    }
    (loss / count + 0.5 * penalty * squares, gradient)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::testing::{close, generator};

    fn random_rows(seed: u64, count: usize) -> (Vec<Vec<(u32, f32)>>, Vec<bool>) {
        let mut rng = generator(seed);
        let rows: Vec<Vec<(u32, f32)>> = (0..count)
            .map(|_| {
                (0..10)
                    .map(|_| (rng.random_range(0..300) * 877, rng.random()))
                    .collect()
            })
            .collect();
        let labels = (0..count).map(|_| rng.random_bool(0.4)).collect();
        (rows, labels)
    }

    #[test]
    fn two_groups_on_paper() {
        // Bucket 5 is there in half of the rows; 3 of 4 of those are positive, 1 of 4 others.
        let (with, without) = (vec![(5, 1.0)], vec![]);
        let rows: Vec<Vec<(u32, f32)>> = [vec![with; 4], vec![without; 4]].concat();
        let labels = [true, true, true, false, true, false, false, false];
        let fit = SparseLogisticRegression::fit(&rows, &labels, 1e-9).unwrap();
        assert!(close(fit.intercept, -3.0_f64.ln(), 1e-5));
        assert!(close(fit.logit(&[(5, 1.0)]), 3.0_f64.ln(), 1e-5));
        assert!(close(
            fit.logit(&[(5, 2.0), (6, 9.0)]),
            3.0 * 3.0_f64.ln(),
            1e-4
        ));
    }

    #[test]
    fn the_fit_is_where_the_penalty_holds_the_errors() {
        // At the minimum, penalty · weight is the mean of (label - probability) · value, and
        // errors sum to 0.
        let (rows, labels) = random_rows(1, 200);
        let fit = SparseLogisticRegression::fit(&rows, &labels, 1e-3).unwrap();
        let mut pull: BTreeMap<u32, f64> = BTreeMap::new();
        let mut sum = 0.0;
        for (row, &label) in rows.iter().zip(&labels) {
            let error = f64::from(u8::from(label)) - sigmoid(fit.logit(row));
            sum += error / 200.0;
            for &(bucket, value) in row {
                *pull.entry(bucket).or_default() += error * f64::from(value) / 200.0;
            }
        }
        assert!(close(sum, 0.0, 2e-8));
        assert_eq!(pull.len(), fit.weights.len());
        for (bucket, weight) in &fit.weights {
            assert!(close(1e-3 * weight, pull[bucket], 2e-8), "{bucket}");
        }
        assert!(fit.weights.values().any(|weight| weight.abs() > 1.0));
    }

    #[test]
    fn fits_repeat_to_the_bit_and_survive_json() {
        let (rows, labels) = random_rows(2, 100);
        let fit = SparseLogisticRegression::fit(&rows, &labels, 1e-3).unwrap();
        assert_eq!(
            SparseLogisticRegression::fit(&rows, &labels, 1e-3).unwrap(),
            fit
        );
        let text = serde_json::to_string(&fit).unwrap();
        assert_eq!(
            serde_json::from_str::<SparseLogisticRegression>(&text).unwrap(),
            fit
        );
        assert_eq!(
            SparseLogisticRegression::fit(&rows, &[true; 100], 1e-3),
            None
        );
    }
}
