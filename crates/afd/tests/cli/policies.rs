//! Policies made from the fine-tuned one: every method on one axis, kills, and what is refused.

use std::{fs, process::Stdio, thread::sleep, time::Duration};

use serde_json::Value;

use crate::util::{Ends, Run};

/// Every method once.
const EVERY: &str = r#"
[pairs.parts.other-half]
of = "init-sft"
from = 0.5
to = 1.0
[policies.rloo]
method = "rl"
[policies.grpo]
method = "rl"
advantage = "group_std"
loss_type = "grpo"
kl_placement = "loss"
kl_estimator = "k3"
epsilon = 0.2
num_iterations = 2
held_out_reward = "other-half"
guards = { max_kl = 100.0, held_out_patience = 5 }
[policies.ppo]
method = "rl"
advantage = "gae"
reference = "initial"
whiten_advantages = true
value = { learning_rate = 1e-3, gamma = 1.0, lam = 0.95, cliprange_value = 0.2, warmup_batches = 1 }
[policies.dense-path]
method = "rl"
reward = "closed-form"
advantage = "reward_to_go"
[policies.adapted]
method = "rl"
lora = { r = 4, lora_alpha = 8, lora_dropout = 0.0, target_modules = "all-linear" }
[policies.distil]
method = "offline"
objective = { method = "distil", n = 2 }
[policies.dpo]
method = "offline"
reward = "closed-form"
objective = { method = "dpo", beta = 0.1, label_smoothing = 0.0, labels = "sampled" }
[policies.kto]
method = "offline"
objective = { method = "kto", beta = 0.1, desirable_weight = 1.0, undesirable_weight = 1.0 }
[policies.spin]
method = "offline"
objective = { method = "spin", beta = 0.1 }
[policies.longer]
method = "offline"
objective = { method = "sft" }
[policies.again]
method = "offline"
from = "distil"
objective = { method = "distil", n = 2 }
[policies.bond]
method = "rl"
from = "again"
reference = "start"
beta = 1.0
reward_transform = { name = "best_of_n", n = 3 }
[policies.game]
method = "adversarial"
rounds = 2
replay = true
discriminator = "continued"
reward_transform = { name = "ratio", max = 10.0 }
ptx_coef = 0.1
[policies.weights]
method = "weights"
strength = 0.5
[policies.sharp]
method = "sampler"
temperature = 0.7
strength = 0.0
[policies.logits]
method = "sampler"
temperature = 1.0
strength = 0.5
[policies.chosen]
method = "blocks"
block_length = 4
num_candidates = 2
"#;

/// The rows of `eval/summary.json` that are policies with a name.
fn rows(run: &Run) -> Vec<Value> {
    let summary: Value = serde_json::from_str(&run.summary()).unwrap();
    let rows = summary["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["policy"] == "trained")
        .cloned()
        .collect()
}

fn json(run: &Run, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(run.file(file)).unwrap()).unwrap()
}

#[test]
fn every_method_ends_on_one_axis() {
    let run = Run::new(EVERY);
    let told = run.pipeline(&[]).succeeds();
    let rows = rows(&run);
    assert_eq!(rows.len(), 17, "{rows:?}");
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        assert!(told.stdout.contains(name), "{}", told.stdout);
        for figure in ["golden_mean", "kl_nats", "kl_se"] {
            // How far a choice by blocks goes is not known.
            let known = name != "chosen" || figure == "golden_mean";
            assert_eq!(row[figure].is_f64(), known, "{name}: {row}");
        }
        // What draws from the fine-tuned policy otherwise has no weights of its own.
        let made = run
            .file(&format!("policy/{name}/model.safetensors"))
            .is_file();
        assert_eq!(
            made,
            !["sharp", "logits", "chosen"].contains(&name),
            "{name}"
        );
    }
    // The policy of adapters is written whole, and beside it what was trained.
    assert!(
        run.file("policy/adapted/adapter/adapter_model.safetensors")
            .is_file()
    );
    assert!(run.file("policy/rloo/completions/step-1.jsonl").is_file());
    // A second round of distillation learns from the first one's answers.
    let inputs = json(&run, "policy/again/manifest.json")["inputs"].clone();
    let names: Vec<&str> = inputs
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "policy/distil",
            "samples/distil-stored",
            "stored/distil/init-sft"
        ]
    );
    let rounds = json(&run, "policy/game/summary.json");
    assert!(
        rounds["rounds"][0]["auc"].is_f64() && rounds["ended"].is_string(),
        "{rounds}"
    );
    let metrics = fs::read_to_string(run.file("rounds/game/1/policy/metrics.jsonl")).unwrap();
    assert!(metrics.contains("loss/ptx"), "{metrics}");
    let metrics = fs::read_to_string(run.file("policy/grpo/metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    for name in [
        "objective/kl",
        "objective/entropy",
        "objective/scores",
        "objective/held_out_scores",
        "policy/approxkl_avg",
        "policy/clipfrac_avg",
        "val/ratio",
        "val/eos_rate",
        "completions/mean_length",
    ] {
        assert!(first[name].is_f64(), "{name}: {first}");
    }
    // Before the first step the policy is the reference, and sampling and training agree on it.
    assert!(
        first["objective/kl"].as_f64().unwrap().abs() < 1e-3,
        "{first}"
    );
    assert!(first["sampling/logp_difference_max"].as_f64().unwrap() < 1e-4);
    // Nothing changed: nothing is made again.
    let again = run.pipeline(&[]).succeeds();
    assert!(!again.stderr.contains(" done "), "{}", again.stderr);
}

