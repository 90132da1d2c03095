//! Properties of whole models: padding, batching, gradients, files.

use std::path::Path;

use afd_backend::{
    Dtype, Placement,
    device::{repeats_bits, test_device},
};
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Gradients,
};

use crate::{
    CausalLm, DecoderConfig, Error, Pretrained, SaveOptions, Sequence, SequenceClassifier, Side,
    parameter_names,
};

/// Largest difference between numbers computed twice on one device, by other batches.
const SAME: f32 = 1e-5;

pub(crate) fn config(tied: bool) -> DecoderConfig {
    DecoderConfig {
        vocab_size: 24,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 32,
        tie_word_embeddings: tied,
        // Large enough that attention is far from uniform.
        initializer_range: 0.4,
        pad_token_id: Some(1),
        eos_token_ids: vec![0],
        ..DecoderConfig::llama(4)
    }
}

pub(crate) fn model() -> CausalLm {
    CausalLm::init(config(true), 11, &test_device().into()).unwrap()
}

const ROWS: [(&[u32], usize); 3] = [
    (&[3, 9, 4, 17, 5, 0], 3),
    (&[8, 2, 20, 6, 6, 11, 19, 23, 0], 4),
    (&[7, 12, 0], 2),
];

pub(crate) fn sequences() -> Vec<Sequence<'static>> {
    ROWS.iter()
        .map(|&(ids, prompt_len)| Sequence { ids, prompt_len })
        .collect()
}

pub(crate) fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

pub(crate) fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance, "{a} against {b}");
    }
}

#[test]
fn left_and_right_padding_agree_with_no_padding() {
    let model = model();
    let right = host(model.log_probs(&sequences(), Side::Right));
    let left = host(model.log_probs(&sequences(), Side::Left));
    let alone: Vec<f32> = sequences()
        .iter()
        .flat_map(|s| host(model.log_probs(&[*s], Side::Right)))
        .collect();
    assert_eq!(right.len(), 3 + 5 + 1);
    assert_close(&right, &alone, SAME);
    assert_close(&left, &alone, SAME);
}

#[test]
fn a_score_stands_at_the_last_token_that_is_no_padding() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path(), SaveOptions::default()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device().into()).unwrap();
    let sequence = |ids| Sequence { ids, prompt_len: 2 };
    let bare = sequence(&[7, 1, 12, 4]);
    let ended = sequence(&[7, 1, 12, 4, 1, 1]);
    let scores = host(model.scores(&[bare, ended]));
    assert_close(&scores[..1], &scores[1..], SAME);
    let each = host(model.token_scores(&[ended]));
    assert_close(&each[1..2], &scores[..1], SAME);
    assert!((each[3] - scores[0]).abs() > 1e-2, "{each:?}");
    assert_eq!(model.config().collator().last_of(&sequence(&[1, 1])), 0);
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path(), SaveOptions::default()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device().into()).unwrap();
    let together = host(model.scores(&sequences()));
    for (score, sequence) in together.iter().zip(sequences()) {
        assert_close(&[*score], &host(model.scores(&[sequence])), SAME);
    }
    assert!(together[0] != together[1]);
}

/// Names of the parameters whose gradient is missing, zero or not finite.
fn without_gradient<M: Module>(model: &M, grads: &Gradients) -> Vec<String> {
    struct Check<'a> {
        grads: &'a Gradients,
        flags: Vec<bool>,
    }
    impl ModuleVisitor for Check<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            let grad = param.base().grad(self.grads);
            let norm = grad.map_or(0.0, |grad| grad.abs().sum().into_scalar::<f32>());
            self.flags.push(norm > 0.0 && norm.is_finite());
        }
    }
    let mut check = Check {
        grads,
        flags: Vec::new(),
    };
    model.visit(&mut check);
    let names = parameter_names(model).into_iter().zip(check.flags);
    names
        .filter(|(_, fine)| !fine)
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_parameter_of_a_language_model_gets_a_gradient() {
    for tied in [true, false] {
        let model = CausalLm::init(config(tied), 3, &test_device().into())
            .unwrap()
            .train();
        let loss = model.log_probs(&sequences(), Side::Right).sum().neg();
        assert_eq!(
            without_gradient(&model, &loss.backward()),
            Vec::<String>::new()
        );
        assert_eq!(
            parameter_names(&model).len(),
            2 + 2 * 9 + usize::from(!tied)
        );
    }
}

#[test]
fn every_parameter_of_a_reward_model_gets_a_gradient() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path(), SaveOptions::default()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device().into())
        .unwrap()
        .train();
    let loss = model.scores(&sequences()).sum();
    assert_eq!(
        without_gradient(&model, &loss.backward()),
        Vec::<String>::new()
    );
    assert!(parameter_names(&model).contains(&"score.weight".to_owned()));
}

