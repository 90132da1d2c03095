//! The stage that fits a reward model to pairs.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{
    DialogueForm, Tokenizer,
    records::{JsonlReader, JsonlWriter},
};
use afd_model::{Pretrained, SaveOptions};
use afd_stage::{StageContext, seed::derive};
use afd_stats::{Temperature, auc, fit_temperature};
use afd_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Error, ObjectiveKind, RewardConfig,
    classify::{self, tokenise},
    embed::{self, Embeddings},
    fit::{Fitted, Member},
    model::{self, Description},
    objective::{Pair, PairObjective},
    split::{self, Split, split},
    vectors::{self, features},
};

/// What a reward model starts from.
#[derive(Debug, Clone, Copy)]
pub struct RewardInputs<'a> {
    /// The initial policy, a Hugging Face directory with tokenizer.
    pub model: &'a Path,
    /// What an adapter's files call it.
    pub model_name: &'a str,
    /// How dialogues are written.
    pub form: DialogueForm,
    /// What it learns from: [`afd_data::records::PreferenceRow`]s.
    pub pairs: &'a Path,
    /// The answers' embeddings that [`embed::run`] wrote, for [`Architecture::EmbeddingMlp`].
    pub embeddings: Option<&'a Path>,
}

/// The file of [`Prediction`]s in the stage's directory.
pub const PREDICTIONS: &str = "predictions.jsonl";

/// What a reward model makes of a pair that was held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The row of the file of pairs that the chosen answer is in, from 0.
    pub chosen_row: usize,
    /// The row of the rejected answer: the same, unless the rows have a prompt for each side.
    pub rejected_row: usize,
    /// The logit of the chosen answer.
    pub chosen: f32,
    /// The logit of the rejected answer.
    pub rejected: f32,
}

/// Fits a reward model to the pairs and leaves it in the stage's directory: a Hugging Face sequence
/// classifier, or what `reward_model.json` says. With `config.lora` the classifier's adapters are
/// merged, and stand, as PEFT has them, in `adapter/`. The members of an ensemble have a directory
/// each.
///
/// A share of the *prompts* is held out of the gradient; `predictions.jsonl` holds the logits there
/// and `summary.json` accuracy, AUC and loss. With `load_best_model_at_end` the same pairs pick the
/// step, and with `temperature_scaling` the scale, which flatters them a little.
/// Answers are read as text: tokenised anew, the end token appended to every one, so that
/// sampled and written answers cannot be told apart by how they were split.
///
/// # Errors
/// On unreadable inputs, too few pairs, a tokenizer that does not fit the model, embeddings of
/// another model, and a training that diverges.
pub fn run(
    config: &RewardConfig,
    train: &TrainConfig,
    inputs: &RewardInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    match config.architecture {
        Architecture::Classifier => classifier(config, train, inputs, placement, save, ctx),
        Architecture::EmbeddingMlp => {
            let fingerprint = embed::fingerprint(inputs.model)?;
            let path = inputs.embeddings.unwrap_or(Path::new(embed::EMBEDDINGS));
            let embeddings = Embeddings::open(path, &fingerprint)?;
            let pairs = split(inputs.pairs, config, ctx.seed(), |prompt, answer| {
                Ok(embeddings.get(prompt, answer).map(<[f32]>::to_vec))
            })?;
            let base = Some((inputs.model, fingerprint));
            network(config, train, &pairs, base, placement, ctx)
        }
        Architecture::Linear => {
            let read = |_: &str, answer: &str| Ok(Some(features(answer)));
            let pairs = split(inputs.pairs, config, ctx.seed(), read)?;
            network(config, train, &pairs, None, placement, ctx)
        }
    }
}