#[test]
fn a_group_of_stages_is_made_whole_and_nothing_after_it() {
    let run = Run::new(
        "[policies.a]\nmethod = \"weights\"\nstrength = 0.5\n\
         [policies.b]\nmethod = \"offline\"\nobjective = { method = \"spin\", beta = 0.1 }\n",
    );
    run.afd("stage policy", &["--run-dir", run.root().to_str().unwrap()])
        .succeeds();
    for (policy, made) in [("a", true), ("b", true)] {
        let path = run.file(&format!("policy/{policy}/model.safetensors"));
        assert_eq!(path.is_file(), made, "{policy}");
    }
    assert!(!run.file("samples/b").exists());
}

#[test]
fn a_checkpoint_without_its_value_model_is_told() {
    let run = Run::new(
        r#"
[policies.ppo]
method = "rl"
advantage = "gae"
max_steps = 40
value = { learning_rate = 1e-3, gamma = 1.0, lam = 0.95, warmup_batches = 0 }
"#,
    );
    let mut call = run.pipeline(&["--until", "policy/ppo"]);
    let mut child = call
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dir = run.file(".scratch/policy__ppo");
    let checkpoint = || {
        let entries = fs::read_dir(&dir).ok()?.flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths.find(|path| {
            let name = path.to_string_lossy().into_owned();
            name.contains("checkpoint-") && !name.ends_with(".partial")
        })
    };
    while checkpoint().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        let _ = fs::remove_dir_all(entry.path().join("value"));
    }
    run.pipeline(&["--until", "policy/ppo"])
        .fails(1, &["has no value model", "delete the checkpoint"]);
}

#[test]
fn a_killed_policy_goes_on_and_ends_with_the_same_bytes() {
    let longer = r#"
[policy]
max_steps = 12
[policies.ppo]
method = "rl"
advantage = "gae"
num_iterations = 2
epsilon = 0.2
kl_target = 0.5
kl_horizon = 100.0
value = { learning_rate = 1e-3, gamma = 1.0, lam = 0.95, warmup_batches = 1 }
"#;
    let whole = Run::new(longer);
    whole.pipeline(&["--until", "policy/ppo"]).succeeds();
    let run = Run::new(longer);
    let mut resumed = false;
    for step in [4, 8] {
        let mut call = run.pipeline(&["--until", "policy/ppo"]);
        let log = fs::File::create(run.path("log")).unwrap();
        let mut child = call.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let moment = run.file(&format!(".scratch/policy__ppo/checkpoint-{step}"));
        while !moment.exists() && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = fs::read_to_string(run.path("log")).unwrap();
        resumed |= log.contains("policy/ppo") && log.contains("resumed");
    }
    let last = run.pipeline(&["--until", "policy/ppo"]).succeeds();
    resumed |= last.stderr.contains("resumed");
    assert!(resumed, "no kill came at a checkpoint");
    for file in ["model.safetensors", "summary.json", "metrics.jsonl"] {
        let path = format!("policy/ppo/{file}");
        let (found, expected) = (run.file(&path), whole.file(&path));
        assert!(
            fs::read(found).unwrap() == fs::read(expected).unwrap(),
            "{file} differs"
        );
    }
}

#[test]
fn a_guard_stops_with_figures_and_leaves_the_last_good_policy() {
    let run = Run::new(
        r#"
[policy]
learning_rate = 3e-3
max_steps = 30
beta = 0.0
[policies.hasty]
method = "rl"
reward = "closed-form"
guards = { max_kl = 0.5 }
"#,
    );
    run.pipeline(&["--until", "policy/hasty"]).succeeds();
    let summary = json(&run, "policy/hasty/summary.json");
    let stopped = summary["stopped"].as_str().unwrap();
    assert!(stopped.contains("above guards.max_kl = 0.5"), "{summary}");
    let step = |name: &str| summary[name].as_u64().unwrap();
    let (kept, steps) = (step("policy_of_step"), step("steps"));
    assert!(kept < steps && steps < 30, "{summary}");
    // What is kept is what training was at that step: a run that ends there leaves the same.
    assert_ne!(kept, 0, "{summary}");
}

