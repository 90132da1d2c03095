//! Checkpoints that cannot be used: the file, the tensor or key, and what to do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::{SafeTensors, serialize_to_file};
use serde_json::Value;

use crate::util::{Ends, Run, afd, base, finished, manifests};

/// Sets a key of a JSON file.
fn set(path: &Path, key: &str, value: impl Into<Value>) {
    let mut json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    json[key] = value.into();
    fs::write(path, json.to_string()).unwrap();
}

/// A copy of the base checkpoint after `damage`, which `generate` and the pipeline refuse.
#[track_caller]
fn refused(damage: impl FnOnce(&Path), parts: &[&str]) {
    let run = Run::new("[model]\npath = \"model\"\n");
    let model = run.copy_of_base();
    damage(&model);
    let output = run.path("out.jsonl");
    generate(&run, &model, &output).fails(1, parts);
    assert!(!output.exists());

    run.pipeline(&[]).fails(1, parts);
    let finished = manifests(&run.root());
    assert!(
        finished.iter().all(|(stage, _)| stage == "data"),
        "{finished:?}"
    );
    assert!(!run.file("sft").exists() && !run.file("eval").exists());
}

fn generate(run: &Run, model: &Path, output: &Path) -> std::process::Command {
    let prompts = run.write(
        "prompts.jsonl",
        "{\"prompt\": \"\\n\\nHuman: Hi\\n\\nAssistant:\"}\n",
    );
    let mut call = afd(["generate", "--max-new-tokens", "4", "--model"]);
    call.arg(model)
        .arg("--prompts")
        .arg(prompts)
        .arg("--output")
        .arg(output);
    call
}

#[test]
fn a_missing_directory_is_named() {
    let run = Run::new("");
    let nowhere = run.path("nowhere");
    let output = run.path("out.jsonl");
    let parts = ["cannot read", "nowhere/tokenizer.json"];
    generate(&run, &nowhere, &output).fails(1, &parts);
    assert!(!output.exists());
    let set = format!("model.path={}", nowhere.display());
    run.pipeline(&["--set", &set])
        .fails(2, &["`model.path`", "nowhere", "does not exist"]);
}

#[test]
fn missing_files_are_named() {
    for name in ["model.safetensors", "config.json"] {
        let damage = |model: &Path| fs::remove_file(model.join(name)).unwrap();
        refused(damage, &["cannot read", name]);
    }
}

#[test]
fn a_truncated_checkpoint_is_told_as_such() {
    let truncate = |keep: usize| {
        move |model: &Path| {
            let path = model.join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..keep.min(bytes.len() - 1)]).unwrap();
        }
    };
    let parts = [
        "model.safetensors is not a readable safetensors file",
        "copy or train the checkpoint again",
    ];
    for keep in [0, 100, usize::MAX] {
        refused(truncate(keep), &parts);
    }
}

#[test]
fn tensors_must_fit_the_configuration() {
    let damage = |model: &Path| set(&model.join("config.json"), "intermediate_size", 320);
    let parts = [
        "model.safetensors: tensor `model.layers.0.mlp.",
        "[256, 128]",
        "[320, 128]",
        "does not fit its config.json",
    ];
    refused(damage, &parts);
    let damage = |model: &Path| set(&model.join("config.json"), "num_hidden_layers", 3);
    refused(
        damage,
        &[
            "holds no tensor `model.layers.2.",
            "does not fit its config.json",
        ],
    );
    let damage = |model: &Path| {
        set(
            &model.join("config.json"),
            "architectures",
            vec!["BertModel"],
        )
    };
    refused(
        damage,
        &[
            "config.json: architecture `BertModel` is not supported",
            "LlamaForCausalLM",
        ],
    );
    let damage = |model: &Path| set(&model.join("config.json"), "hidden_act", "relu");
    refused(
        damage,
        &[
            "config.json: key `hidden_act`",
            "\"gelu_pytorch_tanh\" is supported",
        ],
    );
    let damage = |model: &Path| fs::write(model.join("config.json"), "{").unwrap();
    refused(damage, &["config.json"]);
}

/// Cuts the embedding to its first `rows` rows, in the configuration and in the weights.
fn cut_vocabulary(model: &Path, rows: usize) {
    let path = model.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cut = tensors.iter().map(|(name, tensor)| {
        let (mut shape, mut data) = (tensor.shape().to_vec(), tensor.data());
        if name == "model.embed_tokens.weight" {
            data = &data[..data.len() / shape[0] * rows];
            shape[0] = rows;
        }
        let view = safetensors::tensor::TensorView::new(tensor.dtype(), shape, data).unwrap();
        (name.to_owned(), view)
    });
    let cut: Vec<_> = cut.collect();
    let target = path.with_extension("cut");
    serialize_to_file(cut, None, &target).unwrap();
    fs::rename(target, path).unwrap();
    set(&model.join("config.json"), "vocab_size", rows);
}

#[test]
fn a_tokenizer_with_more_ids_than_the_embedding_is_refused() {
    let parts = [
        "the tokenizer has 2048 ids",
        "only 2000 rows",
        "take the tokenizer the checkpoint was made with",
    ];
    refused(|model| cut_vocabulary(model, 2000), &parts);
}

#[test]
fn a_language_model_is_no_reward_model() {
    let run = Run::new("");
    let rows = run.write(
        "rows.jsonl",
        "{\"prompt\": \"a\", \"completion\": \" b\"}\n",
    );
    let score = |model: PathBuf| {
        let mut call = afd(["score", "--model"]);
        call.arg(model).arg("--input").arg(&rows);
        call
    };
    score(base()).fails(
        1,
        &[
            "assets/base is a language model",
            "give the directory of a reward model",
        ],
    );
    let parts = ["names a reward model", "ForCausalLM"];
    let reward = finished().join("reward/init-sft");
    generate(&run, &reward, &run.path("out.jsonl")).fails(1, &parts);

    let golden = format!(
        "[eval]\ngolden = \"classifier\"\ngolden_path = {:?}\n",
        base()
    );
    let parts = ["config.toml:4: `eval.golden_path` is a language model"];
    Run::new(&golden).pipeline(&[]).fails(2, &parts);
}