fn classifier(
    config: &RewardConfig,
    train: &TrainConfig,
    inputs: &RewardInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
    let members = |pairs: &Split<_>| members(config, pairs, ctx.seed());
    let start = |seed| classify::start(config, train, inputs, &tokenizer, seed, placement);
    // A model that cannot be had is told before any text is read.
    let mut first = Some(start(member_seed(config, ctx.seed(), 0))?);
    let pairs = split(inputs.pairs, config, ctx.seed(), |prompt, answer| {
        tokenise(config, &tokenizer, prompt, answer)
    })?;
    let members = members(&pairs);
    let outline = Outline::of(&pairs);
    let objective = |pairs: Vec<split::Pair<_>>, seed| PairObjective {
        pairs: pairs
            .into_iter()
            .map(|p| Pair {
                chosen: p.chosen,
                rejected: p.rejected,
            })
            .collect(),
        loss: config.loss(),
        seed,
    };
    let mut training = objective(pairs.training, ctx.seed());
    let held_out = objective(pairs.held_out, ctx.seed());
    let fitted = each(&members, ctx, |member, dir| {
        let model = match first.take() {
            Some(model) if member.number == 0 => model,
            _ => start(member.seed)?,
        };
        training.seed = member.seed;
        let pairs = (&training, &held_out);
        let (model, fitted) = classify::train_member(train, model, pairs, member, placement, ctx)?;
        let (temperature, fitted) = calibrated(config, fitted);
        let model = match temperature {
            Some(temperature) => model.with_temperature(temperature),
            None => model,
        };
        model.save_trained(inputs.model, save, dir)?;
        tokenizer.save(dir)?;
        Ok((temperature, fitted))
    })?;
    if let Some(ensemble) = &config.ensemble {
        model::describe(ctx.dir(), &Description::Ensemble(ensemble.clone()))?;
    }
    finish(config, &outline, &fitted, ctx)
}

/// A network on vectors; those of embeddings need the model that made them.
fn network(
    config: &RewardConfig,
    train: &TrainConfig,
    pairs: &Split<Vec<f32>>,
    base: Option<(&Path, String)>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let fitted = each(&members(config, pairs, ctx.seed()), ctx, |member, dir| {
        let (mut mlp, fitted) =
            vectors::train_member(config, train, pairs, member, placement, ctx)?;
        let (temperature, fitted) = calibrated(config, fitted);
        if let Some(temperature) = temperature {
            mlp = mlp.with_temperature(temperature);
        }
        mlp.save(dir)?;
        let description = match &base {
            Some((path, fingerprint)) => Description::EmbeddingMlp {
                base_model_name_or_path: path.to_path_buf(),
                base_fingerprint: fingerprint.clone(),
                max_length: config.max_length,
            },
            None => Description::linear(&mlp),
        };
        model::describe(dir, &description)?;
        Ok((temperature, fitted))
    })?;
    if let Some(ensemble) = &config.ensemble {
        model::describe(ctx.dir(), &Description::Ensemble(ensemble.clone()))?;
    }
    finish(config, &Outline::of(pairs), &fitted, ctx)
}

/// A single model has the stage's seed for its own.
fn member_seed(config: &RewardConfig, seed: u64, number: usize) -> u64 {
    match config.ensemble {
        None => seed,
        Some(_) => derive(seed, "member", number as u64),
    }
}

fn members<T>(config: &RewardConfig, pairs: &Split<T>, seed: u64) -> Vec<Member> {
    let of = config.members();
    let member = |number| {
        let seed = member_seed(config, seed, number);
        let pairs = match of {
            1 => (0..pairs.training.len()).collect(),
            _ => pairs.bootstrap(seed),
        };
        Member {
            number,
            of,
            seed,
            pairs,
        }
    };
    (0..of).map(member).collect()
}

/// A finished member, as its directory holds it.
type Finished = (Option<f64>, Fitted);

/// Trains the members that no earlier attempt finished.
fn each(
    members: &[Member],
    ctx: &StageContext,
    mut train: impl FnMut(&Member, &Path) -> Result<Finished, Error>,
) -> Result<Vec<Finished>, Error> {
    let mut all = Vec::new();
    for member in members {
        if member.of == 1 {
            return Ok(vec![train(member, ctx.dir())?]);
        }
        let name = model::member_dir(member.number);
        let dir = ctx.dir().join(&name);
        // Outside of the result, as checkpoints are: it is there when the member's files are.
        let done = ctx.dir().join(format!("checkpoint-{name}.json"));
        let finished = match done.exists() {
            true => JsonlReader::open(&done)?.next().transpose()?,
            false => None,
        };
        let finished = match finished {
            Some(finished) => finished,
            None => {
                std::fs::create_dir_all(&dir).map_err(afd_data::Error::io("create", &dir))?;
                let finished = train(member, &dir)?;
                let mut writer = JsonlWriter::create(&done)?;
                writer.write(&finished)?;
                writer.finish()?;
                finished
            }
        };
        all.push(finished);
    }
    Ok(all)
}

