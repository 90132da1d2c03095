//! One training of a reward model, whatever it reads: batches, checkpoints, held-out logits.

use std::path::{Path, PathBuf};

use afd_data::{epoch_plan, eval_batches};
use afd_stage::StageContext;
use afd_train::{Hooks, Objective, Snapshots, TrainConfig, evaluate, train};
use burn::{Tensor, module::Module};
use serde::{Deserialize, Serialize};

use crate::Error;

/// An objective over pairs that tells the logits of both answers.
pub(crate) trait PairLogits<M>: Objective<M> {
    /// Logits of the chosen and the rejected side of some pairs, `[B]` each.
    fn logits(&self, model: &M, pairs: &[usize]) -> (Tensor<1>, Tensor<1>);

    /// Tokens of the longer side of each pair; none where pairs have no length to group them by.
    fn lengths(&self) -> Option<Vec<usize>>;

    /// How many pairs there are.
    fn len(&self) -> usize;
}

/// Which member of how many is trained, on which of the training pairs.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) of: usize,
    pub(crate) seed: u64,
    /// The training pairs it learns from, some of them more than once.
    pub(crate) pairs: Vec<usize>,
    /// Steps planned for the members before it, whose curves its own follow.
    pub(crate) steps_before: u64,
    /// Steps planned for all.
    pub(crate) steps_of_all: u64,
}

/// How many optimiser steps are planned on `pairs` of them.
pub(crate) fn planned_steps(config: &TrainConfig, pairs: usize) -> u64 {
    let batch = config.per_device_train_batch_size * config.gradient_accumulation_steps;
    let epochs = pairs.div_ceil(batch.max(1)) as u64 * config.num_train_epochs;
    match config.max_steps {
        0 => epochs,
        limit => limit.min(epochs),
    }
}

impl Member {
    /// Where it keeps its checkpoints, which are no part of the stage's result.
    fn checkpoints(&self, ctx: &StageContext) -> PathBuf {
        match self.of {
            1 => ctx.dir().to_owned(),
            _ => ctx.dir().join(format!("checkpoint-member-{}", self.number)),
        }
    }
}

/// How a model is written and read again.
pub(crate) struct Files<'a, M> {
    pub(crate) save: &'a dyn Fn(&M, &Path) -> Result<(), afd_model::Error>,
    pub(crate) load: &'a dyn Fn(&Path) -> Result<M, afd_model::Error>,
}

/// What a training left, next to its model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fitted {
    pub(crate) steps: u64,
    pub(crate) eval_loss: f64,
    /// Chosen and rejected logit of each held-out pair.
    pub(crate) logits: Vec<[f32; 2]>,
}

/// Trains `model`, or goes on where an earlier attempt was cut off.
///
/// # Errors
/// When training diverges, or a checkpoint cannot be written or read.
pub(crate) fn fit<M: Module, O: PairLogits<M>>(
    model: M,
    training: &O,
    held_out: &O,
    member: &Member,
    config: &TrainConfig,
    files: &Files<'_, M>,
    ctx: &StageContext,
) -> Result<(M, Fitted), Error> {
    let lengths: Vec<usize> = match training.lengths() {
        Some(all) => member.pairs.iter().map(|&pair| all[pair]).collect(),
        None => vec![1; member.pairs.len()],
    };
    let plan = |epoch| {
        let mut plan = epoch_plan(
            &lengths,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            member.seed,
            epoch,
            training.lengths().is_some(),
        );
        for place in plan.iter_mut().flatten().flatten() {
            *place = member.pairs[*place];
        }
        plan
    };
    let held_out_lengths = held_out
        .lengths()
        .unwrap_or_else(|| vec![1; held_out.len()]);
    let batches = eval_batches(&held_out_lengths, config.per_device_eval_batch_size);
    let checkpoints = member.checkpoints(ctx);
    std::fs::create_dir_all(&checkpoints).map_err(afd_data::Error::io("create", &checkpoints))?;
    let (before, all) = (member.steps_before, member.steps_of_all);
    let who = match member.of {
        1 => String::new(),
        of => format!("member {} of {of} ", member.number + 1),
    };
    let hooks = Hooks {
        dir: &checkpoints,
        save: &|model: &M, dir| Ok((files.save)(model, dir)?),
        load: &|dir| Ok((files.load)(dir)?),
        log: &|step, values| Ok(ctx.metrics().log(before + step, values)?),
        resumed: &|step| Ok(ctx.metrics().truncate_after(before + step)?),
        progress: &|done, _, tokens, note| {
            ctx.add_tokens(tokens);
            ctx.progress(before + done, all, "step", &format!("{who}{note}"));
        },
        snapshots: Snapshots::none(),
    };
    let evaluation = Some((held_out, &batches[..]));
    let outcome = train(model, training, &plan, evaluation, config, &hooks)?;
    let means = evaluate(&outcome.model, held_out, &batches);
    let eval_loss = means.iter().find(|(name, _)| name == "loss");
    let fitted = Fitted {
        steps: outcome.steps,
        eval_loss: eval_loss.map_or(f64::NAN, |(_, loss)| *loss),
        logits: logits(&outcome.model, held_out, &batches)?,
    };
    Ok((outcome.model, fitted))
}

/// Chosen and rejected logit of each pair.
fn logits<M, O: PairLogits<M>>(
    model: &M,
    objective: &O,
    batches: &[Vec<usize>],
) -> Result<Vec<[f32; 2]>, Error> {
    let mut out = vec![[f32::NAN; 2]; batches.iter().map(Vec::len).sum()];
    for batch in batches {
        let (chosen, rejected) = objective.logits(model, batch);
        for (side, logits) in [chosen, rejected].into_iter().enumerate() {
            let values = logits.into_data();
            for (value, &pair) in values.iter::<f32>().zip(batch) {
                out[pair][side] = value;
            }
        }
    }
    match out.iter().flatten().all(|logit| logit.is_finite()) {
        true => Ok(out),
        false => Err(afd_model::Error::NonFinite.into()),
    }
}
