//! Adapters on adapters: initial policy, fine-tuned policy and what is learned on one memory.

use std::fs;

use burn::module::Module;

use crate::{
    CausalLm, LoraConfig, Pretrained, SaveOptions, SequenceClassifier, Side, TargetModules,
    lora_tests::{adapter, base, disturbed, gradient_norms, lora},
    parity_tests::{assert_close, testdata},
    tests::host,
};
use afd_backend::device::test_device;

/// Families whose layers have tensors of their own, and one whose layers share them.
const FAMILIES: [&str; 3] = ["qwen3", "llama", "gpt2"];

fn all_linear() -> LoraConfig {
    LoraConfig {
        target_modules: TargetModules::all_linear(),
        ..lora(&[])
    }
}

/// The model that PEFT's adapter `name` is on.
fn below(name: &str) -> CausalLm {
    let text = fs::read_to_string(testdata().join("adapters/expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    base(json["cases"][name]["base"].as_str().unwrap())
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let ids: Vec<u32> = (2..20).collect();
    host(model.next_logits(&[&ids]))
}

#[test]
fn three_policies_are_on_one_memory() {
    for name in FAMILIES {
        let (initial, dir) = (below(name), adapter(name));
        let tuned = initial.clone().with_adapter(&dir).unwrap();
        let stacked = initial.clone().with_frozen_adapter(&dir).unwrap();
        assert_eq!(logits(&stacked), logits(&tuned), "{name}");
        assert_ne!(logits(&tuned), logits(&initial), "{name}");
        let fresh = stacked.with_lora(&all_linear(), name, 1).unwrap();
        // Nothing learned yet: the same to the bit, so that the KL between them is 0.
        assert_eq!(logits(&fresh), logits(&tuned), "{name}");
        let policy = disturbed(fresh);
        assert_ne!(logits(&policy), logits(&tuned), "{name}");
        assert_eq!(logits(&policy.clone().without_adapters()), logits(&tuned));
        assert_eq!(logits(&policy.frozen().unwrap()), logits(&tuned));
        assert_eq!(logits(&policy.clone().bare()), logits(&initial), "{name}");
        // No parameter but the learned ones are added.
        let alone = initial.with_lora(&all_linear(), name, 1).unwrap();
        assert_eq!(policy.num_params(), alone.num_params(), "{name}");
    }
}

#[test]
fn what_is_learned_on_top_is_what_would_be_on_the_merged_model() {
    let ids: Vec<u32> = (2..20).collect();
    let sequences = [crate::Sequence {
        ids: &ids,
        prompt_len: 5,
    }];
    for name in FAMILIES {
        let (initial, dir) = (below(name), adapter(name));
        let merged = initial
            .clone()
            .with_adapter(&dir)
            .unwrap()
            .merge_and_unload();
        let stacked = initial.with_frozen_adapter(&dir).unwrap();
        let learned = |model: CausalLm, checkpointing: bool| {
            let model = model.with_lora(&all_linear(), name, 1).unwrap();
            let mut model = disturbed(model).train();
            model.model.set_gradient_checkpointing(checkpointing);
            let loss = model.log_probs(&sequences, Side::Right).mean().neg();
            let gradients = gradient_norms(&model, &loss.clone().backward());
            (loss.into_scalar::<f32>(), gradients)
        };
        let (loss, gradients) = learned(merged, false);
        assert_eq!(gradients.len() % 2, 0, "{name}");
        for checkpointing in [false, true] {
            let (on_top, found) = learned(stacked.clone(), checkpointing);
            assert_close(&format!("{name}, stacked: loss"), &[on_top], &[loss]);
            let names = |map: &std::collections::BTreeMap<String, f32>| {
                map.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(names(&found), names(&gradients), "{name}");
            for (parameter, norm) in &gradients {
                let difference = (found[parameter] - norm).abs() / norm.max(1.0);
                assert!(difference <= 1e-4, "{name}, {parameter}: {difference}");
            }
        }
    }
}

#[test]
fn merged_and_written_it_is_the_whole() {
    for name in FAMILIES {
        let stacked = below(name).with_frozen_adapter(&adapter(name)).unwrap();
        for model in [
            stacked.clone(),
            disturbed(stacked.with_lora(&all_linear(), name, 1).unwrap()),
        ] {
            let written = tempfile::tempdir().unwrap();
            model.save(written.path(), SaveOptions::default()).unwrap();
            let read = CausalLm::load(written.path(), &test_device().into()).unwrap();
            let whole = logits(&model);
            assert_close(
                &format!("{name}, stacked and written"),
                &logits(&read),
                &whole,
            );
            let merged = model.merge_and_unload();
            assert_close(
                &format!("{name}, stacked and merged"),
                &logits(&merged),
                &whole,
            );
        }
    }
}

#[test]
fn a_policy_learned_on_top_is_written_on_the_merged_model() {
    for name in FAMILIES {
        let initial = below(name);
        let [tuned, trained] = [0; 2].map(|_| tempfile::tempdir().unwrap());
        let merged = initial.clone().with_adapter(&adapter(name)).unwrap();
        merged.save(tuned.path(), SaveOptions::default()).unwrap();
        let stacked = initial.with_frozen_adapter(&adapter(name)).unwrap();
        let policy = disturbed(stacked.with_lora(&all_linear(), "sft", 1).unwrap());
        let expected = logits(&policy);
        policy
            .save_trained(tuned.path(), SaveOptions::default(), trained.path())
            .unwrap();
        let read = CausalLm::load(trained.path(), &test_device().into()).unwrap();
        let what = format!("{name}, learned on top and written");
        assert_close(&what, &logits(&read), &expected);
    }
}

#[test]
fn what_was_left_out_is_in_again_once_it_is_taken_off() {
    let stacked = below("qwen3")
        .with_frozen_adapter(&adapter("qwen3"))
        .unwrap();
    let bare = stacked.clone().bare();
    assert_ne!(logits(&bare), logits(&stacked));
    assert_eq!(logits(&bare.unload()), logits(&stacked));
}

#[test]
fn what_cannot_be_stacked_is_refused() {
    let refused = |result: Result<CausalLm, crate::Error>| result.unwrap_err().to_string();
    let stacked = below("qwen3")
        .with_frozen_adapter(&adapter("qwen3"))
        .unwrap();
    let twice = refused(stacked.with_frozen_adapter(&adapter("qwen3")));
    assert!(twice.contains("frozen already"), "{twice}");
    // A reward model's score is trained in full: there is no score below.
    let written = tempfile::tempdir().unwrap();
    let dir = testdata().join("families/qwen3");
    let scorer = SequenceClassifier::load(&dir, 0, &test_device().into()).unwrap();
    let adapted = scorer.clone().with_lora(&all_linear(), "", 1).unwrap();
    adapted.save_adapter(written.path()).unwrap();
    let error = scorer.with_frozen_adapter(written.path()).unwrap_err();
    assert!(error.to_string().contains("modules_to_save"), "{error}");
}