/// Divides held-out logits by the temperature that fits them best, if that is asked for.
fn calibrated(config: &RewardConfig, mut fitted: Fitted) -> Finished {
    if config.temperature_scaling != Some(true) {
        return (None, fitted);
    }
    let (mut logits, mut labels) = (Vec::new(), Vec::new());
    for [chosen, rejected] in fitted.logits.iter().map(|pair| pair.map(f64::from)) {
        match config.objective {
            // Only differences mean anything to it.
            ObjectiveKind::BradleyTerry => {
                logits.push(chosen - rejected);
                labels.push(true);
            }
            _ => {
                logits.extend([chosen, rejected]);
                labels.extend([true, false]);
            }
        }
    }
    let Some(Temperature::Fitted { temperature, .. }) = fit_temperature(&logits, &labels) else {
        // The pairs say nothing of the scale.
        return (None, fitted);
    };
    for logit in fitted.logits.iter_mut().flatten() {
        *logit = (f64::from(*logit) / temperature) as f32;
    }
    (Some(temperature), fitted)
}

/// What a summary tells of the pairs.
struct Outline {
    training: usize,
    rows: Vec<[usize; 2]>,
    too_long: usize,
}

impl Outline {
    fn of<T>(pairs: &Split<T>) -> Self {
        Self {
            training: pairs.training.len(),
            rows: pairs.held_out.iter().map(|pair| pair.rows).collect(),
            too_long: pairs.too_long,
        }
    }
}

fn finish(
    config: &RewardConfig,
    pairs: &Outline,
    members: &[Finished],
    ctx: &StageContext,
) -> Result<(), Error> {
    let together = |pair: usize, side: usize| {
        let logits: Vec<f32> = members.iter().map(|(_, m)| m.logits[pair][side]).collect();
        match &config.ensemble {
            Some(ensemble) => ensemble.aggregate(&logits),
            None => (logits[0], 0.0),
        }
    };
    let (mut logits, mut spread, mut right) = (Vec::new(), 0.0, 0);
    let mut writer = JsonlWriter::create(&ctx.dir().join(PREDICTIONS))?;
    for (pair, &[chosen_row, rejected_row]) in pairs.rows.iter().enumerate() {
        let ((chosen, a), (rejected, b)) = (together(pair, 0), together(pair, 1));
        logits.extend([chosen, rejected].map(f64::from));
        spread += f64::from(a + b) / 2.0;
        right += usize::from(chosen > rejected);
        writer.write(&Prediction {
            chosen_row,
            rejected_row,
            chosen,
            rejected,
        })?;
    }
    writer.finish()?;
    let count = pairs.rows.len() as f64;
    let labels = [true, false].repeat(pairs.rows.len());
    let numbers: Vec<usize> = (0..pairs.rows.len()).flat_map(|pair| [pair; 2]).collect();
    let mean =
        |of: &dyn Fn(&Finished) -> f64| members.iter().map(of).sum::<f64>() / members.len() as f64;
    let mut summary = serde_json::json!({
        "pairs": pairs.training,
        "eval_pairs": pairs.rows.len(),
        "dropped_too_long": pairs.too_long,
        "steps": members.iter().map(|(_, m)| m.steps).sum::<u64>(),
        "eval_loss": mean(&|(_, m)| m.eval_loss),
        "eval_accuracy": right as f64 / count,
        "eval_auc": auc(&logits, &labels, &numbers).map(|auc| auc.auc),
    });
    if config.ensemble.is_some() {
        summary["eval_spread"] = (spread / count).into();
    }
    if config.temperature_scaling == Some(true) {
        let temperatures: Vec<_> = members
            .iter()
            .map(|(temperature, _)| *temperature)
            .collect();
        summary["temperatures"] = temperatures.into();
    }
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}
