//! `export`: what is written is what was there, in the shape asked for, with its card.

use std::{fs, path::Path};

use serde_json::Value;

use crate::util::{Ends, Run, afd, base, finished};

/// `afd export FROM --to FORMAT --output …` with further arguments.
fn export(run: &Run, from: &Path, format: &str, args: &[&str]) -> std::process::Command {
    let mut call = afd(["export", from.to_str().unwrap(), "--to", format, "--output"]);
    call.arg(run.path("exported")).args(args);
    call
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A log-probability of the same answer under the model in `dir`.
fn log_prob(run: &Run, dir: &Path) -> f64 {
    let row = r#"{"prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": " You could read."}"#;
    let input = run.write("row.jsonl", row);
    let mut call = afd(["logprobs", "--model"]);
    call.arg(dir).arg("--input").arg(input);
    let row: Value = serde_json::from_str(&call.succeeds().stdout).unwrap();
    let logprobs = row["logprobs"].as_array().unwrap();
    logprobs.iter().map(|value| value.as_f64().unwrap()).sum()
}

#[test]
fn a_policy_goes_out_whole_with_its_card() {
    let run = Run::new("");
    let from = finished().join("sft");
    export(&run, &from, "hf", &["--max-shard-size", "1MB"]).succeeds();
    let out = run.path("exported");
    let expected = [
        "README.md",
        "afd-config.toml",
        "config.json",
        "generation_config.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&out), expected);
    assert_eq!(log_prob(&run, &out), log_prob(&run, &from));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "base_model: \"",
        "assets/base",
        "sft",
        "type: eval_loss",
        "AutoModelForCausalLM",
        "| `learning_rate` | 0.0002 |",
        "## Evaluation",
        "| **this model** (SFT) | ",
        "| the demonstrator | ",
        "type: golden_reward",
        "cargo xtask stage sft --config afd-config.toml",
        "2405.15624",
    ] {
        assert!(card.contains(part), "no {part:?} in:\n{card}");
    }
    // The configuration that goes along is one.
    let config = out.join("afd-config.toml");
    afd(["check", "--config", config.to_str().unwrap()]).succeeds();
}

#[test]
fn a_reward_model_goes_out_in_half_the_bytes() {
    let run = Run::new("");
    let from = finished().join("reward/init-sft");
    export(&run, &from, "hf", &["--save-dtype", "bf16"]).succeeds();
    let out = run.path("exported");
    let size = |dir: &Path| fs::metadata(dir.join("model.safetensors")).unwrap().len();
    assert!(size(&out) < size(&from) * 6 / 10);
    let config = fs::read_to_string(out.join("config.json")).unwrap();
    assert!(config.contains("ForSequenceClassification") && config.contains("bfloat16"));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "text-classification",
        "reward-trainer",
        "eval_accuracy",
        "by **this model** | ",
        "rank correlation with the golden reward",
        "_golden_reward",
    ] {
        assert!(card.contains(part), "no {part:?} in:\n{card}");
    }
}

#[test]
fn adapters_go_out_alone_and_come_back_merged() {
    let lora = "
[sft.lora]
r = 4
lora_alpha = 8
lora_dropout = 0.0
target_modules = [\"q_proj\", \"v_proj\"]
";
    let run = Run::new(lora);
    let root = run.root();
    let mut stage = run.afd("stage sft", &["--run-dir", root.to_str().unwrap()]);
    stage.succeeds();
    let from = run.file("sft");
    let merged = log_prob(&run, &from);
    assert!((merged - log_prob(&run, &base())).abs() > 1e-3);

    export(&run, &from, "peft", &["--base", "org/name"]).succeeds();
    let out = run.path("exported");
    let config = fs::read_to_string(out.join("adapter_config.json")).unwrap();
    assert!(
        config.contains("\"base_model_name_or_path\": \"org/name\""),
        "{config}"
    );
    assert!(names(&out).contains(&"tokenizer.json".to_owned()));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "library_name: peft",
        "AutoPeftModelForCausalLM",
        "base_model: \"org/name\"",
    ] {
        assert!(card.contains(part), "no {part:?} in:\n{card}");
    }

    // The adapter as a model of its own: merged into the base it names, or is told.
    let adapter = run.path("adapter");
    fs::rename(&out, &adapter).unwrap();
    let base = base();
    let base = base.to_str().unwrap();
    export(&run, &adapter, "hf", &["--base", base]).succeeds();
    assert_eq!(log_prob(&run, &run.path("exported")), merged);
}

#[test]
fn what_cannot_be_exported_is_told_and_leaves_nothing() {
    let run = Run::new("");
    let sft = finished().join("sft");
    export(&run, &sft, "peft", &[]).fails(2, &["holds no adapter", "--to hf"]);
    export(&run, &run.path("gone"), "hf", &[]).fails(1, &["gone"]);
    export(&run, &finished().join("data"), "hf", &[]).fails(1, &["config.json"]);
    let parts = ["`5` is no size"];
    export(&run, &sft, "hf", &["--max-shard-size", "5"]).fails(2, &parts);
    assert!(!run.path("exported").exists());
    export(&run, &sft, "hf", &["--base", "x"]).fails(2, &["--base is for an adapter alone"]);
    assert_eq!(names(&run.path("")), ["config.toml", "tiny.toml"]);
    fs::create_dir(run.path("exported")).unwrap();
    fs::write(run.path("exported/mine"), "").unwrap();
    export(&run, &sft, "hf", &[]).fails(2, &["exists; give a new directory"]);
    assert_eq!(names(&run.path("exported")), ["mine"]);
}
