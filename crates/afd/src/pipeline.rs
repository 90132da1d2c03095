//! The whole method, one call per stage: the first file to read.

use std::path::PathBuf;

use afd_backend::device;
use afd_data::Tokenizer;
use afd_eval::EvalInputs;
use afd_model::Scorer;
use afd_policy::{best_of_n, sample};
use afd_reward::{
    ClassifierScorer, closed_form, learn,
    pairs::{self, PairInputs, PairSource},
    score,
};
use afd_sft::SftInputs;
use afd_stage::{Artifact, RunDir, StageContext, source_artifact};

use crate::{
    config::{Config, DataSource, Golden},
    error::Error,
    rows,
    steps::{Steps, Stopped},
};

/// The reward model that is a golden scorer: learned from a split nothing else sees.
const JUDGE: &str = "judge";

/// Runs every stage that has something to do, in order.
///
/// # Errors
/// The first stage that fails; what is finished stays, what was begun is resumed next time.
pub(crate) fn run(config: &Config, run: &RunDir, steps: &Steps) -> Result<(), Error> {
    match stages(config, run, steps) {
        Ok(()) | Err(Stopped::AsAsked) => Ok(()),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn stages(config: &Config, run: &RunDir, steps: &Steps) -> Result<(), Stopped> {
    let device = device::open(&config.device).map_err(Error::from)?;
    let device = &device;
    let initial = source_artifact(&config.model.path).map_err(Error::from)?;

    let data = prepare_data(config, run, steps, &initial)?;
    let (reward_prompts, test_prompts) = (data.file("reward.jsonl"), data.file("test.jsonl"));

    let sft = steps.stage(run, "sft", &config.sft, &[&initial, &data], |ctx| {
        let inputs = SftInputs {
            model: initial.path(),
            demonstrations: &data.file("sft.jsonl"),
            validation: &data.file("validation.jsonl"),
        };
        afd_sft::run(&config.sft.0, &config.sft.1, &inputs, device, ctx)
    })?;

    let counts = &config.generations;
    let answers = |name: &str, policy: &Artifact, prompts: &PathBuf, count: usize| {
        let key = (&config.sample, count);
        steps.stage(run, name, &key, &[policy, &data], |ctx| {
            sample::run(&config.sample, count, policy.path(), prompts, device, ctx)
        })
    };
    let each = counts.reward_num_generations;
    let reward_init = answers("samples/init-reward", &initial, &reward_prompts, each)?;
    let reward_sft = answers("samples/sft-reward", &sft, &reward_prompts, each)?;
    let init_count = counts.init_num_generations;
    let test_init = answers("samples/init", &initial, &test_prompts, init_count)?;
    let test_count = counts.test_num_generations;
    let test_sft = answers("samples/sft", &sft, &test_prompts, test_count)?;

    let mut pairs_of = Vec::new();
    for source in PairSource::ALL {
        // Demonstrations are all the method needs; preferences are for comparison.
        if source == PairSource::Preference && !rows::hold_preferences(&reward_prompts)? {
            continue;
        }
        let name = source.name();
        let inputs = PairInputs {
            examples: reward_prompts.clone(),
            init_samples: Some(reward_init.file(sample::SAMPLES)),
            sft_samples: Some(reward_sft.file(sample::SAMPLES)),
        };
        let from = [&data, &reward_init, &reward_sft];
        let pairs = steps.stage(run, &format!("pairs/{name}"), &source, &from, |ctx| {
            pairs::run(source, &inputs, ctx)
        })?;
        pairs_of.push((name.to_owned(), pairs));
    }
    if config.golden.golden == Golden::Judge {
        let inputs = PairInputs {
            examples: data.file("judge.jsonl"),
            init_samples: None,
            sft_samples: None,
        };
        let pairs = steps.stage(run, "pairs/judge", &(), &[&data], |ctx| {
            pairs::run(PairSource::Preference, &inputs, ctx)
        })?;
        pairs_of.push((JUDGE.to_owned(), pairs));
    }

    let mut reward_models = Vec::new();
    let mut judge = None;
    for (name, pairs) in &pairs_of {
        let inputs = [&initial, pairs];
        let model = steps.stage(
            run,
            &format!("reward/{name}"),
            &config.reward,
            &inputs,
            |ctx| {
                let (reward, train) = &config.reward;
                let pairs = pairs.file(pairs::PAIRS);
                learn::run(reward, train, initial.path(), &pairs, device, ctx)
            },
        )?;
        match name.as_str() {
            JUDGE => judge = Some(model),
            _ => reward_models.push((name.clone(), model)),
        }
    }

    let samples = test_sft.file(sample::SAMPLES);
    let batch = config.reward.1.per_device_eval_batch_size;
    let mut rankers = Vec::new();
    for (name, reward_model) in &reward_models {
        let inputs = [reward_model, &test_sft];
        let scores = steps.stage(run, &format!("scores/{name}"), &batch, &inputs, |ctx| {
            score::run(reward_model.path(), &samples, batch, device, ctx)
        })?;
        rankers.push((name.clone(), scores));
    }
    let inputs = [&initial, &test_sft];
    let scores = steps.stage(run, "scores/closed-form", &batch, &inputs, |ctx| {
        closed_form::run(initial.path(), &samples, batch, device, ctx)
    })?;
    rankers.push(("closed-form".to_owned(), scores));

    let files: Vec<(String, PathBuf)> = rankers
        .iter()
        .map(|(name, scores)| (name.clone(), scores.file(score::SCORES)))
        .collect();
    let mut inputs: Vec<&Artifact> = rankers.iter().map(|(_, scores)| scores).collect();
    inputs.extend([&test_sft]);
    steps.stage(run, "policy/best-of-n", &config.best_of_n, &inputs, |ctx| {
        best_of_n::run(&config.best_of_n, &samples, &files, ctx)
    })?;

    let golden = match config.golden.golden {
        Golden::World => None,
        Golden::Judge => judge,
        Golden::Classifier => {
            Some(source_artifact(&config.golden.golden_path).map_err(Error::from)?)
        }
    };
    let golden_name = config.golden.golden.name();
    let summaries: Vec<(String, PathBuf)> = reward_models
        .iter()
        .map(|(name, model)| (name.clone(), model.file("summary.json")))
        .collect();
    inputs.extend([&data, &test_init]);
    inputs.extend(reward_models.iter().map(|(_, model)| model));
    inputs.extend(golden.as_ref());
    let key = (&config.eval, golden_name, golden.as_ref().map(|_| batch));
    steps.stage(run, "eval", &key, &inputs, |ctx| {
        let inputs = EvalInputs {
            test: &test_prompts,
            init_samples: &test_init.file(sample::SAMPLES),
            sft_samples: &samples,
            rankers: &files,
            reward_summaries: &summaries,
            golden_name,
        };
        let scorer: Box<dyn Scorer> = match &golden {
            None => Box::new(rows::WorldScorer),
            Some(model) => Box::new(ClassifierScorer::load(model.path(), batch, device)?),
        };
        Ok::<(), Error>(afd_eval::run(&config.eval, &inputs, scorer.as_ref(), ctx)?)
    })?;
    Ok(())
}

/// Rows from the world or a file, de-duplicated, filtered and split by prompt.
fn prepare_data(
    config: &Config,
    run: &RunDir,
    steps: &Steps,
    initial: &Artifact,
) -> Result<Artifact, Stopped> {
    let data = &config.data;
    let mut inputs = vec![initial];
    let file;
    if data.source == DataSource::File {
        file = source_artifact(&data.path).map_err(Error::from)?;
        inputs.push(&file);
    }
    let key = (
        (data.source, &data.split, &data.max_rows),
        (data.max_prompt_length, data.max_completion_length),
        (data.min_completion_length, &config.read),
        (data.source == DataSource::World).then_some(&config.world),
        // Rows are told by the file's name, and its ending may pick the reader.
        data.path.file_name().map(|name| name.to_string_lossy()),
    );
    steps.stage(run, "data", &key, &inputs, |ctx: &StageContext| {
        let tokenizer = Tokenizer::load(initial.path())?;
        let prepare = data.prepare(ctx.seed());
        match data.source {
            DataSource::World => {
                let rows = rows::world(&config.world, ctx.seed()).map(Ok);
                afd_data::prepare(rows, &prepare, &tokenizer, ctx.dir())?;
            }
            DataSource::File => {
                let rows = afd_data::open(&data.path, &config.read)?;
                afd_data::prepare(rows, &prepare, &tokenizer, ctx.dir())?;
            }
        }
        Ok::<(), Error>(())
    })
}
