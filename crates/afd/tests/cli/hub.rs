//! Models by name, from a cache that is here; nothing opens a connection.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::util::{Ends, Run, afd, base, copy, root};

const FIRST: &str = "0123456789abcdef0123456789abcdef01234567";
const SECOND: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// The repository `org/base` in a cache of the run's own.
fn repository(run: &Run) -> PathBuf {
    run.path("hf/hub/models--org--base")
}

/// Makes `commit` what the branch `main` is, with the base checkpoint in it.
fn publish(run: &Run, commit: &str) -> PathBuf {
    let snapshot = repository(run).join("snapshots").join(commit);
    copy(&base(), &snapshot);
    let refs = repository(run).join("refs");
    fs::create_dir_all(&refs).unwrap();
    fs::write(refs.join("main"), commit).unwrap();
    snapshot
}

fn named(extra: &str) -> Run {
    Run::new(&format!("[model]\npath = \"org/base\"\n{extra}"))
}

/// The call with the run's cache, and a Hub that nobody could reach.
fn with_cache(run: &Run, mut call: Command) -> Command {
    call.env("HF_HOME", run.path("hf"));
    call.env("HF_ENDPOINT", "http://127.0.0.1:1");
    call.env("NO_PROXY", "127.0.0.1");
    call
}

fn offline(run: &Run, args: &[&str]) -> Command {
    let mut call = with_cache(
        run,
        run.pipeline(&[&["--until", "data"][..], args].concat()),
    );
    call.env("HF_HUB_OFFLINE", "1");
    call
}

fn json(run: &Run, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(run.file(name)).unwrap()).unwrap()
}

#[test]
fn check_says_where_a_model_is_and_fetches_nothing() {
    let run = named("");
    let check = || with_cache(&run, run.afd("check", &[]));
    let first = check().succeeds().stdout;
    let line = "# model.path: org/base would be fetched from http://127.0.0.1:1\n";
    assert!(first.starts_with(line), "{first}");
    assert!(first.contains("path = \"org/base\""), "{first}");
    assert!(!run.path("hf").exists());

    let parts = ["`org/base` is not in the cache", "unset HF_HUB_OFFLINE"];
    check().env("HF_HUB_OFFLINE", "1").fails(1, &parts);

    publish(&run, FIRST);
    let second = check().succeeds().stdout;
    let line = format!("# model.path: org/base is in the cache, at commit {FIRST}\n");
    assert!(second.starts_with(&line), "{second}");
}

#[test]
fn a_cached_model_is_checked_like_a_directory() {
    let run = named("[sft]\nmax_length = 1025\n");
    publish(&run, FIRST);
    let parts = ["`sft.max_length` must not exceed the model's context of 1024"];
    with_cache(&run, run.afd("check", &[])).fails(2, &parts);
}

#[test]
fn a_directory_of_the_same_name_wins() {
    let run = named("");
    copy(&base(), &run.path("org/base"));
    let printed = with_cache(&run, run.afd("check", &[])).succeeds().stdout;
    let dir = run.path("org/base");
    assert!(printed.contains(dir.to_str().unwrap()), "{printed}");
    assert!(!printed.starts_with('#'), "{printed}");
}

#[test]
fn a_run_keeps_its_commit_until_the_name_changes() {
    let run = named("");
    publish(&run, FIRST);
    offline(&run, &[]).succeeds();
    let pin = &json(&run, "run.json")["models"]["model.path"];
    assert_eq!(pin["repository"], "org/base");
    assert_eq!(pin["commit"], FIRST);
    let manifest = json(&run, "data/manifest.json");
    assert_eq!(manifest["inputs"][0]["name"], format!("org/base@{FIRST}"));

    // The branch moves on; the run does not, nor does what others put beside its files count.
    let second = publish(&run, SECOND);
    let changed = fs::read_to_string(second.join("generation_config.json")).unwrap() + "\n";
    fs::write(second.join("generation_config.json"), changed).unwrap();
    let first = repository(&run).join("snapshots").join(FIRST);
    fs::write(first.join("README.md"), "# A model").unwrap();
    // A commit that is here needs no network and no word that there is none.
    let mut again = with_cache(&run, run.pipeline(&["--until", "data"]));
    let told = again.succeeds().stderr;
    assert!(told.contains("skipped"), "{told}");
    assert_eq!(
        json(&run, "run.json")["models"]["model.path"]["commit"],
        FIRST
    );

    // Another name is looked up anew, and other files make another result.
    let name = format!("model.path=org/base@{SECOND}");
    let told = offline(&run, &["--set", &name]).succeeds().stderr;
    assert!(!told.contains("skipped"), "{told}");
    let pin = &json(&run, "run.json")["models"]["model.path"];
    assert_eq!(pin["repository"], format!("org/base@{SECOND}"));
    assert_eq!(pin["commit"], SECOND);
}

#[test]
fn a_directory_with_the_same_files_is_the_same_input() {
    let run = named("");
    let snapshot = publish(&run, FIRST);
    fs::remove_file(snapshot.join("summary.json")).unwrap();
    offline(&run, &[]).succeeds();
    let set = format!("model.path={}", snapshot.display());
    let told = offline(&run, &["--set", &set]).succeeds().stderr;
    assert!(told.contains("skipped"), "{told}");
    let pins = &json(&run, "run.json")["models"];
    assert_eq!(pins, &serde_json::json!({}));
}

#[test]
fn what_cannot_be_reached_is_told_before_anything_runs() {
    let run = named("");
    let parts = ["cannot reach 127.0.0.1", "HF_HUB_OFFLINE=1"];
    with_cache(&run, run.pipeline(&[])).fails(1, &parts);
    assert!(!run.file("data").exists());
    assert!(!run.file("run.json").exists());
}

#[test]
fn the_papers_configurations_are_complete() {
    for (config, model, golden) in [
        (
            "hh-harmless-gpt2.toml",
            "openai-community/gpt2",
            "Ray2333/gpt2-large-harmless-reward_model",
        ),
        (
            "hh-helpful-gemma-2b.toml",
            "google/gemma-2b",
            "weqweasdas/RM-Gemma-7B",
        ),
    ] {
        let run = Run::new("");
        let rows = run.write("rows.jsonl", "{}");
        let mut check = afd(["check", "--config"]);
        check.arg(root().join("configs").join(config));
        // Without bf16 of its own, the device of the tests takes the place of a GPU.
        check.args([
            "--set",
            "precision.params=f32",
            "--set",
            "precision.compute=f32",
        ]);
        check.arg("--set").arg(format!("data.path={rows:?}"));
        let told = check.succeeds().stdout;
        for part in [
            format!("model.path: {model} "),
            format!("eval.golden_path: {golden} "),
        ] {
            assert!(told.contains(&part), "no {part:?} in:\n{told}");
        }
        assert!(told.contains("target_modules = \"all-linear\""), "{told}");
    }
}
