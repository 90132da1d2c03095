//! Training a real transformer: one step against PyTorch, twenty steps against a committed
//! trajectory, whatever the device and the size of the micro-batches.
//!
//! `AFD_UPDATE_GOLDEN=1 AFD_DEVICE=flex cargo test --workspace --test training` records the
//! trajectory anew; say in the commit why it moved.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod sft;
mod trl;

use std::fs;

use afd_backend::{Placement, device::test_device};
use afd_data::{TokenRow, eval_batches};
use afd_model::CausalLm;
use afd_sft::NegativeLogLikelihood;
use afd_tests::root;
use afd_train::{TrainConfig, evaluate};
use serde_json::{Value, json};

use sft::{Steps, close, config, fixture, rows, twenty_steps};

/// Trains the checkpoint called `name` on the test device.
fn run(name: &str, objective: &NegativeLogLikelihood, config: &TrainConfig) -> (CausalLm, Steps) {
    let placement = Placement::from(test_device());
    let model = CausalLm::load(&fixture(name), &placement).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (model, steps) = sft::run(model, &placement, objective, config, dir.path(), None);
    (model.unwrap(), steps)
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
            trained: Vec::new(),
        })
        .collect();
    let batches = eval_batches(&rows.iter().map(|row| row.ids.len()).collect::<Vec<_>>(), 8);
    let objective = NegativeLogLikelihood { rows, seed: 0 };
    let loss = |model: &CausalLm| {
        let means = evaluate(model, &objective, &batches);
        means.iter().find(|(name, _)| name == "loss").unwrap().1
    };
    for name in ["llama-tied", "llama-untied"] {
        let reference = |key: &str| expected["train_step"][name][key].as_f64().unwrap();
        let config = |epochs| TrainConfig {
            num_train_epochs: epochs,
            ..config()
        };
        let (after_one, steps) = run(name, &objective, &config(1));
        assert!(close(steps[0].0, reference("loss"), 1e-4), "{steps:?}");
        assert!(close(steps[0].1, reference("grad_norm"), 1e-4), "{steps:?}");
        assert!(close(
            loss(&after_one),
            reference("loss_after_one_step"),
            1e-4
        ));
        let (after_three, steps) = run(name, &objective, &config(3));
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

#[test]
fn twenty_steps_follow_the_committed_trajectory_whatever_the_micro_batches() {
    let path = root().join("tests/golden/sft-20-steps.json");
    let objective = NegativeLogLikelihood {
        rows: rows(),
        seed: 0,
    };
    let trajectory = |batch, accumulate| {
        let config = TrainConfig {
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulate,
            ..twenty_steps()
        };
        run("llama-tied", &objective, &config).1
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
    let golden: Steps = serde_json::from_value(golden["loss_and_grad_norm"].clone()).unwrap();
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