/// The gradient of every parameter in module order; none where it is frozen.
fn gradients(model: &CausalLm, side: Side) -> Vec<Option<Vec<f32>>> {
    struct Collect<'a>(&'a Gradients, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            self.1.push(param.base().grad(self.0).map(host));
        }
    }
    let gradients = model.log_probs(&sequences(), side).sum().neg().backward();
    let mut collect = Collect(&gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

#[test]
fn recomputed_gradients_are_those_of_kept_activations() {
    for (frozen, side) in [
        (false, Side::Right),
        (false, Side::Left),
        (true, Side::Right),
    ] {
        let mut model = CausalLm::init(config(false), 3, &test_device().into())
            .unwrap()
            .train();
        if frozen {
            // What adapters are trained on: nothing before the first layer wants a gradient.
            model.model.embed_tokens = model.model.embed_tokens.no_grad();
        }
        let kept = gradients(&model, side);
        model.model.set_gradient_checkpointing(true);
        let recomputed = gradients(&model, side);
        let names = parameter_names(&model);
        for (name, gradient) in names.iter().zip(&kept) {
            let wanted = !frozen || name != "model.embed_tokens.weight";
            assert_eq!(gradient.is_some(), wanted, "{name}");
        }
        for (name, (recomputed, kept)) in names.iter().zip(recomputed.iter().zip(&kept)) {
            match (recomputed, kept) {
                (Some(recomputed), Some(kept)) if !repeats_bits(&test_device()) => {
                    let size = kept.iter().fold(1.0, |size: f32, g| size.max(g.abs()));
                    assert_close(recomputed, kept, SAME * size);
                }
                _ => assert_eq!(recomputed, kept, "{name}"),
            }
        }
    }
}

/// The values of all parameters, in module order.
fn values<M: Module>(model: &M) -> Vec<Vec<f32>> {
    struct Values(Vec<Vec<f32>>);
    impl ModuleVisitor for Values {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            self.0.push(host(param.base()));
        }
    }
    let mut values = Values(Vec::new());
    model.visit(&mut values);
    values.0
}

#[test]
fn saving_and_loading_keeps_every_bit() {
    let placement = Placement::from(test_device());
    for tied in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let model = CausalLm::init(config(tied), 3, &placement).unwrap();
        model.save(dir.path(), SaveOptions::default()).unwrap();
        let loaded = CausalLm::load(dir.path(), &placement).unwrap();
        assert_eq!(loaded.config(), model.config());
        assert_eq!(values(&loaded), values(&model));
        let log_probs = |model: &CausalLm| host(model.log_probs(&sequences(), Side::Right));
        assert_close(&log_probs(&loaded), &log_probs(&model), SAME);

        let reward = SequenceClassifier::load(dir.path(), 5, &placement).unwrap();
        let dir = tempfile::tempdir().unwrap();
        reward.save(dir.path(), SaveOptions::default()).unwrap();
        // Another seed: nothing may be drawn afresh when the head is there.
        let loaded = SequenceClassifier::load(dir.path(), 6, &placement).unwrap();
        assert_eq!(values(&loaded), values(&reward));
        let scores = |model: &SequenceClassifier| host(model.scores(&sequences()));
        assert_close(&scores(&loaded), &scores(&reward), SAME);
        assert!(CausalLm::load(dir.path(), &placement).is_err());
    }
}

/// Writes the model in `dir` in two files with an index, and removes the one file.
fn split(dir: &Path) {
    let single = dir.join("model.safetensors");
    let bytes = std::fs::read(&single).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut weight_map = serde_json::Map::new();
    for (index, shard) in shards.into_iter().enumerate() {
        let tensors = file.tensors().into_iter().enumerate();
        let own = tensors
            .filter(|(n, _)| n % 2 == index)
            .map(|(_, tensor)| tensor);
        let own: Vec<_> = own.collect();
        for (name, _) in &own {
            weight_map.insert(name.clone(), shard.into());
        }
        safetensors::serialize_to_file(own, None, &dir.join(shard)).unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    std::fs::write(dir.join(INDEX), index.to_string()).unwrap();
    std::fs::remove_file(single).unwrap();
}

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn a_checkpoint_in_several_files_is_that_in_one() {
    let placement = Placement::from(test_device());
    let dir = tempfile::tempdir().unwrap();
    let whole = model();
    whole.save(dir.path(), SaveOptions::default()).unwrap();
    split(dir.path());
    let loaded = CausalLm::load(dir.path(), &placement).unwrap();
    assert_eq!(values(&loaded), values(&whole));
    assert!(SequenceClassifier::load(dir.path(), 5, &placement).is_ok());
}

#[test]
fn a_checkpoint_is_written_in_files_no_larger_than_asked() {
    let placement = Placement::from(test_device());
    let dir = tempfile::tempdir().unwrap();
    let whole = model();
    let save = |max_shard_size| {
        let options = SaveOptions {
            max_shard_size,
            ..SaveOptions::default()
        };
        whole.save(dir.path(), options).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("safetensors"))
            .collect();
        names.sort();
        let loaded = CausalLm::load(dir.path(), &placement).unwrap();
        assert_eq!(values(&loaded), values(&whole));
        names
    };
    let everything = values(&whole).concat().len() * 4;
    assert_eq!(save(everything as u64), ["model.safetensors"]);
    // One byte less is a second file, and the file of before is gone.
    let two = save(everything as u64 - 1);
    let parts = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    assert_eq!(two, [parts[0], parts[1], INDEX]);
    let index = std::fs::read_to_string(dir.path().join(INDEX)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], everything);
    // A tensor is never divided, however small the files are to be.
    assert_eq!(save(1).len(), parameter_names(&whole).len() + 1);
}

