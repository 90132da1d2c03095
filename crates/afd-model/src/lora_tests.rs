//! Adapters: against PEFT on files it wrote itself, and what they promise of the model below.
//!
//! `testdata/adapters/make.py` made the files; it says with which versions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use afd_backend::device::test_device;
use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::Gradients,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    CausalLm, LoraConfig, Pretrained, SaveOptions, SequenceClassifier, Side, TargetModules,
    families_tests::tensors,
    lora::ends_in,
    parity_tests::{
        Classifier, Ids, LanguageModel, assert_close, check_logits, record, sequences, testdata,
    },
    save::in_adapter,
    tests::host,
};

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Ids>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    #[serde(flatten)]
    of: Kind,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kind {
    Causal {
        #[serde(flatten)]
        model: LanguageModel,
        loss: f32,
        gradients: BTreeMap<String, f32>,
    },
    Score(Classifier),
}

fn expected() -> Expected {
    let text = fs::read_to_string(testdata().join("adapters/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn adapter(name: &str) -> PathBuf {
    testdata().join("adapters").join(name)
}

pub(crate) fn base(name: &str) -> CausalLm {
    CausalLm::load(
        &testdata().join("families").join(name),
        &test_device().into(),
    )
    .unwrap()
}

fn classifier(name: &str) -> SequenceClassifier {
    let dir = testdata().join("families").join(name);
    SequenceClassifier::load(&dir, 0, &test_device().into()).unwrap()
}

pub(crate) fn lora(targets: &[&str]) -> LoraConfig {
    LoraConfig {
        r: 2,
        lora_alpha: 6.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Named(targets.iter().map(|t| (*t).to_owned()).collect()),
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        modules_to_save: Vec::new(),
    }
}

fn all_linear() -> LoraConfig {
    LoraConfig {
        target_modules: TargetModules::all_linear(),
        ..lora(&[])
    }
}

/// Gives every factor other values, few of them zero.
pub(crate) fn disturbed<M: Module>(model: M) -> M {
    #[derive(Default)]
    struct Disturb(u32, Vec<String>);
    impl ModuleMapper for Disturb {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }
        fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
            if !in_adapter(&self.1) {
                return param;
            }
            param.map(|tensor| {
                self.0 += 1;
                let count = tensor.dims().iter().product::<usize>() as u32;
                let values =
                    (0..count).map(|i| ((i * 37 + self.0 * 101) % 19) as f32 / 19.0 - 0.43);
                let data = burn::tensor::TensorData::new(values.collect(), tensor.dims());
                Tensor::from_data(data, &tensor.device())
            })
        }
    }
    model.map(&mut Disturb::default())
}

#[test]
fn adapters_compute_what_peft_does_and_merged_ones_too() {
    let expected = expected();
    let sequences = sequences(&expected.sequences);
    for (name, case) in &expected.cases {
        match &case.of {
            Kind::Causal { model, .. } => {
                let adapted = base(&case.base).with_adapter(&adapter(name)).unwrap();
                let what = format!("{name}, adapter");
                check_logits(&what, &adapted, &sequences, model, true);
                let written = tempfile::tempdir().unwrap();
                adapted
                    .save(written.path(), SaveOptions::default())
                    .unwrap();
                let read = CausalLm::load(written.path(), &test_device().into()).unwrap();
                let laid_out = adapted.for_drawing().merge_and_unload();
                for merged in [read, laid_out, adapted.merge_and_unload()] {
                    check_logits(&format!("{name}, merged"), &merged, &sequences, model, true);
                }
            }
            Kind::Score(reference) => {
                let adapted = classifier(&case.base).with_adapter(&adapter(name)).unwrap();
                let scores = |model: &SequenceClassifier| model.score_all(&sequences, 2).unwrap();
                let what = format!("{name}, adapter: scores");
                assert_close(&what, &scores(&adapted), &reference.scores);
                let what = format!("{name}, merged: scores");
                assert_close(
                    &what,
                    &scores(&adapted.merge_and_unload()),
                    &reference.scores,
                );
            }
        }
    }
}

