//! Initial policy, fine-tuned policy and what is learned as adapters on one base, in the pipeline.

use std::fs;

use serde_json::Value;

use crate::util::{Ends, Run};

const TUNED: &str = r#"
[sft.lora]
r = 4
lora_alpha = 8
lora_dropout = 0.0
target_modules = "all-linear"
"#;

const LORA: &str =
    r#"lora = { r = 4, lora_alpha = 8, lora_dropout = 0.0, target_modules = "all-linear" }"#;

/// The policies, each with `lora` or without.
fn policies(lora: &str) -> String {
    format!(
        r#"{TUNED}
[policies.near]
method = "rl"
{lora}
[policies.far]
method = "rl"
reference = "initial"
{lora}
[policies.whole]
method = "rl"
{}
[policies.dense]
method = "rl"
reward = "closed-form"
advantage = "reward_to_go"
{lora}
"#,
        // A module of the policy's that is trained in full leaves no base to share.
        lora.replace(" }", ", modules_to_save = [\"down_proj\"] }")
    )
}

/// What the first batch of a policy's training was like, before anything was learned.
fn first(run: &Run, policy: &str) -> Value {
    let path = run.file(&format!("policy/{policy}/metrics.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn policies_on_one_base_begin_where_those_with_their_own_weights_do() {
    let (stacked, apart) = (Run::new(&policies(LORA)), Run::new(&policies("")));
    for run in [&stacked, &apart] {
        run.pipeline(&[]).succeeds();
    }
    let shares = |run: &Run, policy: &str| -> Value {
        let path = run.file(&format!("policy/{policy}/summary.json"));
        let summary: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        summary["shared_base"].clone()
    };
    assert_eq!(first(&stacked, "near")["objective/kl"], 0.0);
    assert_ne!(first(&stacked, "far")["objective/kl"], 0.0);
    for policy in ["near", "far", "dense"] {
        assert_eq!(shares(&stacked, policy), true, "{policy}");
        assert_eq!(shares(&apart, policy), false, "{policy}");
        let (stacked, apart) = (first(&stacked, policy), first(&apart, policy));
        // Drawn with the same seeds from the same policy, and read by the same ones.
        for figure in ["objective/kl", "objective/scores", "objective/entropy"] {
            let [a, b] = [&stacked, &apart].map(|row| row[figure].as_f64().unwrap());
            assert!((a - b).abs() < 1e-3, "{policy}, {figure}: {a} for {b}");
        }
    }
    assert_eq!(shares(&stacked, "whole"), false);
    // What was learned lies beside the whole, as an adapter on the fine-tuned policy.
    let dir = stacked.file("policy/near");
    let text = fs::read_to_string(dir.join("adapter/adapter_config.json")).unwrap();
    let adapter: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(adapter["base_model_name_or_path"], "sft");
    assert!(dir.join("model.safetensors").is_file());
}
