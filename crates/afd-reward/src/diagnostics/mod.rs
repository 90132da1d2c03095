//! The stage that asks what a reward model has learned: quality, or only who wrote an answer.

mod diagram;
mod held_out;
mod meter;
mod on_samples;
mod warning;

use std::path::Path;

use afd_backend::Placement;
use afd_data::DialogueForm;
use afd_stage::StageContext;
use afd_stats::{Auc, Calibration, Line, Temperature, auc, calibration, fit_temperature, line};
use serde::{Deserialize, Serialize};

use crate::{Error, ObjectiveKind, learn::PREDICTIONS};
use held_out::HeldOut;
pub use meter::Meter;
pub use on_samples::OnSamples;
pub use warning::Warning;

/// The file of [`Diagnostics`] in the stage's directory.
pub const DIAGNOSTICS: &str = "diagnostics.json";

/// The reliability diagram beside it.
pub const DIAGRAM: &str = "reliability.svg";

/// Bins of the reliability diagram.
const BINS: usize = 10;

/// A logit beyond which a model is said to be sure: `σ(4.6) = 0.99`.
const SURE: f64 = 4.6;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct DiagnosticsInputs<'a> {
    /// The pairs the reward model was learned from.
    pub pairs: &'a Path,
    /// The stage's directory, with its summary and its logits of the pairs that were held out.
    pub reward_model: &'a Path,
    /// Both policies, for the closed form of the held-out answers; none, and that part is left out.
    pub policies: Option<Policies<'a>>,
    /// Answers of the fine-tuned policy, and what the reward and the closed form make of them.
    pub samples: Option<Samples<'a>>,
}

/// The policies whose log-ratio is the closed form.
#[derive(Debug, Clone, Copy)]
pub struct Policies<'a> {
    /// The initial one.
    pub initial: &'a Path,
    /// The fine-tuned one.
    pub sft: &'a Path,
}

/// Files whose rows are of the same prompts in the same order.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// [`afd_data::records::Sample`] rows.
    pub samples: &'a Path,
    /// [`afd_data::records::Scores`] of the reward.
    pub scores: &'a Path,
    /// [`afd_data::records::Scores`] of the closed form.
    pub closed_form: &'a Path,
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Share of the held-out pairs whose chosen answer has the higher logit; a tie counts half.
    pub accuracy: f64,
    /// Of the held-out answers: how well the logit tells the classes apart.
    pub auc: Auc,
    /// Of the held-out answers: whether the logit, as a probability, is right as often as it says.
    pub calibration: Calibration,
    /// What dividing the logits by a temperature would change.
    pub temperature: Temperature,
    /// Share of the held-out answers of which the model is more than 99 % sure.
    pub saturation: f64,
    /// The heterogeneity meter: what simpler readers, and the closed form, tell of the same answers.
    pub meter: Vec<Meter>,
    /// The logit against the closed form over the held-out answers: with slope 1 a KL coefficient
    /// means the same beside both.
    pub calibration_slope: Option<Line>,
    /// The reward among the fine-tuned policy's own answers, where it is to choose.
    pub on_samples: Option<OnSamples>,
    /// What should make a reader suspicious.
    pub warnings: Vec<Warning>,
}

/// Writes [`DIAGNOSTICS`] and [`DIAGRAM`], and `summary.json`: the reward model's own with the meter
/// and the warnings.
///
/// Nothing is chosen by what is found here, and no golden reward is looked at. With
/// `pairs.prompts = "sft"` or `"cross_fitted"` the fine-tuned policy has seen the demonstrations among
/// the pairs, which flatters the closed form. To Bradley–Terry, logits mean something as differences
/// alone: there an answer's logit is its lead over the other answer throughout.
///
/// # Errors
/// On unreadable inputs, or files that do not belong together.
pub fn run(
    inputs: &DiagnosticsInputs<'_>,
    batch_size: usize,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let (held_out, mut summary) = held_out(inputs.pairs, inputs.reward_model)?;
    let logits = &held_out.logits;
    let mut meter = meter::shallow(&held_out, ctx.seed());
    let mut calibration_slope = None;
    if let Some(policies) = inputs.policies {
        let closed_form = held_out.closed_form(&policies, batch_size, form, placement, ctx)?;
        if let Some(closed_form) = closed_form {
            calibration_slope = line(&closed_form, logits);
            meter.extend(Meter::of(meter::CLOSED_FORM, &closed_form, &held_out));
        }
    }
    let on_samples = inputs
        .samples
        .map(|samples| OnSamples::read(&samples))
        .transpose()?;
    let missing = || nothing_held_out(inputs.reward_model);
    let sure = logits.iter().filter(|logit| logit.abs() > SURE).count();
    let mut found = Diagnostics {
        accuracy: held_out.accuracy(),
        auc: auc(logits, &held_out.labels, &held_out.prompts).ok_or_else(missing)?,
        calibration: calibration(logits, &held_out.labels, BINS).ok_or_else(missing)?,
        temperature: fit_temperature(logits, &held_out.labels).ok_or_else(missing)?,
        saturation: sure as f64 / logits.len() as f64,
        meter,
        calibration_slope,
        on_samples,
        warnings: Vec::new(),
    };
    found.warnings = warning::warnings(&found, held_out.of_preferences());
    let json = serde_json::to_string_pretty(&found)
        .map_err(|error| afd_data::Error::json(&ctx.dir().join(DIAGNOSTICS), 1, &error))?;
    ctx.write(DIAGNOSTICS, format!("{json}\n").as_bytes())?;
    ctx.write(DIAGRAM, diagram::reliability(&found.calibration).as_bytes())?;
    let auc_of = |reader: &str| {
        found
            .meter
            .iter()
            .find(|m| m.reader == reader)
            .map(|m| m.auc.auc)
    };
    let shallow = found
        .meter
        .iter()
        .filter(|meter| meter.reader != meter::CLOSED_FORM);
    summary["shallow_auc"] = shallow.map(|meter| meter.auc.auc).reduce(f64::max).into();
    summary["closed_form_auc"] = auc_of(meter::CLOSED_FORM).into();
    let warnings: Vec<String> = found.warnings.iter().map(Warning::to_string).collect();
    summary["warnings"] = warnings.into();
    summary["calibration"] = serde_json::json!(found.calibration);
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// How well a reward model tells the classes of its pairs apart on the prompts held out: what stands in
/// [`Diagnostics::auc`].
///
/// # Errors
/// As [`run`].
pub fn held_out_auc(pairs: &Path, reward_model: &Path) -> Result<Auc, Error> {
    let (held_out, _) = held_out(pairs, reward_model)?;
    auc(&held_out.logits, &held_out.labels, &held_out.prompts)
        .ok_or_else(|| nothing_held_out(reward_model))
}

/// The pairs that a reward model did not learn from, and its summary.
fn held_out(pairs: &Path, reward_model: &Path) -> Result<(HeldOut, serde_json::Value), Error> {
    let path = reward_model.join("summary.json");
    let summary = afd_stage::fs::read_to_string(&path)?;
    let summary: serde_json::Value =
        serde_json::from_str(&summary).map_err(|error| afd_data::Error::json(&path, 1, &error))?;
    let paired = summary["objective"] == serde_json::json!(ObjectiveKind::BradleyTerry);
    let held_out = HeldOut::read(pairs, &reward_model.join(PREDICTIONS), paired)?;
    Ok((held_out, summary))
}

fn nothing_held_out(reward_model: &Path) -> Error {
    Error::RewardModelFile {
        path: reward_model.join(PREDICTIONS),
        problem: "holds no held-out pair; train the reward model again".into(),
    }
}