/// The Euclidean norm of each gradient, by the name the parameter has here.
pub(crate) fn gradient_norms<M: Module>(model: &M, gradients: &Gradients) -> BTreeMap<String, f32> {
    struct Norms<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        norms: BTreeMap<String, f32>,
    }
    impl ModuleVisitor for Norms<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            if let Some(gradient) = param.base().grad(self.gradients) {
                let norm = gradient.square().sum().sqrt().into_scalar::<f32>();
                self.norms.insert(self.path.join("."), norm);
            }
        }
    }
    let mut norms = Norms {
        gradients,
        path: Vec::new(),
        norms: BTreeMap::new(),
    };
    model.visit(&mut norms);
    norms.norms
}

#[test]
fn losses_and_gradients_are_those_of_peft() {
    let expected = expected();
    let sequences = sequences(&expected.sequences);
    // Where layers share a tensor, factors are tied there and not here.
    for name in ["llama", "qwen3", "mistral"] {
        let case = &expected.cases[name];
        let Kind::Causal {
            loss, gradients, ..
        } = &case.of
        else {
            panic!("{name} is a language model");
        };
        let model = base(&case.base).with_adapter(&adapter(name)).unwrap();
        let model = model.train();
        let ours = model.log_probs(&sequences, Side::Right).mean().neg();
        assert_close(
            &format!("{name}, adapter: loss"),
            &[ours.clone().into_scalar::<f32>()],
            &[*loss],
        );
        let ours = gradient_norms(&model, &ours.backward());
        assert_eq!(ours.len(), gradients.len(), "{name}: {ours:?}");
        for (theirs, norm) in gradients {
            let ours = ours.iter().find(|(ours, _)| {
                let ours = ours.replace(".weight.lora.a", ".lora_A.weight");
                ends_in(theirs, &ours.replace(".weight.lora.b", ".lora_B.weight"))
            });
            let (_, ours) = ours.unwrap_or_else(|| panic!("{name}: no gradient for {theirs}"));
            let difference = (ours - norm).abs() / norm.max(1.0);
            record(&format!("{name}, adapter: gradients"), difference, 1e-4);
            assert!(
                difference <= 1e-4,
                "{name}, {theirs}: {ours} here, {norm} in PEFT"
            );
        }
    }
}

#[test]
fn what_peft_wrote_is_written_again_bit_by_bit() {
    for (name, case) in &expected().cases {
        let written = tempfile::tempdir().unwrap();
        let dir = adapter(name);
        match &case.of {
            Kind::Causal { .. } => base(&case.base)
                .with_adapter(&dir)
                .unwrap()
                .save_adapter(written.path())
                .unwrap(),
            Kind::Score(_) => classifier(&case.base)
                .with_adapter(&dir)
                .unwrap()
                .save_adapter(written.path())
                .unwrap(),
        }
        let file = "adapter_model.safetensors";
        let (ours, theirs) = (
            tensors(&written.path().join(file)),
            tensors(&dir.join(file)),
        );
        let names = |tensors: &BTreeMap<String, _>| tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{name}");
        assert!(ours == theirs, "{name}: shapes or bits differ");
        let json = |dir: &Path| -> Value {
            serde_json::from_str(&fs::read_to_string(dir.join("adapter_config.json")).unwrap())
                .unwrap()
        };
        let (ours, theirs) = (json(written.path()), json(&dir));
        for key in [
            "peft_type",
            "task_type",
            "r",
            "lora_alpha",
            "use_rslora",
            "fan_in_fan_out",
        ] {
            assert_eq!(ours[key], theirs[key], "{name}: {key}");
        }
        assert_eq!(ours["base_model_name_or_path"], json!(case.base), "{name}");
    }
}

