//! Every family against Hugging Face transformers, on small random checkpoints it wrote itself.
//!
//! `testdata/families/make.py` made the files; it says with which versions.

use std::{collections::BTreeMap, fs, path::PathBuf};

use afd_backend::{Dtype, device::test_device};
use serde::Deserialize;
use serde_json::json;

use crate::{
    CausalLm, DecoderConfig, FinishReason, GenerationRequest, Head, Pretrained, SamplingParams,
    SaveOptions, SequenceClassifier, Stop, generate, never,
    parity_tests::{
        Classifier, Ids, LanguageModel, assert_close, check_logits, record, sequences, testdata,
    },
};

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Ids>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Case {
    Causal {
        #[serde(flatten)]
        model: LanguageModel,
        greedy: Vec<u32>,
    },
    Score(Classifier),
}

pub(crate) fn dir(name: &str) -> PathBuf {
    testdata().join("families").join(name)
}

fn expected() -> Expected {
    let text = fs::read_to_string(testdata().join("families/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The cases, by the head they have.
pub(crate) fn names(head: Head) -> Vec<String> {
    let has = |name: &String| DecoderConfig::load(&dir(name)).unwrap().1 == head;
    expected().cases.into_keys().filter(has).collect()
}

/// The likeliest continuation of the first eight tokens of the first text long enough.
fn greedy(model: &CausalLm, prompt: &[u32], length: usize) -> Vec<u32> {
    let request = GenerationRequest {
        prompt_ids: prompt.to_vec(),
        seeds: vec![1],
    };
    let params = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::unmodified(length)
    };
    let stop = Stop {
        ids: &[],
        text: &never,
    };
    let mut answers = generate(model, &[&request], 64, &params, &stop).unwrap();
    let answer = answers.remove(0).remove(0);
    assert_eq!(answer.finish, FinishReason::Length);
    answer.ids
}

#[test]
fn every_family_computes_what_transformers_does() {
    let expected = expected();
    let sequences = sequences(&expected.sequences);
    assert!(expected.cases.len() >= 20, "{}", expected.cases.len());
    for (name, case) in &expected.cases {
        let placement = test_device().into();
        match case {
            Case::Causal {
                model: reference,
                greedy: continuation,
            } => {
                let model = CausalLm::load(&dir(name), &placement).unwrap();
                // Others read another text in a longer batch, and from a cache filled before.
                let alike = model.config().fixed_until().is_none();
                check_logits(name, &model, &sequences, reference, alike);
                let prompt = &sequences[1].ids[..8];
                let ours = greedy(&model, prompt, continuation.len());
                let other = ours
                    .iter()
                    .zip(continuation)
                    .filter(|(a, b)| a != b)
                    .count();
                record(&format!("{name}: greedy tokens"), other as f32, 0.0);
                assert_eq!(&ours, continuation, "{name}");
            }
            Case::Score(reference) => {
                // The seed must not matter: the head comes from the file.
                let model = SequenceClassifier::load(&dir(name), 9, &placement).unwrap();
                let ours = model.score_all(&sequences, 3).unwrap();
                assert_close(&format!("{name}: scores"), &ours, &reference.scores);
            }
        }
    }
}

#[test]
fn in_every_family_answers_that_join_others_are_those_drawn_alone() {
    let expected = expected();
    let sequences = sequences(&expected.sequences);
    let longest = sequences.iter().map(|row| row.ids);
    let longest = longest.max_by_key(|ids| ids.len()).unwrap();
    let requests: Vec<_> = [3, 8, 5, 1]
        .map(|length| GenerationRequest {
            prompt_ids: longest[..length].to_vec(),
            seeds: (0..14).collect(),
        })
        .into();
    // Enough for the cache, of 8 + 8 + 64 columns, to be moved while three are drawn at a time.
    let params = SamplingParams::unmodified(8);
    let mut tokens = 0;
    for name in names(Head::LanguageModel) {
        let model = CausalLm::load(&dir(&name), &test_device().into()).unwrap();
        // An eighth of the tokens ends an answer.
        let ends: Vec<u32> = (0..model.config().vocab_size as u32).step_by(8).collect();
        let stop = Stop {
            ids: &ends,
            text: &never,
        };
        let draw = |requests: &[&GenerationRequest], rows| {
            generate(&model, requests, rows, &params, &stop).unwrap()
        };
        let together = draw(&requests.iter().collect::<Vec<_>>(), 3);
        let lengths = together.iter().flatten().map(|answer| answer.ids.len());
        tokens += lengths.sum::<usize>();
        for (request, answers) in requests.iter().zip(&together) {
            let alone = draw(&[request], 14);
            assert_eq!([answers.len(), alone[0].len()], [14, 14]);
            for (answer, alone) in answers.iter().zip(&alone[0]) {
                assert_eq!(answer.ids, alone.ids, "{name}");
                assert_close(&name, &answer.log_probs, &alone.log_probs);
            }
        }
    }
    let each = tokens / names(Head::LanguageModel).len();
    assert!(each > 3 * (8 + 8 + 64), "{each} tokens in the mean");
}

#[test]
fn both_dialects_of_config_json_say_the_same() {
    for name in expected().cases.keys() {
        let (config, head) = DecoderConfig::load(&dir(name)).unwrap();
        let old = DecoderConfig::load_file(&dir(name).join("config-v4.json")).unwrap();
        assert_eq!(old, (config.clone(), head), "{name}");
        // What is written is the older dialect.
        let written = tempfile::tempdir().unwrap();
        let path = written.path().join("config.json");
        fs::write(&path, config.to_json(head, Dtype::F32).to_string()).unwrap();
        assert_eq!(
            DecoderConfig::load(written.path()).unwrap(),
            (config, head),
            "{name}"
        );
    }
}

/// Names, shapes and bits of a checkpoint, whatever order they stand in.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

pub(crate) fn tensors(path: &std::path::Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

#[test]
fn what_was_read_is_written_again_bit_by_bit() {
    for name in expected().cases.keys() {
        let (_, head) = DecoderConfig::load(&dir(name)).unwrap();
        let written = tempfile::tempdir().unwrap();
        let placement = test_device().into();
        match head {
            Head::LanguageModel => {
                let model = CausalLm::load(&dir(name), &placement).unwrap();
                model.save(written.path(), SaveOptions::default()).unwrap();
            }
            Head::Score => {
                let model = SequenceClassifier::load(&dir(name), 9, &placement).unwrap();
                model.save(written.path(), SaveOptions::default()).unwrap();
            }
        }
        let ours = tensors(&written.path().join("model.safetensors"));
        let theirs = tensors(&dir(name).join("model.safetensors"));
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>(),
            "{name}"
        );
        assert!(ours == theirs, "{name}: shapes or bits differ");
    }
}

/// `config.json` of a case with one key set, told by the error it makes.
fn refused(name: &str, key: &str, value: serde_json::Value) -> String {
    let text = fs::read_to_string(dir(name).join("config.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json[key] = value;
    let changed = tempfile::tempdir().unwrap();
    fs::write(changed.path().join("config.json"), json.to_string()).unwrap();
    match DecoderConfig::load(changed.path()) {
        Ok(_) => panic!("{name} with another {key} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn options_that_are_not_done_are_refused_by_name() {
    let cases = [
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true)),
        ("gpt2", "reorder_and_upcast_attn", json!(true)),
        ("gpt2", "add_cross_attention", json!(true)),
        ("gpt2", "activation_function", json!("relu")),
        ("gpt2", "per_layer_config", json!({ "0": {} })),
        ("llama-bias", "partial_rotary_factor", json!(0.5)),
        ("llama-bias", "quantization_config", json!({ "bits": 4 })),
        ("mistral", "layer_types", json!(["full_attention"])),
        (
            "qwen2",
            "layer_types",
            json!(["full_attention", "chunked_attention"]),
        ),
        ("gemma", "use_bidirectional_attention", json!(true)),
        ("gemma", "hidden_activation", json!("silu")),
        ("gemma3", "attn_logit_softcapping", json!(50.0)),
    ];
    for (name, key, value) in cases {
        let error = refused(name, key, value);
        assert!(
            error.contains(&format!("key `{key}`")),
            "{name}, {key}: {error}"
        );
    }
}

#[test]
fn positions_that_are_not_done_are_refused() {
    let local = json!({
        "full_attention": {},
        "sliding_attention": { "rope_type": "linear", "factor": 2.0 },
    });
    let cases = [
        ("llama-bias", json!({ "rope_type": "yarn", "factor": 4.0 })),
        ("llama-bias", json!({ "rope_type": "linear" })),
        (
            "llama-bias",
            json!({ "rope_type": "linear", "factor": 0.0 }),
        ),
        (
            "llama-bias",
            json!({ "rope_type": "default", "factor": 2.0 }),
        ),
        ("llama-bias", json!({ "partial_rotary_factor": 0.5 })),
        ("llama-bias", json!({ "rope_theta": -1.0 })),
        (
            "llama-bias",
            json!({ "full_attention": { "rope_theta": 10.0 } }),
        ),
        (
            "llama-rope-dynamic",
            json!({
                "rope_type": "dynamic",
                "factor": 2.0,
                "original_max_position_embeddings": 4,
            }),
        ),
        (
            "llama-rope-llama3",
            json!({
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 4.0,
                "high_freq_factor": 4.0,
            }),
        ),
        ("gemma3", local),
        ("phi3", json!({ "rope_type": "linear", "factor": 2.0 })),
        ("phi3", json!({ "rope_type": "longrope" })),
    ];
    for (name, value) in cases {
        let error = refused(name, "rope_parameters", value.clone());
        assert!(
            error.contains("key `rope_parameters`"),
            "{name}, {value}: {error}"
        );
    }
    let error = refused(
        "llama-bias",
        "rope_scaling",
        json!({ "rope_type": "default" }),
    );
    assert!(
        error.contains("rope_scaling") && error.contains("remove one"),
        "{error}"
    );
}

#[test]
fn sizes_no_model_can_have_are_refused() {
    let cases = [
        ("gpt2", "n_head", json!(3)),
        ("gpt2", "n_embd", json!(0)),
        ("neox", "num_attention_heads", json!(0)),
        ("neox", "num_attention_heads", json!(5)),
        ("phi3", "intermediate_size", json!(0)),
        ("mistral", "num_hidden_layers", json!(4_294_967_295u32)),
        ("qwen3", "vocab_size", json!(0)),
        ("qwen3", "head_dim", json!(5)),
        ("gemma2", "query_pre_attn_scalar", json!(0)),
        ("gemma2", "sliding_window", json!(0)),
        ("llama-bias", "hidden_size", json!("16")),
    ];
    for (name, key, value) in cases {
        let error = refused(name, key, value);
        assert!(
            error.contains(&format!("key `{key}`")),
            "{name}, {key}: {error}"
        );
    }
    let error = refused("gemma2", "final_logit_softcapping", json!(0.0));
    assert!(error.contains("final_logit_softcapping"), "{error}");
}

#[test]
fn a_tied_head_that_stands_beside_its_embedding_as_another_is_refused() {
    let placement = test_device().into();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(
        dir("qwen2").join("config.json"),
        copy.path().join("config.json"),
    )
    .unwrap();
    let bytes = fs::read(dir("qwen2").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let table = file.tensor("model.embed_tokens.weight").unwrap();
    let other: Vec<u8> = table.data().iter().rev().copied().collect();
    let other = safetensors::tensor::TensorView::new(table.dtype(), table.shape().into(), &other);
    let load = |head: safetensors::tensor::TensorView<'_>| {
        let tensors = file.tensors().into_iter();
        let tensors = tensors.chain([("lm_head.weight".to_owned(), head)]);
        let path = copy.path().join("model.safetensors");
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        CausalLm::load(copy.path(), &placement)
    };
    assert!(load(table.clone()).is_ok());
    let error = load(other.unwrap()).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}

#[test]
fn a_checkpoint_of_the_decoder_alone_leaves_out_the_first_word_of_its_names() {
    let placement = test_device().into();
    let original = dir("gpt2");
    let copy = tempfile::tempdir().unwrap();
    fs::copy(
        original.join("config.json"),
        copy.path().join("config.json"),
    )
    .unwrap();
    let bytes = fs::read(original.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let short = file.tensors().into_iter();
    let short = short.map(|(name, view)| (name.replace("transformer.", ""), view));
    safetensors::serialize_to_file(short, None, &copy.path().join("model.safetensors")).unwrap();
    let logits = |dir: &std::path::Path| {
        let model = CausalLm::load(dir, &placement).unwrap();
        model.next_logits(&[&[3, 4, 5]]).into_data()
    };
    logits(copy.path()).assert_eq(&logits(&original), true);
}
