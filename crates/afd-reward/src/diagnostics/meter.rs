//! The heterogeneity meter: how far simpler readers than the model come on the same answers.

use afd_data::features::{FORMAT, LENGTH};
use afd_stats::{
    Auc, AucDifference, Folds, LogisticRegression, SparseLogisticRegression, auc, compare_aucs,
};
use serde::{Deserialize, Serialize};

use super::held_out::HeldOut;

/// Folds of prompts of the shallow classifiers.
const FOLDS: usize = 5;

/// L2 penalty of the dense ones, on standardised columns, per answer.
const DENSE_PENALTY: f64 = 1e-3;

/// L2 penalty of the sparse one, on rows of unit length, per answer.
const SPARSE_PENALTY: f64 = 1e-4;

/// The reader that is the log-ratio of the two policies.
pub(super) const CLOSED_FORM: &str = "closed-form";

/// What one reader tells of the held-out answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// `length`, `format`, `features`, `ngrams` or `closed-form`.
    pub reader: String,
    /// How well it tells the classes apart.
    pub auc: Auc,
    /// The model's AUC less its, on the same answers.
    pub model_ahead: AucDifference,
}

impl Meter {
    /// Of a reader's logits of the held-out answers; none if a class is missing.
    pub(super) fn of(reader: &str, logits: &[f64], held_out: &HeldOut) -> Option<Self> {
        let (labels, prompts) = (&held_out.labels, &held_out.prompts);
        Some(Self {
            reader: reader.to_owned(),
            auc: auc(logits, labels, prompts)?,
            model_ahead: compare_aucs(&held_out.logits, logits, labels, prompts)?,
        })
    }
}

/// Logistic regressions on the answers' length, format, all readable features, and words and pairs
/// of words. Each judges an answer by a fit on four fifths of the prompts, its own not among them,
/// about as many as the model had.
pub(super) fn shallow(held_out: &HeldOut, seed: u64) -> Vec<Meter> {
    let all = &held_out.all;
    let folds = Folds { count: FOLDS, seed };
    let dense = |columns: &dyn Fn(&[f64]) -> Vec<f64>| {
        let rows: Vec<Vec<f64>> = all.features.iter().map(|row| columns(row)).collect();
        let (labels, prompts) = (&all.labels, &all.prompts);
        LogisticRegression::cross_validated(&rows, labels, prompts, folds, DENSE_PENALTY)
    };
    let some = |of: &'static [usize]| move |row: &[f64]| of.iter().map(|&i| row[i]).collect();
    let sparse = SparseLogisticRegression::cross_validated(
        &all.ngrams,
        &all.labels,
        &all.prompts,
        folds,
        SPARSE_PENALTY,
    );
    let readers = [
        ("length", dense(&some(LENGTH))),
        ("format", dense(&some(FORMAT))),
        ("features", dense(&|row| row.to_vec())),
        ("ngrams", sparse),
    ];
    let meter = |(reader, logits): (&str, Option<Vec<f64>>)| {
        let logits = logits?;
        let logits = held_out.places.iter().map(|&place| logits[place]).collect();
        let logits = held_out.read_as(logits);
        Meter::of(reader, &logits, held_out)
    };
    readers.into_iter().filter_map(meter).collect()
}
