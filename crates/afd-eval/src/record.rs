//! What the run was: its stages, what they took, what they logged, and how it is made again.

use std::path::PathBuf;

use afd_stage::Cost;
use serde_json::{Map, Value};

use crate::Error;

/// For the report alone: times, places and hosts, which no other file of the stage may hold.
#[derive(Debug, Clone, Default)]
pub struct RunRecord {
    /// The run's stages up to this one, in their order.
    pub stages: Vec<StageRecord>,
    /// What was spent on policies alone: their own training, and that of the policies they go on from.
    pub policies: Vec<PolicyCost>,
    /// The command that makes the run again from `config`.
    pub command: String,
    /// The whole configuration.
    pub config: String,
    /// Versions, seed, device and models, as text.
    pub about: String,
}

/// A stage that is done.
#[derive(Debug, Clone, Default)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Where it was computed, as in [`afd_stage::Artifact::environment`].
    pub environment: Option<String>,
    /// What it took; `None` for the stage that writes the report.
    pub cost: Option<Cost>,
    /// Its `metrics.jsonl`, if it logged any.
    pub metrics: Option<PathBuf>,
}

/// What was spent on a policy.
#[derive(Debug, Clone)]
pub struct PolicyCost {
    /// Its name.
    pub policy: String,
    /// Tokens read and written.
    pub tokens: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// A logged figure: its name, and its values by step.
pub(crate) type Curve = (String, Vec<(f64, f64)>);

/// What a stage logged.
pub(crate) type Logged = Vec<Curve>;

/// Reads the figures called `names` from what stages logged; those without any are left out.
///
/// # Errors
/// When a file cannot be read or is no JSON lines.
pub(crate) fn logged(record: &RunRecord, names: &[&str]) -> Result<Vec<(String, Logged)>, Error> {
    let mut all = Vec::new();
    for stage in &record.stages {
        let Some(path) = &stage.metrics else {
            continue;
        };
        let text = afd_stage::fs::read_to_string(path)?;
        let mut figures: Logged = names
            .iter()
            .map(|name| ((*name).to_owned(), Vec::new()))
            .collect();
        for line in text.lines() {
            let row: Map<String, Value> =
                serde_json::from_str(line).map_err(|source| Error::Json {
                    path: path.clone(),
                    source,
                })?;
            let number = |key: &str| row.get(key).and_then(Value::as_f64);
            let Some(step) = number("step") else {
                continue;
            };
            for (name, values) in &mut figures {
                let Some(value) = number(name) else {
                    continue;
                };
                // The last step may be followed by what came of it.
                values.pop_if(|last| last.0 == step);
                values.push((step, value));
            }
        }
        figures.retain(|(_, values)| values.len() > 1);
        if !figures.is_empty() {
            all.push((stage.name.clone(), figures));
        }
    }
    Ok(all)
}
