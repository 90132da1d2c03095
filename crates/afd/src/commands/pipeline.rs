//! `afd pipeline` and `afd stage`: a run directory, its configuration, and the stages.

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use afd_backend::{Placement, device};
use afd_policy::Shard;
use afd_stage::RunDir;
use serde_json::json;

use super::{load_config, watch};
use crate::{
    args::PipelineArgs,
    config::Config,
    error::Error,
    evaluation,
    models::{self, Models},
    observer, pipeline,
    steps::{self, Steps, covers},
};

/// Runs all stages, or those up to `stage`; of answers, if that is what they are, a `shard`.
pub(crate) fn run(
    args: &PipelineArgs,
    stage: Option<&str>,
    shard: Option<Shard>,
) -> Result<(), Error> {
    let config = load_config(&args.config)?;
    let placement = Placement::open(&config.device, config.precision)?;
    let until = stage.or(args.until.as_deref());
    let asked = until.into_iter().chain(args.from.as_deref());
    for name in asked.chain(args.force.iter().map(String::as_str)) {
        known(name, &config)?;
    }
    if let (Some(stage), Some(_)) = (stage, shard)
        && !covers("samples", stage)
    {
        let problem = format!("--shard is for `samples` and `samples/NAME`, not for `{stage}`");
        return Err(Error::Usage(problem));
    }

    let root = args.run_dir.clone().unwrap_or_else(|| default_dir(args));
    let shown = Arc::new(AtomicBool::new(args.dashboard && stdout().is_terminal()));
    let mut run = RunDir::open(&root, config.seed, observer::behind(shown.clone()))?;
    record(&mut run, &config)?;
    for name in &args.force {
        run.force(name);
        run.force(&format!("shards/{name}"));
    }
    if let Some(from) = &args.from {
        let names = steps::names(&config);
        let later = names.iter().skip_while(|name| !covers(from, name));
        later.for_each(|name| run.force(name));
    }
    evaluation::check_keys(&config, &run, until)?;
    let models = Models::locate(&config, &models::remembered(&root)?)?;
    config.check_models(&args.config.config, &models)?;
    run.write_file("config.toml", config.resolved.as_bytes())?;
    run.write_file("run.json", about(&config, &models).as_bytes())?;
    let steps = Steps::until(until, &config);
    let work = || pipeline::run(&config, &models, &placement, &run, &steps, shard);
    match shown.load(Ordering::Relaxed) {
        true => watch::beside(&root, &shown, work)??,
        false => work()?,
    }
    if root.join("eval/summary.json").is_file() && until.is_none_or(|until| until == "eval") {
        super::report::run(std::slice::from_ref(&root))?;
    }
    Ok(())
}

/// Whether this configuration has the stage, or the group of stages.
fn known(stage: &str, config: &Config) -> Result<(), Error> {
    let names = steps::names(config);
    if names.iter().any(|name| covers(stage, name)) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "there is no stage `{stage}`; the stages are {}",
        names.join(", ")
    )))
}

fn default_dir(args: &PipelineArgs) -> PathBuf {
    let name = args.config.config.file_stem().unwrap_or_default();
    PathBuf::from("runs").join(name)
}

/// Has manifests say where stages are computed.
pub(super) fn record(run: &mut RunDir, config: &Config) -> Result<(), Error> {
    let description = device::describe(&config.device)?;
    let (device, precision) = (&config.device, config.precision);
    run.record_environment(&format!("{device}: {description}, {precision}"));
    Ok(())
}

/// The content of `run.json`.
pub(super) fn about(config: &Config, models: &Models) -> String {
    let about = json!({
        "format": 1,
        "versions": { "afd": env!("CARGO_PKG_VERSION") },
        "device": config.device,
        "seed": config.seed,
        "models": models.pins(),
    });
    format!("{about:#}\n")
}