#[test]
fn weights_are_stored_in_the_type_asked_for() {
    let placement = Placement::from(test_device());
    let dir = tempfile::tempdir().unwrap();
    let whole = model();
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let options = SaveOptions {
            dtype,
            ..SaveOptions::default()
        };
        whole.save(dir.path(), options).unwrap();
        let bytes = std::fs::metadata(dir.path().join("model.safetensors")).unwrap();
        let numbers = values(&whole).concat().len();
        let rest = bytes.len() as usize - numbers * dtype.size();
        assert!(rest < 4096, "{dtype:?}: {rest} bytes are no numbers");
        let loaded = CausalLm::load(dir.path(), &placement).unwrap();
        for (a, b) in values(&loaded).concat().iter().zip(values(&whole).concat()) {
            // Half a unit in the last place: 2⁻⁹ of bf16's 8 bits, 2⁻¹² of f16's 11.
            let share = match dtype {
                Dtype::F32 => 0.0,
                Dtype::Bf16 => 2f32.powi(-9),
                Dtype::F16 => 2f32.powi(-12),
            };
            assert!((a - b).abs() <= share * 2.0 * b.abs() + 1e-7, "{a}, {b}");
        }
        let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        let name = ["float32", "bfloat16", "float16"][dtype as usize];
        assert!(
            config.contains(&format!("\"torch_dtype\": \"{name}\"")),
            "{config}"
        );
    }
}

#[test]
fn an_index_at_odds_with_its_files_is_refused() {
    let placement = Placement::from(test_device());
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path(), SaveOptions::default()).unwrap();
    split(dir.path());
    let index = dir.path().join(INDEX);
    let text = std::fs::read_to_string(&index).unwrap();
    let load = |text: &str| {
        std::fs::write(&index, text).unwrap();
        CausalLm::load(dir.path(), &placement).unwrap_err()
    };
    let first = "model-00001-of-00002.safetensors";
    for elsewhere in ["../x.safetensors", "/etc/passwd", "sub/x.safetensors"] {
        let error = load(&text.replace(first, elsewhere));
        assert!(matches!(error, Error::ShardPath { .. }), "{error}");
        assert!(error.to_string().contains(elsewhere), "{error}");
    }
    let error = load(&text.replace(first, "model-00003-of-00002.safetensors"));
    assert!(matches!(error, Error::Read { .. }), "{error}");
    // A tensor that its file does not hold, one that is not listed, and no index at all.
    let other = "model-00002-of-00002.safetensors";
    let error = load(&text.replace(first, other));
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
    let error = load("{\"weight_map\": {}}");
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
    assert!(matches!(load("[]"), Error::Json { .. }));

    std::fs::remove_file(&index).unwrap();
    std::fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    let error = CausalLm::load(dir.path(), &placement).unwrap_err();
    assert!(error.to_string().contains("save_pretrained"), "{error}");
}

#[test]
fn damaged_checkpoints_are_told_apart() {
    let placement = Placement::from(test_device());
    let dir = tempfile::tempdir().unwrap();
    let load = || CausalLm::load(dir.path(), &placement).unwrap_err();
    assert!(matches!(load(), Error::Read { .. }));

    model().save(dir.path(), SaveOptions::default()).unwrap();
    let weights = dir.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    for length in [0, 4, 100, whole.len() - 1] {
        std::fs::write(&weights, &whole[..length]).unwrap();
        assert!(
            matches!(load(), Error::Safetensors { .. }),
            "{length} bytes"
        );
    }
    std::fs::write(&weights, &whole).unwrap();

    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        load()
    };
    let error = with("\"intermediate_size\": 20", "\"intermediate_size\": 21");
    assert!(
        error.to_string().contains("mlp.gate_proj.weight"),
        "{error}"
    );
    assert!(matches!(
        with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        Error::MissingTensor { .. }
    ));
    let error = with(
        "\"rope_scaling\": null",
        "\"rope_scaling\": {\"type\": \"linear\"}",
    );
    assert!(matches!(
        error,
        Error::Option {
            key: "rope_scaling",
            ..
        }
    ));
    let error = with("LlamaForCausalLM", "MambaForCausalLM");
    assert!(matches!(error, Error::Architecture { .. }));
    assert!(matches!(with("{", "{{"), Error::Json { .. }));
    assert!(matches!(
        with("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
        Error::Key { .. }
    ));
}
