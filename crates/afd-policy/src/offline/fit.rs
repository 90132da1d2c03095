//! One training of a policy on stored answers, resuming from its checkpoints.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{epoch_plan, eval_batches};
use afd_model::{CausalLm, Pretrained};
use afd_stage::StageContext;
use afd_train::{Hooks, Objective, Snapshots, TrainConfig, evaluate, train};

use crate::Error;

/// What batches are planned by.
pub(crate) trait Lengths {
    /// Tokens of each example's longest row.
    fn lengths(&self) -> Vec<usize>;
}

/// What a training left, next to its model.
pub(crate) struct Fitted {
    pub(crate) steps: u64,
    /// The loss of the examples held out, and whatever else the objective tells of them.
    pub(crate) held_out: Vec<(String, f64)>,
}

/// Trains `model`, or goes on where an earlier attempt was cut off. Rows of similar length go into
/// one batch.
///
/// # Errors
/// When training diverges, or a checkpoint cannot be written or read.
pub(crate) fn fit<O: Objective<CausalLm> + Lengths>(
    mut model: CausalLm,
    training: &O,
    held_out: &O,
    config: &TrainConfig,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(CausalLm, Fitted), Error> {
    let checkpointing = config.gradient_checkpointing;
    model.model.set_gradient_checkpointing(checkpointing);
    let (frozen, placement) = (model.frozen(), placement.for_training());
    let load = |dir: &Path| {
        let mut model = CausalLm::load_checkpoint(frozen.as_ref(), dir, &placement)?;
        model.model.set_gradient_checkpointing(checkpointing);
        Ok::<_, afd_model::Error>(model)
    };
    let lengths = training.lengths();
    let plan = |epoch| {
        epoch_plan(
            &lengths,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            ctx.seed(),
            epoch,
            true,
        )
    };
    let batches = eval_batches(&held_out.lengths(), config.per_device_eval_batch_size);
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
        snapshots: Snapshots::none(),
    };
    let evaluation = Some((held_out, &batches[..]));
    let outcome = train(model, training, &plan, evaluation, config, &hooks)?;
    let fitted = Fitted {
        steps: outcome.steps,
        held_out: evaluate(&outcome.model, held_out, &batches),
    };
    Ok((outcome.model, fitted))
}
