//! Kills at any moment: the run goes on, and ends with the same bytes.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::util::{Ends, Run};

/// Longer training, so that there is something to interrupt.
const LONGER: &str = "
[sft]
num_train_epochs = 3
[sample]
generation_batch_size = 8
max_completion_length = 32
[reward]
num_train_epochs = 3
";

/// Long beyond what a whole run takes.
const DEADLINE: Duration = Duration::from_secs(120);

/// Starts the pipeline; its standard error goes to a file, so that nobody need read it.
fn start(run: &Run) -> Child {
    let log = fs::File::create(run.path("log")).unwrap();
    let mut call = run.pipeline(&[]);
    call.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Waits until `path` is there or the process has ended.
fn wait_for(path: &Path, child: &mut Child) {
    let start = Instant::now();
    while !path.exists() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < DEADLINE, "no {}", path.display());
        sleep(Duration::from_millis(1));
    }
}

/// SIGKILL: nothing is cleaned up.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// `eval/summary.json` of a run that nobody interrupted.
fn undisturbed() -> &'static str {
    static SUMMARY: OnceLock<String> = OnceLock::new();
    SUMMARY.get_or_init(|| {
        let run = Run::new(LONGER);
        run.pipeline(&[]).succeeds();
        run.summary()
    })
}

#[test]
fn kills_at_checkpoints_and_between_change_nothing() {
    let run = Run::new(LONGER);
    let mut resumed = Vec::new();
    for moment in [
        "data",
        "sft/checkpoint-2",
        // The same stage again.
        "sft/checkpoint-6",
        "samples__sft/samples.partial.jsonl",
        "reward__init-sft",
        "reward__init-demo/checkpoint-2",
        "reward__init-demo/checkpoint-best",
        "reward__preference/checkpoint-4",
        "scores__closed-form",
        "eval",
    ] {
        let mut child = start(&run);
        wait_for(&run.file(".scratch").join(moment), &mut child);
        kill(child);
        let log = fs::read_to_string(run.path("log")).unwrap();
        let lines = log.lines().filter(|line| line.ends_with(" resumed"));
        resumed.extend(lines.map(str::to_owned));
    }
    run.pipeline(&[]).succeeds();
    assert_eq!(run.summary(), undisturbed());
    assert_eq!(fs::read_dir(run.file(".scratch")).unwrap().count(), 0);
    // Whether every moment was met depends on the machine; training is long enough to be.
    assert!(
        resumed.iter().any(|line| line.starts_with("sft ")),
        "{resumed:?}"
    );
}

#[test]
fn kills_at_arbitrary_moments_change_nothing() {
    let run = Run::new(LONGER);
    // A linear congruential generator: the same moments every time, as far as clocks go.
    let mut state: u32 = 7;
    for _ in 0..12 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let child = start(&run);
        sleep(Duration::from_millis(u64::from(state >> 16) % 700));
        kill(child);
    }
    run.pipeline(&[]).succeeds();
    assert_eq!(run.summary(), undisturbed());
}

