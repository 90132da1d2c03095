//! The whole method on a page, one call per stage: the first file to read.
//!
//! What each call needs and leaves behind is in `stages.rs`, next door.

use afd_backend::Placement;
use afd_reward::pairs::PairSource;
use afd_stage::RunDir;

use crate::{
    config::{Config, Golden},
    error::Error,
    models::{Located, Models},
    rows,
    stages::Stages,
    steps::{Steps, Stopped},
};

/// Runs every stage that has something to do, in order.
///
/// # Errors
/// The first stage that fails; what is finished stays, what was begun is resumed next time.
pub(crate) fn run(
    config: &Config,
    models: &Models,
    placement: &Placement,
    run: &RunDir,
    steps: &Steps,
) -> Result<(), Error> {
    match stages(config, models, placement, run, steps) {
        Ok(()) => steps.finish(),
        Err(Stopped::AsAsked) => Ok(()),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn stages(
    config: &Config,
    models: &Models,
    placement: &Placement,
    run: &RunDir,
    steps: &Steps,
) -> Result<(), Stopped> {
    let stages = Stages {
        config,
        run,
        steps,
        placement,
    };
    let initial = models.initial.artifact()?;

    let data = stages.data(&initial)?;
    let (reward_prompts, test_prompts) = (data.file("reward.jsonl"), data.file("test.jsonl"));
    let sft = stages.sft(&initial, &data)?;

    // Reward models learn from answers to prompts that SFT did not see.
    let count = &config.generations;
    let each = count.reward_num_generations;
    let reward_init = stages.answers(
        "samples/init-reward",
        &initial,
        &data,
        &reward_prompts,
        each,
    )?;
    let reward_sft = stages.answers("samples/sft-reward", &sft, &data, &reward_prompts, each)?;
    let (few, many) = (count.init_num_generations, count.test_num_generations);
    let test_init = stages.answers("samples/init", &initial, &data, &test_prompts, few)?;
    let test_sft = stages.answers("samples/sft", &sft, &data, &test_prompts, many)?;

    // Demonstrations are all the method needs; preferences are for comparison.
    let preferences = rows::hold_preferences(&reward_prompts)?;
    let sources = PairSource::ALL
        .into_iter()
        .filter(|source| preferences || *source != PairSource::Preference);
    let pairs = sources
        .map(|source| stages.pairs(source, &data, &reward_init, &reward_sft))
        .collect::<Result<Vec<_>, _>>()?;
    let judge_pairs = match config.golden.golden {
        Golden::Judge => Some(stages.judge_pairs(&data)?),
        Golden::World | Golden::Classifier => None,
    };
    let reward_models = pairs
        .iter()
        .map(|(name, pairs)| Ok((*name, stages.reward(name, &initial, pairs)?)))
        .collect::<Result<Vec<_>, Stopped>>()?;
    let judge = judge_pairs
        .map(|pairs| stages.reward("judge", &initial, &pairs))
        .transpose()?;

    let mut scores = reward_models
        .iter()
        .map(|(name, model)| Ok((*name, stages.scores(name, model, &test_sft)?)))
        .collect::<Result<Vec<_>, Stopped>>()?;
    scores.push((
        afd_eval::CLOSED_FORM,
        stages.closed_form(&initial, &test_sft)?,
    ));
    stages.best_of_n(&scores, &test_sft)?;

    let golden = match config.golden.golden {
        Golden::World => None,
        Golden::Judge => judge,
        Golden::Classifier => models.golden.as_ref().map(Located::artifact).transpose()?,
    };
    stages.eval(
        &data,
        &test_init,
        &test_sft,
        &scores,
        &reward_models,
        golden,
    )
}
