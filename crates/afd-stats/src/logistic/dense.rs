//! Logistic regression on a few columns, by Newton's method.

use serde::{Deserialize, Serialize};

use super::{Folds, both_classes, cross_validated};
use crate::{
    calibration::{sigmoid, softplus},
    moments::is_constant,
};

/// Newton steps after which a fit ends in any case; a usual one takes fewer than ten.
const STEPS: usize = 100;

/// A linear classifier on columns that it standardises itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticRegression {
    /// The logit at the mean of every column.
    pub intercept: f64,
    /// What one standard deviation of each column adds to the logit, so that weights of different
    /// columns compare; 0 for a column that was constant.
    pub weights: Vec<f64>,
    /// Each column's mean over the rows of the fit.
    pub means: Vec<f64>,
    /// Each column's standard deviation there (over `n`); 1 for a constant column.
    pub scales: Vec<f64>,
}

impl LogisticRegression {
    /// Minimises mean log loss plus `penalty / 2` times the squared weights of the standardised
    /// columns; the intercept goes free. `None` if a class is missing.
    ///
    /// `rows` is `[answer][column]`. The minimum is unique and found to rounding, from zero, in
    /// one order of sums: the same rows give the same bits.
    ///
    /// # Panics
    ///
    /// If lengths differ, a value is not finite, or the penalty is not above 0.
    pub fn fit<R: AsRef<[f64]>>(rows: &[R], labels: &[bool], penalty: f64) -> Option<Self> {
        if !both_classes(rows.len(), labels, penalty) {
            return None;
        }
        let (means, scales) = standardisation(rows);
        let standardise = |row: &R| -> Vec<f64> {
            // The intercept's column leads.
            let centred = row.as_ref().iter().zip(&means).zip(&scales);
            let values = centred.map(|((value, mean), scale)| (value - mean) / scale);
            std::iter::once(1.0).chain(values).collect()
        };
        let problem = Problem {
            rows: rows.iter().map(standardise).collect(),
            labels,
            penalty,
        };
        let mut parameters = problem.minimum();
        let weights = parameters.split_off(1);
        Some(Self {
            intercept: parameters[0],
            weights,
            means,
            scales,
        })
    }

    /// The logit of a row with as many columns as those of the fit.
    ///
    /// # Panics
    ///
    /// If it has another number of columns.
    pub fn logit(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.weights.len(), "another number of columns");
        let each = row.iter().zip(&self.means).zip(&self.scales);
        let standardised = each.map(|((value, mean), scale)| (value - mean) / scale);
        let terms = standardised.zip(&self.weights);
        self.intercept + terms.map(|(value, weight)| value * weight).sum::<f64>()
    }

    /// Each row's logit by a fit without its prompt; see [`cross_validated`].
    pub fn cross_validated<R: AsRef<[f64]>>(
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

fn standardisation<R: AsRef<[f64]>>(rows: &[R]) -> (Vec<f64>, Vec<f64>) {
    let columns = rows[0].as_ref().len();
    for row in rows {
        let row = row.as_ref();
        assert_eq!(row.len(), columns, "rows differ in their number of columns");
        assert!(
            row.iter().all(|value| value.is_finite()),
            "a value is not finite"
        );
    }
    let count = rows.len() as f64;
    let moments = |column: usize| {
        let values: Vec<f64> = rows.iter().map(|row| row.as_ref()[column]).collect();
        if is_constant(&values) {
            return (values[0], 1.0);
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, (squares / count).sqrt())
    };
    (0..columns).map(moments).unzip()
}

/// A convex problem in the intercept and the weights.
struct Problem<'a> {
    rows: Vec<Vec<f64>>,
    labels: &'a [bool],
    penalty: f64,
}