#[test]
fn settings_that_do_not_go_together_are_told_with_their_keys() {
    let refused = |extra: &str, parts: &[&str]| {
        Run::new(extra).pipeline(&[]).fails(2, parts);
    };
    refused(
        r#"
[policies.rloo]
method = "rl"
bta = 0.1
num_generations = 1
kl_placement = "loss"
[policies.init-sft]
method = "sampler"
temperature = -1.0
strength = 0.0
[policies.dpo]
method = "offline"
reward = "nobody"
objective = { method = "dpo", beta = 0.1, label_smoothing = 0.7, labels = "sampled" }
"#,
        &["`policies.rloo.bta` is not known; did you mean `beta`?"],
    );
    refused(
        r#"
[policies.rloo]
method = "rl"
num_generations = 1
kl_placement = "loss"
[policies.init-sft]
method = "sampler"
temperature = -1.0
strength = 0.0
[policies.dpo]
method = "offline"
reward = "nobody"
objective = { method = "dpo", beta = 0.1, label_smoothing = 0.7, labels = "sampled" }
"#,
        &[
            "`policies.rloo.num_generations` must be 2 or more",
            "`policies.rloo.kl_estimator` must be \"k2\" or \"k3\" in the loss",
            "`policies.init-sft` must have a name of its own",
            "`policies.init-sft.temperature` must be above 0",
            "`policies.dpo.objective.label_smoothing` must be in [0, 0.5)",
            "`policies.dpo.reward` must be one of init-sft",
        ],
    );
    refused(
        "[policies.rloo]\nmethod = \"rl\"\nnum_generations = 3\nguards = { max_kl = 1.0 }\nsave_steps = 0\n",
        &[
            "`policies.rloo.num_generations` must be a divisor",
            "`policies.rloo.save_steps` must be above 0",
        ],
    );
    refused(
        r#"
[policies.a]
method = "rl"
from = "b"
[policies.b]
method = "rl"
from = "a"
[policies.c]
method = "sampler"
temperature = 1.0
strength = 0.0
from = "d"
[policies.d]
method = "rl"
reward = "closed-form"
reference = "initial"
reward_transform = { name = "best_of_n", n = 1 }
[policies.e]
method = "adversarial"
rounds = 0
replay = false
discriminator = "fresh"
reward_transform = { name = "best_of_n", n = 4 }
"#,
        &[
            "`policies.a.from` must be another of the policies",
            "`policies.c.from` must be left out where",
            "`policies.d.reward_transform.n` must be 2 or more",
            "`policies.d.reward_transform` needs a reward of whole answers",
            "`policies.d.reference` must be \"start\"",
            "`policies.e.rounds` must be 1 or more",
            "`policies.e.reward_transform.name` must be \"gail\" or \"ratio\"",
        ],
    );
    for name in ["best-of-n-init-sft", "sft-stored", "rloo-stored"] {
        let table = format!("[policies.{name}]\nmethod = \"weights\"\nstrength = 0.5\n");
        refused(&table, &["must have a name of its own"]);
    }
    refused(
        "[policies]\nalgined = false\n",
        &["`policies.algined` is not known"],
    );
    refused(
        r#"
[reward]
objective = "bradley_terry"
label_smoothing = 0.0
[policies.game]
method = "adversarial"
rounds = 1
replay = false
discriminator = "fresh"
reward_transform = { name = "gail" }
[policies.bond]
method = "rl"
reward_transform = { name = "best_of_n", n = 8 }
"#,
        &[
            "`reward.objective` must be one whose logit is a log-ratio",
            "`sample.stored_num_generations` must be 8 or more for policies.bond.reward_transform",
        ],
    );
    refused("policy = 3\n", &["`policy` must be a table, but is 3"]);
    // A game learns rewards of its own: the one that the table below names for all is not its concern.
    Run::new(
        r#"
[policy]
reward = "closed-form"
[policies.game]
method = "adversarial"
rounds = 1
replay = false
discriminator = "fresh"
held_out_reward = "init-sft"
reward_transform = { name = "gail" }
"#,
    )
    .afd("check", &[])
    .succeeds();
    let run = Run::new(
        "[policies.rloo]\nmethod = \"rl\"\nper_device_train_batch_size = 999\nnum_generations = 3\n",
    );
    run.pipeline(&["--until", "policy/rloo"])
        .fails(1, &["a batch of 999 answers", "prompts"]);
}