/// What `cargo xtask parity` has other libraries load: every checkpoint and adapter, written by us,
/// and adapters that only we have, with what they compute. Here our own reader has to do.
#[test]
fn what_is_written_for_others_is_read_again() {
    let elsewhere = tempfile::tempdir().unwrap();
    let ours = match std::env::var_os("AFD_PARITY") {
        Some(made) => PathBuf::from(made).join("ours"),
        None => elsewhere.path().to_owned(),
    };
    let fresh = |kind: &str, name: &str| {
        let dir = ours.join(kind).join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    let options = SaveOptions {
        max_shard_size: 4096,
        ..SaveOptions::default()
    };
    let expected = expected();
    let sequences = sequences(&expected.sequences);
    let placement = test_device().into();
    let logits = |model: &CausalLm| -> Vec<Vec<f32>> {
        let all = sequences.iter();
        all.map(|sequence| host(model.next_logits(&[sequence.ids])))
            .collect()
    };
    for entry in fs::read_dir(testdata().join("families")).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().join("config.json").exists() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        match name.as_str() {
            name if name.ends_with("-score") => {
                let dir = fresh("families", name);
                classifier(name).save(&dir, options).unwrap();
                let read = SequenceClassifier::load(&dir, 0, &placement).unwrap();
                let scores = |model: &SequenceClassifier| host(model.scores(&sequences));
                assert_eq!(scores(&read), scores(&classifier(name)), "{name}");
            }
            name => {
                let dir = fresh("families", name);
                base(name).save(&dir, options).unwrap();
                let read = CausalLm::load(&dir, &placement).unwrap();
                assert_eq!(logits(&read), logits(&base(name)), "{name}");
            }
        }
    }
    for (name, case) in &expected.cases {
        let (from, to) = (adapter(name), fresh("adapters", name));
        match &case.of {
            Kind::Causal { .. } => {
                let model = base(&case.base).with_adapter(&from).unwrap();
                model.save_adapter(&to).unwrap();
            }
            Kind::Score(_) => {
                let model = classifier(&case.base).with_adapter(&from).unwrap();
                model.save_adapter(&to).unwrap();
            }
        }
    }
    for name in ["llama-bias", "gpt2", "neox", "phi3"] {
        let model = disturbed(base(name).with_lora(&all_linear(), name, 3).unwrap());
        let dir = fresh("adapted", name);
        model.save_adapter(&dir).unwrap();
        let logits = json!(logits(&model));
        fs::write(dir.join("logits.json"), logits.to_string()).unwrap();
    }
}

#[test]
fn fused_layers_are_one_adapter_on_disk_that_computes_the_same() {
    for name in ["gpt2", "neox", "phi3"] {
        let model = disturbed(base(name).with_lora(&all_linear(), name, 3).unwrap());
        let written = tempfile::tempdir().unwrap();
        model.save_adapter(written.path()).unwrap();
        let read = base(name).with_adapter(written.path()).unwrap();
        let ids: Vec<u32> = (2..20).collect();
        let logits = |model: &CausalLm| host(model.next_logits(&[&ids]));
        assert_close(
            &format!("{name}, fused adapter"),
            &logits(&read),
            &logits(&model),
        );
        assert_ne!(logits(&read), logits(&base(name)), "{name}");
        // Three parts of rank 2 in one tensor, and a layer of its own.
        let tensors = tensors(&written.path().join("adapter_model.safetensors"));
        let rank = |end: &str| {
            let end = format!("{end}.lora_A.weight");
            let mut found = tensors.iter().filter(|(name, _)| name.ends_with(&end));
            found.next().unwrap().1.0[0]
        };
        let (fused, plain) = match name {
            "gpt2" => ("0.attn.c_attn", "0.attn.c_proj"),
            "neox" => ("0.attention.query_key_value", "0.attention.dense"),
            _ => ("0.self_attn.qkv_proj", "0.self_attn.o_proj"),
        };
        assert_eq!((rank(fused), rank(plain)), (6, 2), "{name}");
    }
}

