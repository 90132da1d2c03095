//! The device that `AFD_DEVICE` names against Flex, which every build has: the same training,
//! and files that move between them.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod sft;

use std::{fs, path::Path};

use afd_backend::{
    Dtype, Placement, Precision,
    device::{open, repeats_bits, supports, test_device, test_name},
};
use afd_model::{CausalLm, DecoderConfig, Pretrained, SaveOptions, Sequence, Side};
use afd_sft::NegativeLogLikelihood;
use afd_train::TrainConfig;

use sft::{Steps, close, fixture, rows, twenty_steps};

/// Largest difference of a step's loss, and of a log-probability after twenty steps, as a share
/// or in nats where that is more; gradient norms may differ by ten times as much.
///
/// AdamW divides a gradient by its size, and with it the last bits, by which devices differ.
const TRAINED: f64 = 1e-4;

/// Largest difference between log-probabilities that the same weights give on two devices, in
/// nats.
const SAME_WEIGHTS: f64 = 2e-5;

fn flex() -> Placement {
    open("flex").unwrap().into()
}

fn device() -> Placement {
    test_device().into()
}

fn log_probs(model: &CausalLm) -> Vec<f64> {
    let rows = rows();
    let sequences: Vec<Sequence<'_>> = rows
        .iter()
        .map(|row| Sequence {
            ids: &row.ids,
            prompt_len: row.prompt_len,
        })
        .collect();
    let values = model.log_probs(&sequences, Side::Right);
    values.into_data().iter::<f64>().collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            close(*found, *expected, tolerance),
            "number {index}: {found}, expected {expected}"
        );
    }
}

fn assert_same_steps(found: &Steps, expected: &Steps) {
    let unzip = |steps: &Steps| -> (Vec<f64>, Vec<f64>) { steps.iter().copied().unzip() };
    let (found, expected) = (unzip(found), unzip(expected));
    assert_close(&found.0, &expected.0, TRAINED);
    assert_close(&found.1, &expected.1, 10.0 * TRAINED);
}

/// Twenty steps on `placement`, or what is left of them after the checkpoints in `dir`.
fn train(placement: &Placement, config: &TrainConfig, dir: &Path) -> (CausalLm, Steps) {
    let objective = NegativeLogLikelihood {
        rows: rows(),
        seed: 0,
    };
    let model = CausalLm::load(&fixture("llama-tied"), placement).unwrap();
    let (model, steps) = sft::run(model, placement, &objective, config, dir, None);
    (model.unwrap(), steps)
}

fn train_from_scratch(placement: &Placement) -> (CausalLm, Steps) {
    let dir = tempfile::tempdir().unwrap();
    train(placement, &twenty_steps(), dir.path())
}

#[test]
fn twenty_steps_are_those_of_flex() {
    let (expected, expected_steps) = train_from_scratch(&flex());
    let (found, steps) = train_from_scratch(&device());
    assert_eq!(steps.len(), 20);
    assert_same_steps(&steps, &expected_steps);
    assert_close(&log_probs(&found), &log_probs(&expected), TRAINED);
}

#[test]
fn the_same_twenty_steps_have_the_same_bits_where_a_device_promises_it() {
    let (first, second) = (train_from_scratch(&device()), train_from_scratch(&device()));
    if repeats_bits(&test_device()) {
        assert_eq!(first.1, second.1);
        assert_eq!(log_probs(&first.0), log_probs(&second.0));
    }
    assert_same_steps(&second.1, &first.1);
}

#[test]
fn recomputing_activations_changes_no_step() {
    let placement = device();
    let objective = NegativeLogLikelihood {
        rows: rows(),
        seed: 0,
    };
    let dir = tempfile::tempdir().unwrap();
    let mut model = CausalLm::load(&fixture("llama-tied"), &placement).unwrap();
    model.model.set_gradient_checkpointing(true);
    let config = twenty_steps();
    let (_, steps) = sft::run(model, &placement, &objective, &config, dir.path(), None);
    let kept = train_from_scratch(&placement).1;
    if repeats_bits(&test_device()) {
        assert_eq!(steps, kept);
    }
    assert_same_steps(&steps, &kept);
}

#[test]
fn weights_move_between_devices_bit_by_bit() {
    let config = DecoderConfig {
        vocab_size: 33,
        hidden_size: 20,
        intermediate_size: 28,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 32,
        tie_word_embeddings: false,
        initializer_range: 0.2,
        eos_token_ids: vec![0],
        ..DecoderConfig::llama(6)
    };
    for (from, to) in [(flex(), device()), (device(), flex())] {
        let [there, back] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let model = CausalLm::init(config.clone(), 7, &from).unwrap();
        model.save(there.path(), SaveOptions::default()).unwrap();
        let loaded = CausalLm::load(there.path(), &to).unwrap();
        loaded.save(back.path(), SaveOptions::default()).unwrap();
        let weights = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
        assert!(weights(there.path()) == weights(back.path()), "bits moved");
        assert_close(&log_probs(&loaded), &log_probs(&model), SAME_WEIGHTS);
    }
}

/// Killed on one device in the second epoch, resumed on the other: the optimiser's state and
/// the place in the data are found again.
#[test]
fn a_run_is_resumed_on_another_device() {
    let (expected, expected_steps) = train_from_scratch(&flex());
    let config = TrainConfig {
        save_steps: 3,
        ..twenty_steps()
    };
    let objective = NegativeLogLikelihood {
        rows: rows(),
        seed: 0,
    };
    for (first, second) in [(flex(), device()), (device(), flex())] {
        let dir = tempfile::tempdir().unwrap();
        let model = CausalLm::load(&fixture("llama-tied"), &first).unwrap();
        let (killed, before) = sft::run(model, &first, &objective, &config, dir.path(), Some(9));
        assert!(killed.is_err());
        assert_same_steps(&before, &expected_steps[..8].to_vec());
        // The last checkpoint was written after step 6.
        let (model, after) = train(&second, &config, dir.path());
        assert_same_steps(&after, &expected_steps[6..].to_vec());
        assert_close(&log_probs(&model), &log_probs(&expected), TRAINED);
    }
}

#[test]
fn bf16_trains_to_the_loss_of_f32() {
    let exact = train_from_scratch(&device()).1;
    if supports(&test_device(), Dtype::Bf16.into()).is_err() {
        return;
    }
    let precision = Precision {
        params: Dtype::F32,
        compute: Dtype::Bf16,
    };
    let placement = Placement::open(&test_name(), precision).unwrap();
    let steps = train_from_scratch(&placement.for_training()).1;
    for (step, (found, exact)) in steps.iter().zip(&exact).enumerate() {
        let share = found.0 / exact.0;
        assert!((share - 1.0).abs() < 0.02, "step {step}: {share}");
    }
}
