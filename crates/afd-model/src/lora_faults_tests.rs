//! Adapters that are refused: settings that fit no module, and files that are no plain LoRA.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    LoraConfig, Pretrained,
    families_tests::{Tensors, tensors},
    lora_tests::{adapter, base, lora},
};

#[test]
fn names_that_fit_nothing_are_refused_with_those_that_would() {
    let error = |config: LoraConfig| {
        let result = base("gpt2").with_lora(&config, "", 1);
        result.map(|_| ()).unwrap_err().to_string()
    };
    let wrong = error(lora(&["q_proj"]));
    assert!(
        wrong.contains("`target_modules`") && wrong.contains("`q_proj`"),
        "{wrong}"
    );
    assert!(wrong.contains("c_attn, c_fc, c_proj"), "{wrong}");
    let wrong = error(LoraConfig {
        modules_to_save: vec!["score".into()],
        ..lora(&["c_attn"])
    });
    assert!(
        wrong.contains("`modules_to_save`") && wrong.contains("wte"),
        "{wrong}"
    );
    let wrong = error(LoraConfig {
        rank_pattern: BTreeMap::from([("c_fc".into(), 3)]),
        ..lora(&["c_attn"])
    });
    assert!(wrong.contains("`rank_pattern` names `c_fc`"), "{wrong}");
    let wrong = error(LoraConfig {
        modules_to_save: vec!["wte".into()],
        ..lora(&["c_attn"])
    });
    assert!(wrong.contains("output head too"), "{wrong}");
    let wrong = error(LoraConfig {
        r: 0,
        ..lora(&["c_attn"])
    });
    assert!(wrong.contains("`r` must be 1 or more"), "{wrong}");
}

/// The error of loading a damaged copy of the adapter `llama`.
fn damaged(damage: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter("llama").join(file), dir.path().join(file)).unwrap();
    }
    damage(dir.path());
    let result = base("llama-rope-linear").with_adapter(dir.path());
    result.map(|_| ()).unwrap_err().to_string()
}

/// Sets a key of `adapter_config.json`.
fn set(dir: &Path, key: &str, value: Value) {
    let path = dir.join("adapter_config.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn adapters_that_are_no_plain_lora_or_do_not_fit_are_refused() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("init_lora_weights", json!("pissa")),
        ("trainable_token_indices", json!([1])),
        ("a_key_of_tomorrow", json!("on")),
        ("r", json!(0)),
    ] {
        let error = damaged(|dir| set(dir, key, value));
        assert!(error.contains("adapter_config.json"), "{key}: {error}");
        assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
    }
    for pattern in [
        json!({ "layers\\.[01]\\..*q_proj": 64 }),
        json!({ "o_proj": 64 }),
        json!({ "q_proj": 32, "layers.0.self_attn.q_proj": 64 }),
    ] {
        let error = damaged(|dir| set(dir, "alpha_pattern", pattern.clone()));
        assert!(error.contains("`alpha_pattern`"), "{pattern}: {error}");
    }
    // One factor alone, a tensor without a place, another model's.
    let rewrite = |dir: &Path, change: &dyn Fn(&mut Tensors)| {
        let path = dir.join("adapter_model.safetensors");
        let mut all = tensors(&path);
        change(&mut all);
        let views = all.iter().map(|(name, (shape, bytes))| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name, view.unwrap())
        });
        let views: Vec<_> = views.collect();
        safetensors::serialize_to_file(views, None, &path).unwrap();
    };
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    let error = damaged(|dir| rewrite(dir, &|all| drop(all.remove(name))));
    assert!(error.contains(&format!("no tensor `{name}`")), "{error}");
    let error = damaged(|dir| {
        rewrite(dir, &|all| {
            let tensor = all[name].clone();
            all.insert(
                "base_model.model.model.layers.9.self_attn.q_proj.lora_B.weight".into(),
                tensor,
            );
        });
    });
    assert!(error.contains("layers.9"), "{error}");
    let error = damaged(|dir| {
        rewrite(dir, &|all| {
            let (shape, _) = all.get_mut(name).unwrap();
            shape.reverse();
        });
    });
    assert!(error.contains(name) && error.contains("shape"), "{error}");
    let error = damaged(|dir| fs::remove_file(dir.join("adapter_model.safetensors")).unwrap());
    assert!(error.contains("adapter_model.safetensors"), "{error}");
}
