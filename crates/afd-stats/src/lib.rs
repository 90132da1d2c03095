//! Statistics of answers grouped by prompt. No tensors, no files, no models.
//!
//! Answers to one prompt share its difficulty, so prompts are the independent units everywhere:
//! intervals resample them, standard errors are clustered by them, cross-validation never splits
//! one.
//!
//! * [`Bootstrap`]: intervals of means over prompts.
//! * [`pearson_within`]: what goes together within prompts.
//! * [`mean`], [`weighted`], [`sd_within`], [`is_constant`]; [`win_rates`]; [`six_digits`].

mod bootstrap;
mod correlation;
mod moments;
mod rounding;
mod win_rates;

pub use crate::{
    bootstrap::{Bootstrap, CONFIDENCE},
    correlation::pearson_within,
    moments::{is_constant, mean, sd_within, weighted},
    rounding::six_digits,
    win_rates::win_rates,
};
