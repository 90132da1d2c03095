//! What should make a reader suspicious of a reward model, what it means, and what to try.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Diagnostics, meter::CLOSED_FORM};

/// Standard errors beyond which a difference is no accident.
const BEYOND_ERROR: f64 = 1.96;

/// An AUC below which a shallow reader tells nothing to speak of.
const TELLING: f64 = 0.6;

/// How far below the model's AUC a shallow reader's may be and still have reached it.
const REACHED: f64 = 0.02;

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
        /// Whether the pairs say which answer is preferred, not who wrote it.
        of_preferences: bool,
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
                of_preferences,
            } => write!(
                f,
                "a classifier that sees only the answer's {} reaches AUC {auc:.2}, the model {model_auc:.2}: {}",
                match &reader[..] {
                    "features" => "length, format and phrases",
                    "ngrams" => "words and pairs of words",
                    other => other,
                },
                match of_preferences {
                    true =>
                        "it may have learned that and nothing else; give it more pairs or a larger \
                             model, or compare architecture = \"linear\", which says what it looks at",
                    false =>
                        "it may have learned who writes, not what is good; compare the sources in \
                              [pairs], of which init-sft has one model family on both sides, and \
                              architecture = \"linear\", which says what the sides differ in",
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

/// Every warning that the figures call for. Of preferences the policies' log-ratio is no optimum, and
/// to be above it no fault.
pub(super) fn warnings(found: &Diagnostics, of_preferences: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let model_auc = found.auc.auc;
    for meter in &found.meter {
        let (auc, ahead) = (meter.auc.auc, &meter.model_ahead);
        if meter.reader == CLOSED_FORM {
            if !of_preferences && ahead.z.is_some_and(|z| z > BEYOND_ERROR) {
                warnings.push(Warning::AboveClosedForm {
                    model_auc,
                    closed_form_auc: auc,
                });
            }
        } else if auc > TELLING && auc > model_auc - REACHED {
            warnings.push(Warning::Shallow {
                reader: meter.reader.clone(),
                auc,
                model_auc,
                of_preferences,
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

#[cfg(test)]
mod tests {
    use afd_stats::{auc, calibration, compare_aucs, fit_temperature};

    use super::*;
    use crate::diagnostics::Meter;

    /// A model and a shallow reader on answers to twenty prompts, two each.
    fn found(
        model: impl Fn(usize) -> f64,
        shallow: impl Fn(usize) -> f64,
        reader: &str,
    ) -> Diagnostics {
        let labels = [true, false].repeat(20);
        let prompts: Vec<usize> = (0..40).map(|answer| answer / 2).collect();
        let logits: Vec<f64> = (0..40).map(model).collect();
        let others: Vec<f64> = (0..40).map(shallow).collect();
        Diagnostics {
            accuracy: 1.0,
            auc: auc(&logits, &labels, &prompts).unwrap(),
            calibration: calibration(&logits, &labels, 5).unwrap(),
            temperature: fit_temperature(&logits, &labels).unwrap(),
            saturation: 0.0,
            meter: vec![Meter {
                reader: reader.to_owned(),
                auc: auc(&others, &labels, &prompts).unwrap(),
                model_ahead: compare_aucs(&logits, &others, &labels, &prompts).unwrap(),
            }],
            calibration_slope: None,
            on_samples: None,
            warnings: Vec::new(),
        }
    }

    /// Right but for every `n`-th prompt.
    fn right_but(n: usize) -> impl Fn(usize) -> f64 {
        move |answer| {
            let sign = if answer % 2 == 0 { 1.0 } else { -1.0 };
            let wrong = (answer / 2) % n == 0;
            let size = 1.0 + (answer % 7) as f64 / 10.0;
            if wrong { -sign * size } else { sign * size }
        }
    }

    #[test]
    fn a_shallow_reader_that_reaches_the_model_is_told_and_one_that_does_not_is_not() {
        let told = warnings(&found(right_but(5), right_but(5), "ngrams"), false);
        assert!(matches!(&told[..], [Warning::Shallow { .. }]), "{told:?}");
        let text = told[0].to_string();
        assert!(
            text.contains("words and pairs of words") && text.contains("who writes"),
            "{text}"
        );
        let text = warnings(&found(right_but(5), right_but(5), "ngrams"), true)[0].to_string();
        assert!(!text.contains("who writes"), "{text}");
        assert_eq!(
            warnings(&found(right_but(10), right_but(3), "length"), false),
            []
        );
        // Both at chance: nothing is told apart, by either.
        assert_eq!(
            warnings(&found(right_but(2), right_but(2), "length"), false),
            []
        );
    }

    #[test]
    fn a_model_above_the_closed_form_is_told_but_of_preferences() {
        let found = found(right_but(20), right_but(2), CLOSED_FORM);
        let told = warnings(&found, false);
        assert!(
            matches!(&told[..], [Warning::AboveClosedForm { .. }]),
            "{told:?}"
        );
        assert_eq!(warnings(&found, true), []);
    }

    #[test]
    fn a_sure_model_is_told() {
        let mut found = found(right_but(5), right_but(2), "length");
        found.saturation = 0.75;
        let told = warnings(&found, false);
        assert!(told[0].to_string().contains("75 %"), "{told:?}");
    }
}
