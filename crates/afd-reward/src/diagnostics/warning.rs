//! What should make a reader suspicious of a reward model, what it means, and what to try.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Diagnostics, meter::CLOSED_FORM};

/// Standard errors beyond which a difference is no accident.
const BEYOND_ERROR: f64 = 1.96;

/// An AUC below which a shallow reader tells nothing to speak of.
const TELLING: f64 = 0.6;

/// Share of answers the model is sure of from which it saturates.
const SATURATED: f64 = 0.5;

/// Share of tied pairs from which choosing among a prompt's answers becomes a lottery.
const TIED: f64 = 0.05;

/// A finding that speaks against a reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
pub enum Warning {
    /// A reader of surface features tells the classes apart as well as the model.
    Shallow {
        /// Which.
        reader: String,
        /// Its AUC.
        auc: f64,
        /// The model's.
        model_auc: f64,
    },
    /// The model tells the classes apart better than the two policies' own log-ratio does.
    AboveClosedForm {
        /// The model's AUC.
        model_auc: f64,
        /// The log-ratio's.
        closed_form_auc: f64,
    },
    /// The model is sure of most answers.
    Saturated {
        /// Share of held-out answers with more than 99 %.
        share: f64,
    },
    /// Answers to a prompt often have equal rewards.
    Ties {
        /// Share of pairs.
        share: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shallow {
                reader,
                auc,
                model_auc,
            } => write!(
                f,
                "a classifier that sees only the answer's {} reaches AUC {auc:.2}, the model {model_auc:.2}: \
                 it may have learned who writes, not what is good; compare pairs.sources = [\"init-sft\"], \
                 and look at what the classes differ in",
                match &reader[..] {
                    "features" => "length, format and phrases",
                    "ngrams" => "words and pairs of words",
                    other => other,
                }
            ),
            Self::AboveClosedForm {
                model_auc,
                closed_form_auc,
            } => write!(
                f,
                "the model's AUC {model_auc:.2} is above the closed form's {closed_form_auc:.2}: it sees something \
                 that fine-tuning did not move, which optimising against it will exaggerate; check the two sides for \
                 differences of format, or take pairs written by the policies alone"
            ),
            Self::Saturated { share } => write!(
                f,
                "the model is more than 99 % sure of {:.0} % of the held-out answers: such logits say little of how much \
                 better an answer is; raise reward.label_smoothing, set reward.logit_penalty or \
                 reward.temperature_scaling, or train for fewer epochs",
                100.0 * share
            ),
            Self::Ties { share } => write!(
                f,
                "{:.0} % of the pairs of answers to a prompt have equal rewards: choosing among them is a lottery; \
                 score in f32, or take an architecture that reads the whole text",
                100.0 * share
            ),
        }
    }
}

/// Every warning that the figures call for.
pub(super) fn warnings(found: &Diagnostics) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let beyond = |z: Option<f64>| z.is_some_and(|z| z > BEYOND_ERROR);
    for meter in &found.meter {
        let (auc, ahead) = (meter.auc.auc, &meter.model_ahead);
        if meter.reader == CLOSED_FORM {
            if beyond(ahead.z) {
                warnings.push(Warning::AboveClosedForm {
                    model_auc: found.auc.auc,
                    closed_form_auc: auc,
                });
            }
        } else if auc > TELLING && !beyond(ahead.z) {
            warnings.push(Warning::Shallow {
                reader: meter.reader.clone(),
                auc,
                model_auc: found.auc.auc,
            });
        }
    }
    if found.saturation > SATURATED {
        let share = found.saturation;
        warnings.push(Warning::Saturated { share });
    }
    if let Some(samples) = &found.on_samples
        && samples.ties > TIED
    {
        let share = samples.ties;
        warnings.push(Warning::Ties { share });
    }
    warnings
}
