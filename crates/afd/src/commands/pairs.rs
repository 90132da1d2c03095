//! `afd pairs`: pairs for a reward model, of whatever its owner has.

use afd_backend::Placement;
use afd_data::Tokenizer;
use afd_reward::pairs::{
    Answerer, Field, PAIRS, Share, are_pairs, copy_pairs, is_free_name, mix, write_pairs,
    write_preferences,
};
use afd_stage::{Artifact, RunDir, source_artifact};

use super::{load_config, pipeline::about};
use crate::{
    args::PairsArgs,
    error::Error,
    models::{self, Models},
    observer,
    stages::Stages,
    steps::{Steps, Stopped},
};

pub(crate) fn run(args: &PairsArgs) -> Result<(), Error> {
    in_run(args, |stages, initial| {
        let pairs = make(args, stages, initial)?;
        Ok(format!("pairs: {}\n", pairs.file(PAIRS).display()))
    })
}

/// Opens the run, does something in it, and tells what.
pub(super) fn in_run(
    args: &PairsArgs,
    work: impl FnOnce(&Stages<'_>, &Artifact) -> Result<String, Stopped>,
) -> Result<(), Error> {
    if !is_free_name(&args.name) {
        return Err(Error::Usage(format!(
            "--name {} is taken, or not of letters a to z, digits and -",
            args.name
        )));
    }
    let config = load_config(&args.config)?;
    let placement = Placement::open(&config.device, config.precision)?;
    let mut run = RunDir::open(&args.run_dir, config.seed, observer::for_terminal())?;
    super::pipeline::record(&mut run, &config)?;
    let models = Models::locate(&config, &models::remembered(&args.run_dir)?)?;
    config.check_models(&args.config.config, &models)?;
    // The run may be a pipeline's, whose configuration stays.
    run.write_file(&format!("{}.toml", args.name), config.resolved.as_bytes())?;
    run.write_file("run.json", about(&config, &models).as_bytes())?;
    let initial = models.initial.artifact()?;
    let stages = Stages {
        config: &config,
        run: &run,
        steps: &Steps::until(None, &config),
        placement: &placement,
        shard: None,
    };
    match work(&stages, &initial) {
        Ok(told) => super::print(&told),
        Err(Stopped::Failed(error)) => Err(error),
        Err(Stopped::AsAsked) => Ok(()),
    }
}

/// The stage `pairs/NAME`.
pub(super) fn make(
    args: &PairsArgs,
    stages: &Stages<'_>,
    initial: &Artifact,
) -> Result<Artifact, Stopped> {
    let (run, steps, config) = (stages.run, stages.steps, stages.config);
    let name = format!("pairs/{}", args.name);
    if let Some(path) = &args.from.preferences {
        let file = source_artifact(path).map_err(Error::from)?;
        let key = ("preferences", &config.read, config.data.dialogue_form);
        return steps.stage(run, &name, &key, &[&file, initial], |ctx| {
            if are_pairs(path)? {
                return Ok(copy_pairs(path, ctx)?);
            }
            let tokenizer = Tokenizer::open(initial.path(), config.data.dialogue_form)?;
            let rows = afd_data::open_with(path, &config.read, tokenizer.chat())?;
            Ok::<(), Error>(write_preferences(rows, path, ctx)?)
        });
    }
    if let (Some(chosen), Some(rejected)) = (&args.from.chosen, &args.rejected) {
        let files = [chosen, rejected].map(|path| source_artifact(path).map_err(Error::from));
        let [chosen, rejected] = files;
        let (chosen, rejected) = (chosen?, rejected?);
        let answerer = |file: &Artifact| Answerer {
            name: stem(file),
            files: vec![file.path().to_owned()],
            field: Field::Completion,
        };
        let key = ("answers", stem(&chosen), stem(&rejected), args.unmatched);
        return steps.stage(run, &name, &key, &[&chosen, &rejected], |ctx| {
            write_pairs(
                &answerer(&chosen),
                &answerer(&rejected),
                !args.unmatched,
                ctx,
            )
        });
    }
    let files = args.from.mix.iter().map(|(path, _)| source_artifact(path));
    let files: Vec<Artifact> = files.collect::<Result<_, _>>().map_err(Error::from)?;
    let weights: Vec<f64> = args.from.mix.iter().map(|(_, weight)| *weight).collect();
    let inputs: Vec<&Artifact> = files.iter().collect();
    steps.stage(run, &name, &("mixture", &weights), &inputs, |ctx| {
        let shares = args.from.mix.iter().map(|(path, weight)| Share {
            pairs: path.clone(),
            weight: *weight,
        });
        mix(&shares.collect::<Vec<_>>(), ctx)
    })
}

/// What rows call the writer of a file's answers: the file's name.
fn stem(file: &Artifact) -> String {
    let stem = file.path().file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
