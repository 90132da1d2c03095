//! Optimiser steps: forward, backward, clipping and AdamW.

use std::{cell::RefCell, path::Path, time::Instant};

use afd_backend::Placement;
use afd_model::{CausalLm, SequenceClassifier};
use afd_reward::{
    ObjectiveKind, PairLoss,
    objective::{Pair, PairObjective},
};
use afd_sft::NegativeLogLikelihood;
use afd_train::{Hooks, Objective, SchedulerType, Snapshots, TrainConfig, train};
use burn::module::Module;

use super::{FIRST_STEP, model::rows, print};
use crate::{
    args::{BenchArgs, Variant},
    error::Error,
};

/// Optimiser steps before the clock starts: kernels are compiled and memory is taken in these.
pub(super) const WARM_UP: usize = 2;

/// Tokens a second of fine-tuning on whole rows.
pub(super) fn sft(
    args: &BenchArgs,
    variant: &Variant,
    placement: &Placement,
) -> Result<f64, Error> {
    let (batch, length) = (args.batch_size.get(), args.length.get());
    let mut model = CausalLm::init(args.shape.decoder(length), 0, &placement.for_training())?;
    model
        .model
        .set_gradient_checkpointing(variant.gradient_checkpointing);
    let objective = NegativeLogLikelihood {
        rows: rows(args, batch * (WARM_UP + args.steps.get())),
        seed: 0,
    };
    let seconds = seconds_per_step(args, model, &objective, batch)?;
    Ok((batch * length) as f64 / seconds)
}

/// Tokens a second of a reward model that learns from pairs, half a batch of them in a step.
pub(super) fn reward(
    args: &BenchArgs,
    variant: &Variant,
    placement: &Placement,
) -> Result<f64, Error> {
    let (pairs, length) = ((args.batch_size.get() / 2).max(1), args.length.get());
    let master = placement.for_training();
    let decoder = CausalLm::init(args.shape.decoder(length), 0, &master)?.model;
    let mut model = SequenceClassifier::on(decoder, 0, &master)?;
    model
        .model
        .set_gradient_checkpointing(variant.gradient_checkpointing);
    let mut answers = rows(args, 2 * pairs * (WARM_UP + args.steps.get())).into_iter();
    let pair = || Some((answers.next()?, answers.next()?));
    let objective = PairObjective {
        pairs: std::iter::from_fn(pair)
            .map(|(chosen, rejected)| Pair { chosen, rejected })
            .collect(),
        loss: PairLoss::plain(ObjectiveKind::BinaryCrossEntropy),
        seed: 0,
    };
    let seconds = seconds_per_step(args, model, &objective, pairs)?;
    Ok((2 * pairs * length) as f64 / seconds)
}

/// Seconds of a step once it is warm; each step takes the next `batch` examples.
fn seconds_per_step<M: Module, O: Objective<M>>(
    args: &BenchArgs,
    model: M,
    objective: &O,
    batch: usize,
) -> Result<f64, Error> {
    let steps = args.steps.get();
    let plan = |_| -> Vec<Vec<Vec<usize>>> {
        let step = |step: usize| vec![(step * batch..(step + 1) * batch).collect()];
        (0..WARM_UP + steps).map(step).collect()
    };
    let laps = RefCell::new(Vec::new());
    let hooks = Hooks {
        // Nothing is kept, and nothing is found to resume from.
        dir: Path::new(""),
        save: &|_: &M, _| Ok(()),
        load: &|_| Err("nothing is kept".into()),
        log: &|step, _| match step {
            1 => Ok(print(FIRST_STEP)?),
            _ => Ok(()),
        },
        resumed: &|_| Ok(()),
        progress: &|_, _, _, _| laps.borrow_mut().push(Instant::now()),
        snapshots: Snapshots::none(),
    };
    train(model, objective, &plan, None, &config(), &hooks).map_err(afd_sft::Error::from)?;
    let laps = laps.into_inner();
    let elapsed = laps[laps.len() - 1].duration_since(laps[WARM_UP - 1]);
    Ok(elapsed.as_secs_f64() / steps as f64)
}

/// AdamW at a constant rate, gradients clipped to a norm of 1.
pub(super) fn config() -> TrainConfig {
    TrainConfig {
        learning_rate: 1e-4,
        lr_scheduler_type: SchedulerType::Constant,
        warmup_ratio: 0.0,
        num_train_epochs: 1,
        max_steps: 0,
        per_device_train_batch_size: 1,
        gradient_accumulation_steps: 1,
        per_device_eval_batch_size: 1,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.999,
        adam_epsilon: 1e-8,
        gradient_checkpointing: false,
        max_grad_norm: 1.0,
        logging_steps: 1,
        eval_steps: 0,
        save_steps: 0,
        load_best_model_at_end: false,
        early_stopping_patience: 0,
    }
}
