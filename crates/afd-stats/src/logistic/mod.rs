//! L2-regularised logistic regression: on a few readable columns, on many hashed ones, and out of
//! fold.

mod dense;
mod folds;
mod lbfgs;
mod sparse;

pub use dense::LogisticRegression;
pub use folds::{Folds, cross_validated};
pub use sparse::SparseLogisticRegression;

/// What every fit asks of its arguments; `false` if a class is missing.
fn both_classes(rows: usize, labels: &[bool], penalty: f64) -> bool {
    assert_eq!(rows, labels.len(), "one label for each row");
    assert!(
        penalty > 0.0 && penalty.is_finite(),
        "the penalty has to be above 0 and finite, not {penalty}"
    );
    labels.contains(&true) && labels.contains(&false)
}
