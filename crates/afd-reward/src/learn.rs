//! The stage that fits a reward model to pairs.

use std::{cmp::Ordering, path::Path};

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
    fit::{Fitted, Member, planned_steps},
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
            let path = inputs.embeddings.ok_or(Error::NoEmbeddings)?;
            let fingerprint = embed::fingerprint(inputs.model)?;
            let embeddings = Embeddings::open(path, &fingerprint)?;
            let pairs = split(inputs.pairs, config, ctx.seed(), |prompt, answer| {
                Ok(embeddings.get(prompt, answer).map(<[f32]>::to_vec))
            })?;
            let description = Description::EmbeddingMlp {
                base_model_name_or_path: inputs.model_name.into(),
                base_fingerprint: fingerprint,
                dialogue_form: inputs.form,
                max_length: config.max_length,
            };
            network(config, train, &pairs, Some(description), placement, ctx)
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
    let start = |seed| classify::start(config, train, inputs, &tokenizer, seed, placement);
    // A model that cannot be had is told before any text is read.
    let mut first = Some(start(member_seed(config, ctx.seed(), 0))?);
    let pairs = split(inputs.pairs, config, ctx.seed(), |prompt, answer| {
        tokenise(config, &tokenizer, prompt, answer)
    })?;
    let members = members(config, train, &pairs, ctx.seed());
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
        let (found, fitted) = calibrated(config, member, fitted);
        let model = match found {
            Some(Temperature::Fitted { temperature, .. }) => model.with_temperature(temperature),
            _ => model,
        };
        model.save_trained(inputs.model, save, dir)?;
        tokenizer.save(dir)?;
        if config.objective == ObjectiveKind::TokenCrossEntropy {
            model::describe(dir, &Description::TokenClassifier)?;
        }
        Ok((found, fitted))
    })?;
    finish(config, &outline, &fitted, ctx)
}

/// A network on vectors; those of embeddings are `described`.
fn network(
    config: &RewardConfig,
    train: &TrainConfig,
    pairs: &Split<Vec<f32>>,
    described: Option<Description>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let members = members(config, train, pairs, ctx.seed());
    let fitted = each(&members, ctx, |member, dir| {
        let (mut mlp, fitted) =
            vectors::train_member(config, train, pairs, member, placement, ctx)?;
        let (found, fitted) = calibrated(config, member, fitted);
        if let Some(Temperature::Fitted { temperature, .. }) = found {
            mlp = mlp.with_temperature(temperature);
        }
        mlp.save(dir)?;
        let description = described
            .clone()
            .unwrap_or_else(|| Description::linear(&mlp));
        model::describe(dir, &description)?;
        Ok((found, fitted))
    })?;
    finish(config, &Outline::of(pairs), &fitted, ctx)
}

/// A single model has the stage's seed for its own.
fn member_seed(config: &RewardConfig, seed: u64, number: usize) -> u64 {
    match config.ensemble {
        None => seed,
        Some(_) => derive(seed, "member", number as u64),
    }
}

fn members<T>(
    config: &RewardConfig,
    train: &TrainConfig,
    pairs: &Split<T>,
    seed: u64,
) -> Vec<Member> {
    let of = config.members();
    let mut members: Vec<Member> = Vec::new();
    let mut steps = 0;
    for number in 0..of {
        let seed = member_seed(config, seed, number);
        let pairs = match of {
            1 => (0..pairs.training.len()).collect(),
            _ => pairs.bootstrap(seed),
        };
        let before = steps;
        steps += planned_steps(train, pairs.len());
        members.push(Member {
            number,
            of,
            seed,
            pairs,
            steps_before: before,
            steps_of_all: 0,
        });
    }
    for member in &mut members {
        member.steps_of_all = steps;
    }
    members
}

/// A finished member, as its directory holds it, and what its own logits say of their scale.
type Finished = (Option<Temperature>, Fitted);

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

/// Divides the held-out logits of a single model by the temperature that fits them best, if that is
/// asked for. The members of an ensemble stay as they are: it has one temperature for all.
fn calibrated(config: &RewardConfig, member: &Member, mut fitted: Fitted) -> Finished {
    let found = match member.of {
        1 => temperature(config, &fitted.logits),
        _ => None,
    };
    cool(&mut fitted.logits, found.as_ref());
    (found, fitted)
}

