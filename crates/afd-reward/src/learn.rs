//! The stage that fits a reward model to pairs.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer, epoch_plan, eval_batches,
    records::{PreferenceRow, read_jsonl},
};
use afd_model::{Pretrained, SaveOptions, SequenceClassifier};
use afd_stage::{StageContext, seed::derive};
use afd_train::{Hooks, TrainConfig, evaluate, train};

use crate::{
    Error, RewardConfig,
    objective::{Pair, PairObjective},
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
    /// What it learns from: [`PreferenceRow`]s.
    pub pairs: &'a Path,
}

/// Fits the decoder of `inputs.model` with a fresh `score` head to the pairs and leaves a Hugging
/// Face sequence classifier in the stage's directory. With `config.lora` that is the model with its
/// adapters merged, and the adapters themselves, as PEFT has them, are in `adapter/`.
///
/// A share of the *prompts* is held out of the gradient; `summary.json` tells accuracy, AUC and
/// loss there. With `load_best_model_at_end` the same pairs pick the step, which flatters
/// them a little.
/// Answers are read as text: tokenised anew, the end token appended to every one, so that
/// sampled and written answers cannot be told apart by how they were split.
///
/// # Errors
/// On unreadable inputs, too few pairs, a tokenizer that does not fit the model, and a
/// training that diverges.
pub fn run(
    config: &RewardConfig,
    train_config: &TrainConfig,
    inputs: &RewardInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
    let seed = derive(ctx.seed(), "score", 0);
    let mut classifier = match &config.lora {
        None => SequenceClassifier::load(inputs.model, seed, &placement.for_training())?,
        Some(lora) => SequenceClassifier::load(inputs.model, seed, placement)?.with_lora(
            lora,
            inputs.model_name,
            derive(ctx.seed(), "lora", 0),
        )?,
    };
    // Who reads scores from padded batches has to know what the padding is; checkpoints of
    // adapters do not hold it, so it is said before the frozen model is taken.
    classifier = classifier.with_pad_token(tokenizer.pad_id());
    let checkpointing = train_config.gradient_checkpointing;
    classifier.model.set_gradient_checkpointing(checkpointing);
    let (frozen, master) = (classifier.frozen(), placement.for_training());
    let load = |dir: &Path| {
        let frozen = frozen.as_ref();
        let mut model = SequenceClassifier::load_checkpoint(frozen, dir, &master)?;
        model.model.set_gradient_checkpointing(checkpointing);
        Ok::<_, afd_model::Error>(model)
    };
    let shape = classifier.model.config();
    shape.check_vocabulary(tokenizer.vocab_size())?;
    if config.max_length > shape.context() {
        return Err(Error::MaxLength {
            max_length: config.max_length,
            context: shape.context(),
        });
    }

    let rows: Vec<PreferenceRow> = read_jsonl(inputs.pairs)?;
    let total = rows.len();
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for row in rows {
        if let Some(pair) = tokenise(config, &tokenizer, &row)? {
            // The draw belongs to the prompt, so no prompt is on both sides.
            let draw = derive(ctx.seed(), &row.prompt, 0) as f64 / u64::MAX as f64;
            let side = if draw < config.eval_fraction {
                &mut held_out
            } else {
                &mut training
            };
            side.push(pair);
        }
    }
    let usable = training.len() + held_out.len();
    if training.is_empty() || held_out.is_empty() {
        return Err(Error::TooFewPairs {
            path: inputs.pairs.into(),
            usable,
            max_length: config.max_length,
        });
    }
    let objective = |pairs| PairObjective {
        pairs,
        kind: config.objective,
        label_smoothing: config.label_smoothing,
        seed: ctx.seed(),
    };
    let (training, held_out) = (objective(training), objective(held_out));
    let lengths = |objective: &PairObjective| -> Vec<usize> {
        let longer = |pair: &Pair| pair.chosen.ids.len().max(pair.rejected.ids.len());
        objective.pairs.iter().map(longer).collect()
    };
    let train_lengths = lengths(&training);
    let plan = |epoch| {
        epoch_plan(
            &train_lengths,
            train_config.per_device_train_batch_size,
            train_config.gradient_accumulation_steps,
            ctx.seed(),
            epoch,
            true,
        )
    };
    let batches = eval_batches(&lengths(&held_out), train_config.per_device_eval_batch_size);
    let hooks = Hooks {
        dir: ctx.dir(),
        save: &|model: &SequenceClassifier, dir| Ok(model.save_checkpoint(dir)?),
        load: &|dir| Ok(load(dir)?),
        log: &|step, values| Ok(ctx.metrics().log(step, values)?),
        resumed: &|step| Ok(ctx.metrics().truncate_after(step)?),
        progress: &|done, total, tokens, note| {
            ctx.add_tokens(tokens);
            ctx.progress(done, total, "step", note);
        },
    };
    let outcome = train(
        classifier,
        &training,
        &plan,
        Some((&held_out, &batches)),
        train_config,
        &hooks,
    )?;

    let means = evaluate(&outcome.model, &held_out, &batches);
    let mean = |name: &str| means.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let summary = serde_json::json!({
        "pairs": training.pairs.len(),
        "eval_pairs": held_out.pairs.len(),
        "dropped_too_long": total - usable,
        "steps": outcome.steps,
        "eval_loss": mean("loss"),
        "eval_accuracy": mean("accuracy"),
        "eval_auc": origin_auc(&outcome.model, &held_out, &batches),
    });
    drop(frozen);
    outcome.model.save_trained(inputs.model, save, ctx.dir())?;
    tokenizer.save(ctx.dir())?;
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

fn tokenise(
    config: &RewardConfig,
    tokenizer: &Tokenizer,
    row: &PreferenceRow,
) -> Result<Option<Pair>, Error> {
    let side = |answer: &str| TokenRow::example(tokenizer, &row.prompt, answer, config.max_length);
    let (chosen, rejected) = (side(&row.chosen)?, side(&row.rejected)?);
    Ok(chosen
        .zip(rejected)
        .map(|(chosen, rejected)| Pair { chosen, rejected }))
}

/// The chance that a chosen answer scores above a rejected one of any prompt, ties half:
/// near 1 means the two origins are trivially told apart, a warning and not a success.
fn origin_auc(
    model: &SequenceClassifier,
    objective: &PairObjective,
    batches: &[Vec<usize>],
) -> f64 {
    let mut scored: Vec<(f32, bool)> = Vec::new();
    for batch in batches {
        let (chosen, rejected) = objective.logits(model, batch);
        for (logits, label) in [(chosen, true), (rejected, false)] {
            let values = logits.into_data();
            scored.extend(values.iter::<f32>().map(|value| (value, label)));
        }
    }
    auc(scored)
}

/// Area under the ROC curve by average ranks (Mann–Whitney).
fn auc(mut scored: Vec<(f32, bool)>) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scored.iter().filter(|(_, label)| *label).count() as f64;
    let negatives = scored.len() as f64 - positives;
    let mut rank_sum = 0.0;
    let mut below = 0;
    for ties in scored.chunk_by(|a, b| a.0 == b.0) {
        let rank = below as f64 + (ties.len() as f64 + 1.0) / 2.0;
        rank_sum += rank * ties.iter().filter(|(_, label)| *label).count() as f64;
        below += ties.len();
    }
    (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

#[cfg(test)]
mod tests {
    use super::auc;

    #[test]
    fn auc_on_paper() {
        // Positives 3 and 1 against negatives 2 and 1: wins 1 + 1 + 0 and a tie of ½, out of 4.
        let scored = vec![(3.0, true), (1.0, true), (2.0, false), (1.0, false)];
        assert!((auc(scored) - 2.5 / 4.0).abs() < 1e-12);
    }
}