#[test]
fn adapters_are_resumed_like_whole_models() {
    let lora = format!(
        "{LONGER}
[model]
path = \"model\"
[sft.lora]
r = 4
lora_alpha = 8
lora_dropout = 0.1
target_modules = \"all-linear\"
[reward.lora]
r = 4
lora_alpha = 8
lora_dropout = 0.1
target_modules = [\"q_proj\", \"v_proj\"]
"
    );
    // A base that names no padding: the reward model learns of it from the tokenizer.
    let new = || {
        let run = Run::new(&lora);
        let path = run.copy_of_base().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["pad_token_id"].take();
        fs::write(path, json.to_string()).unwrap();
        run
    };
    let whole = new();
    whole.pipeline(&[]).succeeds();
    let run = new();
    for moment in ["sft/checkpoint-4", "reward__init-sft/checkpoint-4"] {
        let mut child = start(&run);
        wait_for(&run.file(".scratch").join(moment), &mut child);
        kill(child);
    }
    run.pipeline(&[]).succeeds();
    assert_eq!(run.summary(), whole.summary());
    // A checkpoint is what trains: adapters, and the optimiser's state of them.
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let weights = size(&run.file("sft/model.safetensors"));
    let mut entries = fs::read_dir(run.file("sft")).unwrap();
    let checkpoint = entries.find_map(|entry| {
        let path = entry.unwrap().path();
        path.join("optimizer.bpk").exists().then_some(path)
    });
    let checkpoint = checkpoint.unwrap();
    for file in ["adapter_model.safetensors", "optimizer.bpk"] {
        let bytes = size(&checkpoint.join(file));
        assert!(bytes * 4 < weights, "{file}: {bytes} of {weights} bytes");
    }
    let config = fs::read_to_string(run.file("reward/init-sft/config.json")).unwrap();
    assert!(config.contains("\"pad_token_id\": 1"), "{config}");
    for stage in ["sft", "reward/init-sft"] {
        let config = run.file(stage).join("adapter/adapter_config.json");
        let config = fs::read_to_string(config).unwrap();
        assert!(config.contains("\"peft_type\": \"LORA\""), "{config}");
    }
}

#[test]
fn ensembles_and_snapshots_are_resumed_member_by_member() {
    let ensemble = format!(
        "{LONGER}
[reward.ensemble]
num_members = 2
aggregate = \"min\"
[pairs]
sources = [\"init-sft\"]
[closed_form.variants.half]
reduction = \"sum\"
references = [0.5, \"moving_average\"]
"
    );
    let ensemble = ensemble.replace("[sft]", "[sft]\nsnapshots = [0.5]\nmoving_average = 0.9");
    let whole = Run::new(&ensemble);
    whole.pipeline(&[]).succeeds();
    let run = Run::new(&ensemble);
    for moment in [
        "sft/snapshot-0.5",
        "sft/checkpoint-8",
        "reward__init-sft/checkpoint-member-0/checkpoint-2",
        "reward__init-sft/checkpoint-member-0.json",
        "reward__init-sft/checkpoint-member-1/checkpoint-4",
    ] {
        let mut child = start(&run);
        wait_for(&run.file(".scratch").join(moment), &mut child);
        kill(child);
    }
    run.pipeline(&[]).succeeds();
    assert_eq!(run.summary(), whole.summary());
    for file in [
        "predictions.jsonl",
        "summary.json",
        "member-1/model.safetensors",
    ] {
        let of = |run: &Run| fs::read(run.file("reward/init-sft").join(file)).unwrap();
        assert!(of(&run) == of(&whole), "{file}");
    }
    let steps = |run: &Run| -> Vec<String> {
        let text = fs::read_to_string(run.file("reward/init-sft/metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["step"].to_string()
        });
        lines.collect()
    };
    assert_eq!(steps(&run), steps(&whole));
}

#[test]
fn a_run_has_one_process_at_a_time() {
    let run = Run::new(LONGER);
    let mut first = start(&run);
    wait_for(&run.file(".scratch/sft/checkpoint-2"), &mut first);
    let root = run.root();
    let parts = ["in use by another process", root.to_str().unwrap()];
    run.pipeline(&["--set", "seed=5"]).fails(1, &parts);
    assert!(first.wait().unwrap().success());
    let about = fs::read_to_string(run.file("run.json")).unwrap();
    assert!(about.contains("\"seed\": 0"), "{about}");
    assert_eq!(run.summary(), undisturbed());
}

#[test]
fn a_lost_file_is_told_and_rebuilt_only_when_asked() {
    let run = Run::finished();
    let summary = run.summary();
    fs::remove_file(run.file("reward/init-sft/model.safetensors")).unwrap();
    let parts = ["reward/init-sft/model.safetensors", "is missing"];
    run.pipeline(&[])
        .fails(1, &[&parts[..], &["--force reward/init-sft"]].concat());
    run.pipeline(&["--force", "reward/init-sft"]).succeeds();
    assert_eq!(run.summary(), summary);
}