#[test]
fn a_checkpoint_of_a_training_has_the_adapters_as_they_are() {
    // An optimiser's state is of these shapes: nothing may be joined.
    for name in ["gpt2", "neox", "phi3", "qwen3"] {
        let patterned = LoraConfig {
            alpha_pattern: match name {
                "gpt2" => BTreeMap::from([("c_attn".into(), 5.0)]),
                _ => BTreeMap::new(),
            },
            ..all_linear()
        };
        let model = disturbed(base(name).with_lora(&patterned, name, 3).unwrap());
        let dirs = [0; 2].map(|_| tempfile::tempdir().unwrap());
        model.save_checkpoint(dirs[0].path()).unwrap();
        let frozen = model.frozen();
        let placement = test_device().into();
        let read = CausalLm::load_checkpoint(frozen.as_ref(), dirs[0].path(), &placement).unwrap();
        assert_eq!(read.num_params(), model.num_params(), "{name}");
        let ids: Vec<u32> = (2..20).collect();
        let logits = |model: &CausalLm| host(model.next_logits(&[&ids]));
        assert_eq!(logits(&read), logits(&model), "{name}");
        read.save_checkpoint(dirs[1].path()).unwrap();
        let [first, second] =
            dirs.map(|dir| tensors(&dir.path().join("adapter_model.safetensors")));
        assert!(first == second, "{name}");
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_leaves_the_model_below_alone() {
    let ids: Vec<u32> = (2..20).collect();
    let logits = |model: &CausalLm| host(model.next_logits(&[&ids]));
    let plain = base("qwen3");
    let fresh = plain.clone().with_lora(&all_linear(), "qwen3", 1).unwrap();
    assert_eq!(logits(&fresh), logits(&plain));
    // Policy and reference of one base, and the base itself again, to the bit.
    let policy = disturbed(fresh);
    assert_ne!(logits(&policy), logits(&plain));
    assert_eq!(logits(&policy.clone().without_adapters()), logits(&plain));
    assert_eq!(logits(&policy.frozen().unwrap()), logits(&plain));
    assert!(plain.frozen().is_none());
    // The draw depends on seed and name alone.
    let first = |model: &CausalLm| {
        let written = tempfile::tempdir().unwrap();
        model.save_adapter(written.path()).unwrap();
        tensors(&written.path().join("adapter_model.safetensors"))
    };
    let few = plain.clone().with_lora(&lora(&["q_proj"]), "", 1).unwrap();
    let all = plain.clone().with_lora(&all_linear(), "", 1).unwrap();
    let other = plain.with_lora(&all_linear(), "", 2).unwrap();
    let [few, all, other] = [few, all, other].map(|model| first(&model));
    let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
    assert_eq!(few[name], all[name]);
    assert_ne!(other[name], all[name]);
    assert_eq!(all.len(), 2 * 7 * 2);
}

#[test]
fn a_reward_model_shares_the_policys_decoder() {
    let policy = base("qwen3");
    let placement = test_device().into();
    let reward = SequenceClassifier::on(policy.model.clone(), 5, &placement).unwrap();
    let fresh = testdata().join("families/qwen3");
    let alone = SequenceClassifier::load(&fresh, 5, &placement).unwrap();
    let ids: Vec<u32> = (2..20).collect();
    let sequence = crate::Sequence {
        ids: &ids,
        prompt_len: 3,
    };
    assert_eq!(
        host(reward.scores(&[sequence])),
        host(alone.scores(&[sequence]))
    );
}

#[test]
fn dropout_is_drawn_anew_for_each_seed_and_not_at_all_without_one() {
    let dropped = LoraConfig {
        lora_dropout: 0.5,
        ..all_linear()
    };
    let model = disturbed(base("qwen3").with_lora(&dropped, "", 1).unwrap());
    let ids: Vec<u32> = (2..20).collect();
    let logits = |seed| host(model.clone().with_dropout(seed).next_logits(&[&ids]));
    let whole = host(model.next_logits(&[&ids]));
    assert_eq!(logits(None), whole);
    assert_eq!(logits(Some(1)), logits(Some(1)));
    assert_ne!(logits(Some(1)), logits(Some(2)));
    assert_ne!(logits(Some(1)), whole);
}