/// The temperature that fits held-out logits best, if it is asked for.
fn temperature(config: &RewardConfig, held_out: &[[f32; 2]]) -> Option<Temperature> {
    if config.temperature_scaling != Some(true) {
        return None;
    }
    let (mut logits, mut labels) = (Vec::new(), Vec::new());
    for [chosen, rejected] in held_out.iter().map(|pair| pair.map(f64::from)) {
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
    fit_temperature(&logits, &labels)
}

/// Divides logits by a temperature; one that the pairs do not tell leaves them as they are.
fn cool(logits: &mut [[f32; 2]], found: Option<&Temperature>) {
    if let Some(Temperature::Fitted { temperature, .. }) = found {
        for logit in logits.iter_mut().flatten() {
            *logit = (f64::from(*logit) / temperature) as f32;
        }
    }
}

/// What a summary tells of the pairs.
struct Outline {
    training: usize,
    rows: Vec<[usize; 2]>,
    too_long: usize,
    unpaired: usize,
}

impl Outline {
    fn of<T>(pairs: &Split<T>) -> Self {
        Self {
            training: pairs.training.len(),
            rows: pairs.held_out.iter().map(|pair| pair.rows).collect(),
            too_long: pairs.too_long,
            unpaired: pairs.unpaired,
        }
    }
}

/// Puts the members together, and writes what they make of the held-out pairs.
fn finish(
    config: &RewardConfig,
    pairs: &Outline,
    members: &[Finished],
    ctx: &StageContext,
) -> Result<(), Error> {
    let mut logits = members[0].1.logits.clone();
    let mut found = members[0].0;
    let mut spread = 0.0;
    if let Some(ensemble) = &config.ensemble {
        for (pair, logits) in logits.iter_mut().enumerate() {
            for (side, logit) in logits.iter_mut().enumerate() {
                let all: Vec<f32> = members.iter().map(|(_, m)| m.logits[pair][side]).collect();
                let (one, apart) = ensemble.aggregate(&all);
                *logit = one;
                spread += f64::from(apart);
            }
        }
        found = temperature(config, &logits);
        cool(&mut logits, found.as_ref());
        let temperature = match found {
            Some(Temperature::Fitted { temperature, .. }) => temperature,
            _ => 1.0,
        };
        spread /= temperature;
        let ensemble = ensemble.clone();
        let description = Description::Ensemble {
            ensemble,
            temperature,
        };
        model::describe(ctx.dir(), &description)?;
    }
    let mut writer = JsonlWriter::create(&ctx.dir().join(PREDICTIONS))?;
    for (&[chosen_row, rejected_row], &[chosen, rejected]) in pairs.rows.iter().zip(&logits) {
        writer.write(&Prediction {
            chosen_row,
            rejected_row,
            chosen,
            rejected,
        })?;
    }
    writer.finish()?;
    let count = logits.len() as f64;
    let right = logits
        .iter()
        .map(|[chosen, rejected]| match chosen.total_cmp(rejected) {
            Ordering::Greater => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Less => 0.0,
        });
    let right: f64 = right.sum();
    let answers: Vec<f64> = logits
        .iter()
        .flatten()
        .map(|logit| f64::from(*logit))
        .collect();
    let labels = [true, false].repeat(logits.len());
    let numbers: Vec<usize> = (0..logits.len()).flat_map(|pair| [pair; 2]).collect();
    let losses = members.iter().map(|(_, m)| m.eval_loss);
    let mut summary = serde_json::json!({
        "objective": config.objective,
        "pairs": pairs.training,
        "eval_pairs": logits.len(),
        "dropped_too_long": pairs.too_long,
        "dropped_unpaired": pairs.unpaired,
        "steps": members.iter().map(|(_, m)| m.steps).sum::<u64>(),
        // Of the members on their own, before any temperature.
        "eval_loss": losses.sum::<f64>() / members.len() as f64,
        "eval_accuracy": right / count,
        "eval_auc": auc(&answers, &labels, &numbers).map(|auc| auc.auc),
    });
    if config.ensemble.is_some() {
        summary["eval_spread"] = (spread / (2.0 * count)).into();
    }
    if let Some(found) = found {
        summary["temperature"] = serde_json::json!(found);
    }
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}
