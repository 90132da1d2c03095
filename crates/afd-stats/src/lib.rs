//! Statistics of answers grouped by prompt. No tensors, no files, no models.
//!
//! Answers to one prompt share its difficulty, so prompts are the independent units everywhere:
//! intervals resample them, standard errors are clustered by them, cross-validation never splits
//! one.
//!
//! * [`Bootstrap`], [`percentile_interval`]: intervals of means over prompts, and of what is made of
//!   them.
//! * [`permutation_p`], [`holm`]: whether differences could be chance, one or many of them;
//!   [`bradley_terry`]: strengths from who beats whom; [`student_interval`]: of a mean over few seeds.
//! * [`auc`](fn@auc), [`auc_within`], [`compare_aucs`]: how well scores tell two classes apart.
//! * [`pearson_within`], [`spearman_within`], [`kendall_within`]: what goes together within
//!   prompts; [`ties_within`].
//! * [`calibration`](fn@calibration), [`brier_score`], [`log_loss`], [`fit_temperature`]: whether
//!   logits mean what they say; [`line`](fn@line), [`line_within`]: how they follow the closed form.
//! * [`LogisticRegression`], [`SparseLogisticRegression`], [`cross_validated`]: what a few readable
//!   columns, or many hashed ones, can tell.
//! * [`mean`], [`standard_error`], [`weighted`], [`sd_within`], [`is_constant`]; [`win_rates`];
//!   [`six_digits`].
//!
//! What can length alone tell, judged on prompts that the fit did not see?
//!
//! ```
//! use afd_stats::{Folds, LogisticRegression, auc};
//!
//! let words = [[3.0], [9.0], [4.0], [8.0], [2.0], [7.0]];
//! let demonstrated = [false, true, false, true, false, true];
//! let prompts = [0, 0, 1, 1, 2, 2];
//! let folds = Folds { count: 3, seed: 1 };
//! let logits = LogisticRegression::cross_validated(&words, &demonstrated, &prompts, folds, 0.1);
//! let told = auc(&logits.unwrap(), &demonstrated, &prompts).unwrap();
//! assert_eq!(told.auc, 1.0);
//! ```

mod auc;
mod bootstrap;
mod calibration;
mod correlation;
mod line;
mod logistic;
mod moments;
mod permutation;
mod ranks;
mod rounding;
mod strengths;
mod student;
mod temperature;
#[cfg(test)]
mod testing;
mod win_rates;

pub use crate::{
    auc::{Auc, AucDifference, auc, auc_within, compare_aucs},
    bootstrap::{Bootstrap, CONFIDENCE, percentile_interval},
    calibration::{Calibration, ReliabilityBin, brier_score, calibration, log_loss},
    correlation::pearson_within,
    line::{Line, line, line_within},
    logistic::{Folds, LogisticRegression, SparseLogisticRegression, cross_validated},
    moments::{is_constant, mean, sd_within, standard_error, weighted},
    permutation::{holm, permutation_p},
    ranks::{average_ranks, kendall_within, spearman_within, ties_within},
    rounding::six_digits,
    strengths::{ELO_POINTS_PER_NAT, bradley_terry},
    student::student_interval,
    temperature::{Temperature, fit_temperature},
    win_rates::win_rates,
};
