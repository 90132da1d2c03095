//! `afd costs`: what a run took, stage by stage, and what its policies gained for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use afd_stage::{Cost, Manifest};

use super::print;
use crate::{costs, error::Error};

pub(crate) fn run(run_dir: &Path) -> Result<(), Error> {
    let manifests = manifests(run_dir)?;
    if manifests.is_empty() {
        return Err(Error::Usage(format!(
            "{} holds no finished stage",
            run_dir.display()
        )));
    }
    let mut text = String::new();
    let asked = manifests.iter().any(|manifest| manifest.cost.requests > 0);
    let paid = |requests: u64, price: f64| match asked {
        true => format!(" {requests:>9} {price:>9.2}"),
        false => String::new(),
    };
    let mut line = |stage: &str, cost: &Cost| {
        let (tokens, seconds) = (cost.tokens, cost.seconds);
        let peak = cost.peak_memory_bytes.unwrap_or_default() / (1024 * 1024);
        let paid = paid(cost.requests, cost.price);
        text += &format!("{stage:<32} {tokens:>12} {seconds:>9.1} s {peak:>8} MiB{paid}\n");
    };
    for manifest in &manifests {
        line(&manifest.stage, &manifest.cost);
    }
    line(
        "all stages",
        &manifests.iter().map(|manifest| manifest.cost).sum(),
    );
    let head = format!(
        "{:<32} {:>12} {:>11} {:>12}{}\n",
        "stage",
        "tokens",
        "time",
        "peak memory",
        if asked { "  requests     price" } else { "" }
    );
    print(&format!("{head}{text}{}", gains(run_dir, &manifests)?))
}

/// What each policy with answers of its own gained over the fine-tuned one, for what making it took.
fn gains(run_dir: &Path, manifests: &[Manifest]) -> Result<String, Error> {
    let summary = run_dir.join("eval").join("summary.json");
    if !summary.is_file() {
        return Ok(String::new());
    }
    let summary = afd_eval::load_summary(&summary)?;
    let mut text = String::new();
    for row in summary.trained() {
        let name = row.name.as_deref().unwrap_or_default();
        let (tokens, seconds) = costs::of_policy(name, manifests);
        let gain = row.delta_vs_sft;
        let each = match tokens {
            0 => "-".to_owned(),
            tokens => format!("{:.3}", gain / (tokens as f64 / 1e6)),
        };
        text += &format!("{name:<32} {tokens:>12} {seconds:>9.1} s {gain:>+8.3} {each:>12}\n");
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "\n{:<32} {:>12} {:>11} {:>8} {:>12}\n{text}",
        "policy", "tokens", "time", "gain", "per million"
    ))
}

/// The manifests of a run's finished stages in the order they were finished, which is that of the pipeline.
///
/// # Errors
/// When one cannot be read.
pub(super) fn manifests(run_dir: &Path) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    collect(run_dir, &mut manifests)?;
    manifests.sort_by(|a, b| {
        let key = |manifest: &Manifest| (manifest.created_unix_seconds, manifest.stage.clone());
        key(a).cmp(&key(b))
    });
    Ok(manifests)
}

/// The manifests of all finished stages below a directory.
fn collect(dir: &Path, manifests: &mut Vec<Manifest>) -> Result<(), Error> {
    let io = |source| Error::Io {
        action: "read",
        path: dir.to_path_buf(),
        source,
    };
    if dir.join("manifest.json").is_file() {
        manifests.push(Manifest::read(dir)?);
        return Ok(());
    }
    let mut below: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            below.push(path);
        }
    }
    below.sort();
    below.iter().try_for_each(|path| collect(path, manifests))
}