impl Problem<'_> {
    /// By Newton's method with halved steps where a whole one does not descend enough.
    fn minimum(&self) -> Vec<f64> {
        let mut at = vec![0.0; self.rows[0].len()];
        let mut value = self.value(&at);
        let mut last = f64::INFINITY;
        for _ in 0..STEPS {
            let (gradient, hessian) = self.derivatives(&at);
            let step = solve(hessian, &gradient);
            let promise = dot(&gradient, &step);
            // Close to the minimum the value's rounding hides what a step gains, and whole steps
            // are right; they end where they promise no less than the one before.
            let close = promise < 1e-10;
            if promise <= 0.0 || close && promise >= last {
                break;
            }
            last = promise;
            let mut share = 1.0;
            let next = loop {
                let next: Vec<f64> = at.iter().zip(&step).map(|(a, s)| a - share * s).collect();
                let lower = self.value(&next);
                if close || lower <= value - 1e-4 * share * promise {
                    break Some((next, lower));
                }
                share *= 0.5;
                if share < 1e-10 {
                    break None;
                }
            };
            // Nothing is left to gain within rounding.
            let Some((next, lower)) = next else { break };
            (at, value) = (next, lower);
        }
        at
    }

    fn value(&self, at: &[f64]) -> f64 {
        let each = self.rows.iter().zip(self.labels);
        let loss: f64 = each
            .map(|(row, &label)| {
                let logit = dot(row, at);
                softplus(if label { -logit } else { logit })
            })
            .sum();
        loss / self.rows.len() as f64 + 0.5 * self.penalty * dot(&at[1..], &at[1..])
    }

    /// Gradient and the Hessian's lower triangle.
    fn derivatives(&self, at: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let size = at.len();
        let count = self.rows.len() as f64;
        let mut gradient = vec![0.0; size];
        let mut hessian: Vec<Vec<f64>> = (1..=size).map(|width| vec![0.0; width]).collect();
        for (row, &label) in self.rows.iter().zip(self.labels) {
            let probability = sigmoid(dot(row, at));
            let error = (probability - f64::from(u8::from(label))) / count;
            let curvature = probability * (1.0 - probability) / count;
            for (i, line) in hessian.iter_mut().enumerate() {
                gradient[i] += error * row[i];
                let factor = curvature * row[i];
                for (entry, value) in line.iter_mut().zip(row) {
                    *entry += factor * value;
                }
            }
        }
        for i in 1..size {
            gradient[i] += self.penalty * at[i];
            hessian[i][i] += self.penalty;
        }
        (gradient, hessian)
    }
}

