//! `afd reward`: a reward model of pairs, without the rest of the pipeline.

use afd_reward::Architecture;
use afd_stage::{Artifact, fs};
use serde::Deserialize;

use super::pairs::{in_run, make};
use crate::{args::PairsArgs, error::Error};

pub(crate) fn run(args: &PairsArgs) -> Result<(), Error> {
    in_run(args, |stages, initial| {
        let pairs = make(args, stages, initial)?;
        let embeddings = match stages.config.reward.0.architecture {
            Architecture::EmbeddingMlp => {
                let read = [(args.name.clone(), pairs.clone())];
                Some(stages.embeddings(initial, &read)?)
            }
            Architecture::Classifier | Architecture::Linear => None,
        };
        let name = format!("reward/{}", args.name);
        let model = stages.reward(&name, initial, &pairs, embeddings.as_ref())?;
        let found = stages.diagnostics(&args.name, (&pairs, &model), None, None)?;
        Ok(told(&model, &found)?)
    })
}

/// The part of a diagnostics stage's summary that is told.
#[derive(Deserialize)]
struct Summary {
    eval_pairs: u64,
    eval_auc: f64,
    shallow_auc: Option<f64>,
    warnings: Vec<String>,
}

/// Where things are, and what speaks against them.
fn told(model: &Artifact, found: &Artifact) -> Result<String, Error> {
    let path = found.file("summary.json");
    let text = fs::read_to_string(&path)?;
    let summary: Summary =
        serde_json::from_str(&text).map_err(|error| afd_data::Error::json(&path, 1, &error))?;
    let mut told = format!(
        "reward model: {}\ndiagnostics:  {}\n\nheld-out AUC {:.3} on {} pairs",
        model.path().display(),
        found.path().display(),
        summary.eval_auc,
        summary.eval_pairs,
    );
    if let Some(auc) = summary.shallow_auc {
        told += &format!("; {auc:.3} by surface features of the answers alone");
    }
    told.push('\n');
    for warning in summary.warnings {
        told += &format!("warning: {warning}\n");
    }
    Ok(told)
}
