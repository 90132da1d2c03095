//! Statistics of answers grouped by prompt. No tensors, no files, no models.
//!
//! Answers to one prompt share its difficulty, so prompts are the independent units everywhere:
//! intervals resample them, standard errors are clustered by them, cross-validation never splits
//! one.
//!
//! * [`Bootstrap`]: intervals of means over prompts.
//! * [`auc`], [`auc_within`], [`compare_aucs`]: how well scores tell two classes apart.
//! * [`pearson_within`], [`spearman_within`], [`kendall_within`]: what goes together within
//!   prompts; [`ties_within`].
//! * [`mean`], [`weighted`], [`sd_within`], [`is_constant`]; [`win_rates`]; [`six_digits`].

mod auc;
mod bootstrap;
mod correlation;
mod moments;
mod ranks;
mod rounding;
#[cfg(test)]
mod testing;
mod win_rates;

pub use crate::{
    auc::{Auc, AucDifference, auc, auc_within, compare_aucs},
    bootstrap::{Bootstrap, CONFIDENCE},
    correlation::pearson_within,
    moments::{is_constant, mean, sd_within, weighted},
    ranks::{average_ranks, kendall_within, spearman_within, ties_within},
    rounding::six_digits,
    win_rates::win_rates,
};
