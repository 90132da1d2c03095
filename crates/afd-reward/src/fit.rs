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

    /// Tokens of the longer side of each pair.
    fn lengths(&self) -> Vec<usize>;
}

/// Which member of how many is trained, on which of the training pairs.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) of: usize,
    pub(crate) seed: u64,
    /// The training pairs it learns from, some of them more than once.
    pub(crate) pairs: Vec<usize>,
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
    let all = training.lengths();
    let lengths: Vec<usize> = member.pairs.iter().map(|&pair| all[pair]).collect();
    let plan = |epoch| {
        let mut plan = epoch_plan(
            &lengths,
            config.per_device_train_batch_size,
            config.gradient_accumulation_steps,
            member.seed,
            epoch,
            true,
        );
        for place in plan.iter_mut().flatten().flatten() {
            *place = member.pairs[*place];
        }
        plan
    };
    let batches = eval_batches(&held_out.lengths(), config.per_device_eval_batch_size);
    let checkpoints = member.checkpoints(ctx);
    std::fs::create_dir_all(&checkpoints).map_err(afd_data::Error::io("create", &checkpoints))?;
    // Curves of several members follow one another.
    let epochs = plan(0).len() as u64 * config.num_train_epochs;
    let steps = match config.max_steps {
        0 => epochs,
        limit => limit.min(epochs),
    };
    let before = member.number as u64 * steps;
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
        progress: &|done, total, tokens, note| {
            ctx.add_tokens(tokens);
            let all = total * member.of as u64;
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
