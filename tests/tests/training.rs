//! Training a real transformer: one step against PyTorch, twenty steps against a committed
//! trajectory, whatever the size of the micro-batches.
//!
//! `AFD_UPDATE_GOLDEN=1 cargo test --workspace --test training` records the trajectory anew;
//! say in the commit why it moved.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::{cell::RefCell, fs, path::PathBuf};

use afd_backend::device::test_device;
use afd_data::{TokenRow, epoch_plan, eval_batches};
use afd_model::CausalLm;
use afd_sft::NegativeLogLikelihood;
use afd_tests::root;
use afd_train::{Hooks, SchedulerType, TrainConfig, evaluate, train};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    root().join("crates/afd-model/testdata").join(name)
}

fn config() -> TrainConfig {
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
        max_grad_norm: 1.0,
        logging_steps: 1,
        eval_steps: 0,
        save_steps: 0,
        load_best_model_at_end: false,
        early_stopping_patience: 0,
    }
}

/// Trains `model` and returns it with `(loss, gradient norm)` of each step.
fn run(
    model: CausalLm,
    objective: &NegativeLogLikelihood,
    config: &TrainConfig,
) -> (CausalLm, Vec<(f64, f64)>) {
    let dir = tempfile::tempdir().unwrap();
    let steps = RefCell::new(Vec::new());
    let lengths: Vec<usize> = objective.rows.iter().map(|row| row.ids.len()).collect();
    let (batch, accumulate) = (
        config.per_device_train_batch_size,
        config.gradient_accumulation_steps,
    );
    let hooks = Hooks {
        dir: dir.path(),
        save: &|model: &CausalLm, dir| Ok(model.save(dir)?),
        load: &|dir| Ok(CausalLm::load(dir, &test_device())?),
        log: &|_, values| {
            let get = |name| values.iter().find(|(n, _)| *n == name).unwrap().1;
            steps
                .borrow_mut()
                .push((get("train/loss"), get("train/grad_norm")));
            Ok(())
        },
        resumed: &|_| Ok(()),
        progress: &|_, _, _, _| {},
    };
    let plan = |epoch| epoch_plan(&lengths, batch, accumulate, 5, epoch, true);
    let outcome = train(model, objective, &plan, None, config, &hooks).unwrap();
    (outcome.model, steps.into_inner())
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

#[test]
fn adamw_steps_are_pytorchs() {
    let text = fs::read_to_string(fixture("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<TokenRow> = expected["sequences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| TokenRow {
            ids: serde_json::from_value(row["ids"].clone()).unwrap(),
            prompt_len: row["prompt_len"].as_u64().unwrap() as usize,
        })
        .collect();
    let batches = eval_batches(&rows.iter().map(|row| row.ids.len()).collect::<Vec<_>>(), 8);
    let objective = NegativeLogLikelihood { rows };
    let loss = |model: &CausalLm| {
        let means = evaluate(model, &objective, &batches);
        means.iter().find(|(name, _)| name == "loss").unwrap().1
    };
    for name in ["llama-tied", "llama-untied"] {
        let reference = |key: &str| expected["train_step"][name][key].as_f64().unwrap();
        let model = CausalLm::load(&fixture(name), &test_device()).unwrap();
        let config = |epochs| TrainConfig {
            num_train_epochs: epochs,
            ..config()
        };
        let (after_one, steps) = run(model.clone(), &objective, &config(1));
        assert!(close(steps[0].0, reference("loss"), 1e-4), "{steps:?}");
        assert!(close(steps[0].1, reference("grad_norm"), 1e-4), "{steps:?}");
        assert!(close(
            loss(&after_one),
            reference("loss_after_one_step"),
            1e-4
        ));
        let (after_three, steps) = run(model, &objective, &config(3));
        assert!(
            close(steps[2].1, reference("third_grad_norm"), 1e-4),
            "{steps:?}"
        );
        assert!(close(
            loss(&after_three),
            reference("loss_after_three_steps"),
            1e-4
        ));
    }
}

/// Forty made-up rows of different lengths: five steps an epoch.
fn rows() -> Vec<TokenRow> {
    let row = |i: u32| TokenRow {
        ids: (0..6 + i % 11)
            .map(|t| 2 + (i * 7 + t * t + t * (i % 3)) % 30)
            .chain([1])
            .collect(),
        prompt_len: 2 + (i % 3) as usize,
    };
    (0..40).map(row).collect()
}

#[test]
fn twenty_steps_follow_the_committed_trajectory_whatever_the_micro_batches() {
    let path = root().join("tests/golden/sft-20-steps.json");
    let objective = NegativeLogLikelihood { rows: rows() };
    let trajectory = |batch, accumulate| {
        let config = TrainConfig {
            learning_rate: 3e-3,
            lr_scheduler_type: SchedulerType::Cosine,
            warmup_ratio: 0.1,
            num_train_epochs: 4,
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulate,
            ..config()
        };
        let model = CausalLm::load(&fixture("llama-tied"), &test_device()).unwrap();
        run(model, &objective, &config).1
    };
    if std::env::var_os("AFD_UPDATE_GOLDEN").is_some() {
        let steps: Vec<Value> = trajectory(8, 1).iter().map(|s| json!([s.0, s.1])).collect();
        fs::write(
            &path,
            format!("{:#}\n", json!({ "loss_and_grad_norm": steps })),
        )
        .unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let golden: Vec<(f64, f64)> =
        serde_json::from_value(golden["loss_and_grad_norm"].clone()).unwrap();
    assert_eq!(golden.len(), 20);
    assert!(golden[19].0 < 0.9 * golden[0].0, "nothing was learned");
    for (batch, accumulate) in [(8, 1), (1, 8), (2, 4)] {
        let steps = trajectory(batch, accumulate);
        assert_eq!(steps.len(), 20);
        for (step, (found, expected)) in steps.iter().zip(&golden).enumerate() {
            let fine = close(found.0, expected.0, 1e-4) && close(found.1, expected.1, 1e-3);
            assert!(
                fine,
                "{batch}×{accumulate}, step {step}: {found:?}, {expected:?}"
            );
        }
    }
}
