//! The stage: a checkpoint and demonstrations in, a fine-tuned checkpoint out.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer, encode_all, epoch_plan, eval_batches,
    records::{Example, read_jsonl},
};
use afd_model::{CausalLm, Pretrained, SaveOptions};
use afd_stage::{StageContext, seed::derive};
use afd_train::{BoxError, Hooks, Outcome, Snapshots, TrainConfig, train};

use crate::{Error, NegativeLogLikelihood, SftConfig};

/// What SFT starts from.
#[derive(Debug, Clone, Copy)]
pub struct SftInputs<'a> {
    /// The initial policy, a Hugging Face directory with tokenizer.
    pub model: &'a Path,
    /// What an adapter's files call it.
    pub model_name: &'a str,
    /// How dialogues are written.
    pub form: DialogueForm,
    /// Demonstrations to train on: [`Example`] rows.
    pub demonstrations: &'a Path,
    /// Demonstrations to evaluate on.
    pub validation: &'a Path,
}

/// Fine-tunes `inputs.model` and leaves a Hugging Face directory in the stage's directory. With
/// `config.lora` that is the model with its adapters merged, and the adapters themselves, as PEFT
/// has them, are in `adapter/`.
///
/// # Errors
/// On unreadable inputs, a tokenizer that does not fit the model, no usable example, and a
/// training that diverges.
pub fn run(
    config: &SftConfig,
    train_config: &TrainConfig,
    inputs: &SftInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
    let model = match &config.lora {
        None => CausalLm::load(inputs.model, &placement.for_training())?,
        Some(lora) => {
            let seed = derive(ctx.seed(), "lora", 0);
            CausalLm::load(inputs.model, placement)?.with_lora(lora, inputs.model_name, seed)?
        }
    };
    model.config().check_vocabulary(tokenizer.vocab_size())?;
    // What ends an answer here must end it wherever the model goes.
    let model = model.with_end_tokens(tokenizer.eos_ids());
    let (mut too_long, mut empty) = (0, 0);
    let mut rows = |path: &Path| -> Result<NegativeLogLikelihood, Error> {
        let mut examples: Vec<Example> = read_jsonl(path)?;
        examples.retain(|example| example.completion.is_some());
        // Without a dialogue there is no turn to train on.
        let all = examples.len();
        examples.retain(|example| !config.assistant_only_loss || !example.messages.is_empty());
        empty += all - examples.len();
        let mut rows = tokenise(config, &tokenizer, &examples)?;
        too_long += examples.len() - rows.len();
        let read = rows.len();
        rows.retain(|row| row.mask().iter().skip(1).any(|trained| *trained));
        empty += read - rows.len();
        if rows.is_empty() {
            return Err(Error::NoExamples {
                path: path.into(),
                max_length: config.max_length,
            });
        }
        let seed = ctx.seed();
        Ok(NegativeLogLikelihood { rows, seed })
    };
    let (training, validation) = (rows(inputs.demonstrations)?, rows(inputs.validation)?);
    let keep = |model: CausalLm, name: &str| -> Result<(), BoxError> {
        let dir = ctx.dir().join(name);
        std::fs::create_dir_all(&dir)?;
        model.save_trained(inputs.model, save, &dir)?;
        Ok(tokenizer.save(&dir)?)
    };
    let snapshots = Snapshots {
        shares: &config.snapshots,
        write: &|model, share| keep(model, &snapshot_dir(share)),
        moving_average: config.moving_average,
    };
    let outcome = train_model(
        model,
        &training,
        &validation,
        config,
        train_config,
        snapshots,
        placement,
        ctx,
    )?;
    if let Some(average) = outcome.moving_average {
        keep(average, MOVING_AVERAGE).map_err(afd_train::Error::Hook)?;
    }
    outcome.model.save_trained(inputs.model, save, ctx.dir())?;
    tokenizer.save(ctx.dir())?;
    let summary = serde_json::json!({
        "examples": training.rows.len(),
        "eval_examples": validation.rows.len(),
        "dropped_too_long": too_long,
        "dropped_nothing_to_train": empty,
        "steps": outcome.steps,
        "eval_loss": outcome.eval_loss,
    });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// Where the policy of averaged weights stands in the stage's directory.
pub const MOVING_AVERAGE: &str = "moving-average";

/// Where a policy from under way stands in the stage's directory, by the share of the training that
/// was behind.
pub fn snapshot_dir(share: f64) -> String {
    format!("snapshot-{share}")
}

fn tokenise(
    config: &SftConfig,
    tokenizer: &Tokenizer,
    examples: &[Example],
) -> Result<Vec<TokenRow>, afd_data::Error> {
    let rows = encode_all(examples, |example| {
        let Some(completion) = example.completion.as_deref() else {
            return Ok(None);
        };
        if config.assistant_only_loss {
            TokenRow::dialogue(tokenizer, &example.messages, config.max_length)
        } else if config.completion_only_loss {
            TokenRow::example(tokenizer, &example.prompt, completion, config.max_length)
        } else {
            let text = format!("{}{completion}", example.prompt);
            TokenRow::text(tokenizer, &text, config.max_length)
        }
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// Trains any language model on token rows within a stage, resuming from its checkpoints.
///
/// # Errors
/// [`Error::MaxLength`] when the rows may exceed the model's context, and those of
/// [`afd_train::train`].
#[allow(clippy::too_many_arguments, reason = "what a training consists of")]
pub fn train_model(
    mut model: CausalLm,
    training: &NegativeLogLikelihood,
    validation: &NegativeLogLikelihood,
    config: &SftConfig,
    train_config: &TrainConfig,
    snapshots: Snapshots<'_, CausalLm>,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<Outcome<CausalLm>, Error> {
    let context = model.config().context();
    if config.max_length > context {
        return Err(Error::MaxLength {
            max_length: config.max_length,
            context,
        });
    }
    let checkpointing = train_config.gradient_checkpointing;
    model.model.set_gradient_checkpointing(checkpointing);
    let (frozen, placement) = (model.frozen(), placement.for_training());
    let load = |dir: &Path| {
        let mut model = CausalLm::load_checkpoint(frozen.as_ref(), dir, &placement)?;
        model.model.set_gradient_checkpointing(checkpointing);
        Ok::<_, afd_model::Error>(model)
    };
    let lengths = |objective: &NegativeLogLikelihood| -> Vec<usize> {
        objective.rows.iter().map(|row| row.ids.len()).collect()
    };
    let train_lengths = lengths(training);
    let plan = |epoch| {
        epoch_plan(
            &train_lengths,
            train_config.per_device_train_batch_size,
            train_config.gradient_accumulation_steps,
            ctx.seed(),
            epoch,
            config.group_by_length,
        )
    };
    let batches = eval_batches(
        &lengths(validation),
        train_config.per_device_eval_batch_size,
    );
    let hooks = Hooks {
        dir: ctx.dir(),
        save: &|model: &CausalLm, dir| Ok(model.save_checkpoint(dir)?),
        load: &|dir| Ok(load(dir)?),
        log: &|step, values| Ok(ctx.metrics().log(step, values)?),
        resumed: &|step| Ok(ctx.metrics().truncate_after(step)?),
        progress: &|done, total, tokens, note| {
            ctx.add_tokens(tokens);
            ctx.progress(done, total, "step", note);
        },
        snapshots,
    };
    Ok(train(
        model,
        training,
        &plan,
        Some((validation, &batches)),
        train_config,
        &hooks,
    )?)
}
