//! Checkpoints: the model in its own format, the optimiser, and where the loop stood.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::optim::ModuleOptimizer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{BoxError, Error, Sums};

/// Where the loop stands after a step: with the seed in the plan, all it needs to go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainerState {
    /// Optimiser steps done.
    pub(crate) global_step: u64,
    /// Tokens read so far.
    pub(crate) num_input_tokens_seen: u64,
    /// Best evaluation loss so far and its step.
    pub(crate) best: Option<(f64, u64)>,
    /// Loss of the latest evaluation.
    pub(crate) last_eval_loss: Option<f64>,
    /// Evaluations since the best one.
    pub(crate) evals_without_best: u64,
    /// Whether early stopping ended the run.
    pub(crate) stopped: bool,
    /// What was added up since the last logged step.
    pub(crate) running: Sums,
}

const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.bpk";
/// Directory of the model with the best evaluation.
const BEST: &str = "checkpoint-best";

pub(crate) fn best_dir(dir: &Path) -> PathBuf {
    dir.join(BEST)
}

/// Where a checkpoint keeps the moving average of the weights.
pub(crate) fn average_dir(checkpoint: &Path) -> PathBuf {
    checkpoint.join("moving-average")
}

/// Publishes `dir/name` by filling a scratch directory and renaming it.
fn publish(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let (scratch, target) = (dir.join(format!("{name}.partial")), dir.join(name));
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Write { path, source }
    };
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(write(&scratch))?;
    }
    fs::create_dir_all(&scratch).map_err(write(&scratch))?;
    fill(&scratch)?;
    if target.exists() {
        // What a kill between the next two lines loses, the resumed run writes again.
        fs::remove_dir_all(&target).map_err(write(&target))?;
    }
    fs::rename(&scratch, &target).map_err(write(&target))
}

/// Publishes `dir/checkpoint-STEP`, which `fill` fills, and removes the one before it.
pub(crate) fn save(
    dir: &Path,
    step: u64,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    publish(dir, &format!("checkpoint-{step}"), fill)?;
    for (number, old) in checkpoints(dir) {
        if number != step {
            fs::remove_dir_all(&old).map_err(|source| Error::Write { path: old, source })?;
        }
    }
    Ok(())
}

/// Writes the loop's state and the optimiser's into a checkpoint.
pub(crate) fn write<S: Serialize>(
    path: &Path,
    state: &S,
    optimizer: &ModuleOptimizer,
) -> Result<(), Error> {
    optimizer
        .save(path.join(OPTIMIZER))
        .map_err(|error| BoxError::from(error.to_string()))?;
    let json = serde_json::to_vec_pretty(state).map_err(BoxError::from)?;
    let path = path.join(STATE);
    fs::write(&path, json).map_err(|source| Error::Write { path, source })
}

/// Keeps the model of the best evaluation so far.
pub(crate) fn save_best(
    dir: &Path,
    save_model: impl FnOnce(&Path) -> Result<(), BoxError>,
) -> Result<(), Error> {
    publish(dir, BEST, |scratch| Ok(save_model(scratch)?))
}

/// The last whole checkpoint in `dir`, if there is one.
pub fn latest(dir: &Path) -> Option<PathBuf> {
    checkpoints(dir).into_iter().max().map(|(_, path)| path)
}

fn checkpoints(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let step = name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
            Some((step, entry.path()))
        })
        .collect()
}

/// Reads the loop's state and the optimiser's from a checkpoint.
pub(crate) fn load<S: DeserializeOwned>(
    path: &Path,
    optimizer: ModuleOptimizer,
) -> Result<(S, ModuleOptimizer), Error> {
    let broken = |source: BoxError| Error::Checkpoint {
        path: path.into(),
        source,
    };
    let text = fs::read(path.join(STATE)).map_err(|error| broken(error.into()))?;
    let state = serde_json::from_slice(&text).map_err(|error| broken(error.into()))?;
    let optimizer = optimizer
        .load(path.join(OPTIMIZER))
        .map_err(|error| broken(error.to_string().into()))?;
    Ok((state, optimizer))
}
