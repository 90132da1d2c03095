//! A fine-tuning run small enough for a test: what it trains on, and the run.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::{TokenRow, epoch_plan};
use afd_model::{CausalLm, Pretrained, SaveOptions};
use afd_sft::NegativeLogLikelihood;
use afd_tests::root;
use afd_train::{Error, Hooks, SchedulerType, Snapshots, TrainConfig, train};

/// A checkpoint or expectation that `crates/afd-model/testdata/make.py` wrote.
pub(crate) fn fixture(name: &str) -> PathBuf {
    root().join("crates/afd-model/testdata").join(name)
}

/// One epoch of whole batches of eight at a constant rate.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        learning_rate: 0.01,
        lr_scheduler_type: SchedulerType::Constant,
        warmup_ratio: 0.0,
        num_train_epochs: 1,
        max_steps: 0,
        per_device_train_batch_size: 8,
        gradient_accumulation_steps: 1,
        per_device_eval_batch_size: 8,
        weight_decay: 0.01,
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

/// Twenty steps with warm-up and decay on [`rows`].
pub(crate) fn twenty_steps() -> TrainConfig {
    TrainConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: SchedulerType::Cosine,
        warmup_ratio: 0.1,
        num_train_epochs: 4,
        ..config()
    }
}

/// Forty made-up rows of different lengths: five steps an epoch.
pub(crate) fn rows() -> Vec<TokenRow> {
    let row = |i: u32| TokenRow {
        ids: (0..6 + i % 11)
            .map(|t| 2 + (i * 7 + t * t + t * (i % 3)) % 30)
            .chain([1])
            .collect(),
        prompt_len: 2 + (i % 3) as usize,
        trained: Vec::new(),
    };
    (0..40).map(row).collect()
}

/// Loss and gradient norm of each step.
pub(crate) type Steps = Vec<(f64, f64)>;

/// Trains `model`, which lives at `placement`, with checkpoints in `dir`. A run that is to end
/// `before` a step is killed there, as far as its files can tell.
pub(crate) fn run(
    model: CausalLm,
    placement: &Placement,
    objective: &NegativeLogLikelihood,
    config: &TrainConfig,
    dir: &Path,
    before: Option<u64>,
) -> (Result<CausalLm, Error>, Steps) {
    let steps = RefCell::new(Steps::new());
    let lengths: Vec<usize> = objective.rows.iter().map(|row| row.ids.len()).collect();
    let (batch, accumulate) = (
        config.per_device_train_batch_size,
        config.gradient_accumulation_steps,
    );
    let hooks = Hooks {
        dir,
        save: &|model: &CausalLm, dir| Ok(model.save(dir, SaveOptions::default())?),
        load: &|dir| Ok(CausalLm::load(dir, placement)?),
        log: &|step, values| {
            if Some(step) == before {
                return Err("killed".into());
            }
            let get = |name| values.iter().find(|(n, _)| *n == name).unwrap().1;
            steps
                .borrow_mut()
                .push((get("train/loss"), get("train/grad_norm")));
            Ok(())
        },
        resumed: &|_| Ok(()),
        progress: &|_, _, _, _| {},
        snapshots: Snapshots::none(),
    };
    let plan = |epoch| epoch_plan(&lengths, batch, accumulate, 5, epoch, true);
    let outcome = train(model, objective, &plan, None, config, &hooks);
    (outcome.map(|outcome| outcome.model), steps.into_inner())
}

/// Whether two numbers agree to a share of the second, or of 1 where that is smaller.
pub(crate) fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}