/// Solves `matrix · x = right` by Cholesky's method; `matrix` is the lower triangle of a positive
/// definite one.
fn solve(mut matrix: Vec<Vec<f64>>, right: &[f64]) -> Vec<f64> {
    let size = right.len();
    for i in 0..size {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let rest = matrix[i][j] - known;
            matrix[i][j] = if i == j {
                // Only the intercept's curvature can vanish, where every answer is certain.
                rest.max(1e-300).sqrt()
            } else {
                rest / matrix[j][j]
            };
        }
    }
    let mut x = right.to_vec();
    for i in 0..size {
        let known: f64 = (0..i).map(|k| matrix[i][k] * x[k]).sum();
        x[i] = (x[i] - known) / matrix[i][i];
    }
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|k| matrix[k][i] * x[k]).sum();
        x[i] = (x[i] - known) / matrix[i][i];
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::testing::{close, generator, normal};

    #[test]
    fn two_groups_on_paper() {
        // One column, 0 or 1: three of four positive at 1, one of four at 0. Without a penalty the
        // logits are ±ln 3; mean 1/2, deviation 1/2, so a weight of ln 3 and an intercept of 0.
        let rows = [[0.0], [0.0], [0.0], [0.0], [1.0], [1.0], [1.0], [1.0]];
        let labels = [true, false, false, false, true, true, true, false];
        let fit = LogisticRegression::fit(&rows, &labels, 1e-12).unwrap();
        assert!(close(fit.logit(&[1.0]), 3.0_f64.ln(), 1e-9));
        assert!(close(fit.logit(&[0.0]), -3.0_f64.ln(), 1e-9));
        assert!(close(fit.weights[0], 3.0_f64.ln(), 1e-9) && close(fit.intercept, 0.0, 1e-12));
        assert_eq!((fit.means[0], fit.scales[0]), (0.5, 0.5));
        // With a penalty the weight w is where penalty · w = 3/4 - sigmoid(w).
        let fit = LogisticRegression::fit(&rows, &labels, 0.5).unwrap();
        assert!(close(
            0.5 * fit.weights[0],
            0.75 - sigmoid(fit.weights[0]),
            1e-12
        ));
    }

    #[test]
    fn separable_rows_have_finite_weights() {
        let rows = [[-1.0], [-2.0], [1.0], [2.0]];
        let labels = [false, false, true, true];
        for penalty in [1e-9, 1e-3, 1e6] {
            let fit = LogisticRegression::fit(&rows, &labels, penalty).unwrap();
            assert!(
                fit.weights[0].is_finite() && fit.weights[0] > 0.0,
                "{penalty}"
            );
            assert!(fit.logit(&[1.0]) > 0.0 && fit.logit(&[-1.0]) < 0.0);
        }
    }

    #[test]
    fn constant_columns_weigh_nothing_and_disturb_nothing() {
        let mut rng = generator(3);
        let labels: Vec<bool> = (0..50).map(|_| rng.random_bool(0.5)).collect();
        let values: Vec<f64> = (0..50).map(|_| normal(&mut rng)).collect();
        let plain: Vec<Vec<f64>> = values.iter().map(|&value| vec![value]).collect();
        let padded: Vec<Vec<f64>> = values.iter().map(|&value| vec![0.1, value]).collect();
        let plain = LogisticRegression::fit(&plain, &labels, 0.1).unwrap();
        let padded = LogisticRegression::fit(&padded, &labels, 0.1).unwrap();
        assert_eq!(padded.weights[0], 0.0);
        assert!(close(padded.weights[1], plain.weights[0], 1e-12));
        assert!(close(padded.logit(&[9.0, 1.0]), plain.logit(&[1.0]), 1e-12));
    }

    #[test]
    fn units_do_not_matter() {
        let mut rng = generator(6);
        let labels: Vec<bool> = (0..60).map(|_| rng.random_bool(0.5)).collect();
        let rows: Vec<[f64; 2]> = (0..60)
            .map(|_| [normal(&mut rng), normal(&mut rng)])
            .collect();
        let other: Vec<[f64; 2]> = rows
            .iter()
            .map(|[a, b]| [1000.0 * a + 7e4, b / 1e5])
            .collect();
        let one = LogisticRegression::fit(&rows, &labels, 0.01).unwrap();
        let same = LogisticRegression::fit(&other, &labels, 0.01).unwrap();
        for (row, other) in rows.iter().zip(&other) {
            assert!(close(one.logit(row), same.logit(other), 1e-9));
        }
    }

    #[test]
    fn recovers_the_weights_that_labels_were_drawn_with() {
        // 20 000 rows of independent N(0, 1); a weight's standard error is about 0.02.
        let mut rng = generator(8);
        let rows: Vec<[f64; 3]> = (0..20_000)
            .map(|_| [normal(&mut rng), normal(&mut rng), normal(&mut rng)])
            .collect();
        let labels: Vec<bool> = rows
            .iter()
            .map(|[a, b, _]| rng.random_bool(sigmoid(0.5 + a - 2.0 * b)))
            .collect();
        let fit = LogisticRegression::fit(&rows, &labels, 1e-6).unwrap();
        let raw: Vec<f64> = fit
            .weights
            .iter()
            .zip(&fit.scales)
            .map(|(w, s)| w / s)
            .collect();
        assert!(close(raw[0], 1.0, 0.1) && close(raw[1], -2.0, 0.15) && close(raw[2], 0.0, 0.1));
        assert!(close(fit.logit(&[0.0; 3]), 0.5, 0.1));
        let text = serde_json::to_string(&fit).unwrap();
        assert_eq!(
            serde_json::from_str::<LogisticRegression>(&text).unwrap(),
            fit
        );
    }

    #[test]
    fn one_class_is_no_problem_to_fit() {
        assert_eq!(
            LogisticRegression::fit(&[[1.0], [2.0]], &[true, true], 1.0),
            None
        );
        assert_eq!(LogisticRegression::fit::<[f64; 1]>(&[], &[], 1.0), None);
    }

    #[test]
    #[should_panic(expected = "the penalty has to be above 0")]
    fn a_penalty_is_needed() {
        let _ = LogisticRegression::fit(&[[1.0]], &[true], 0.0);
    }
}
