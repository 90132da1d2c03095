//! Answers drawn in shards, each in a copy of the run, and put together.

use std::fs;

use crate::util::{Ends, Run, copy, finished, read_rows};

/// The stages of answers of a tiny run.
const SAMPLES: [&str; 4] = ["init", "init-reward", "sft", "sft-reward"];

/// A copy of the finished run that has lost its answers.
fn without_answers() -> Run {
    let run = Run::finished();
    fs::remove_dir_all(run.file("samples")).unwrap();
    run
}

/// `afd stage NAME` in the run's directory.
fn stage(run: &Run, name: &str, args: &[&str]) -> std::process::Command {
    let mut call = run.afd(&format!("stage {name}"), args);
    call.arg("--run-dir").arg(run.root());
    call
}

#[test]
fn shards_from_several_machines_are_put_together_to_the_same_bytes() {
    let whole = without_answers();
    let mut batches = 0;
    for shard in ["1/2", "2/2"] {
        let machine = without_answers();
        let stderr = stage(&machine, "samples", &["--shard", shard])
            .succeeds()
            .stderr;
        // Nothing that comes after is begun.
        assert!(!stderr.contains("pairs"), "{stderr}");
        assert!(!machine.file("samples").exists());
        let name = shard.replace('/', "-of-");
        for stage in SAMPLES {
            let file = format!("shards/samples/{stage}/{name}/batches.jsonl");
            batches += read_rows(&machine.file(&file)).len();
        }
        copy(&machine.file("shards"), &whole.file("shards"));
    }
    assert!(
        batches >= 2 * SAMPLES.len(),
        "{batches} batches are hardly worth sharding"
    );

    let stderr = whole.pipeline(&[]).succeeds().stderr;
    for name in SAMPLES {
        let file = format!("samples/{name}/samples.jsonl");
        let bytes = |root: &std::path::Path| fs::read(root.join(&file)).unwrap();
        assert!(bytes(&whole.root()) == bytes(finished()), "{file}");
    }
    // Whatever was made of the answers is still right.
    let done: Vec<&str> = stderr.lines().filter(|l| l.contains(" done ")).collect();
    assert_eq!(done.len(), SAMPLES.len(), "{stderr}");
}

#[test]
fn a_shard_that_never_came_back_is_drawn() {
    let run = without_answers();
    stage(&run, "samples", &["--shard", "1/3"]).succeeds();
    stage(&run, "samples", &[]).succeeds();
    let file = "samples/sft/samples.jsonl";
    let bytes = |root: &std::path::Path| fs::read(root.join(file)).unwrap();
    assert!(bytes(&run.root()) == bytes(finished()));
}

#[test]
fn a_shard_of_other_answers_is_told_and_left_out_only_when_asked() {
    let run = without_answers();
    let shorter = ["--shard", "1/2", "--set", "sample.max_completion_length=15"];
    stage(&run, "samples", &shorter).succeeds();
    let parts = ["1-of-2", "another policy, configuration or seed"];
    stage(&run, "samples", &[]).fails(1, &parts);
    stage(&run, "samples", &["--force", "samples"]).succeeds();
    let file = "samples/sft/samples.jsonl";
    let bytes = |root: &std::path::Path| fs::read(root.join(file)).unwrap();
    assert!(bytes(&run.root()) == bytes(finished()));
}

#[test]
fn shards_that_do_not_exist_are_refused() {
    let run = Run::new("");
    stage(&run, "sft", &["--shard", "1/2"]).fails(2, &["`samples`", "not for `sft`"]);
    stage(&run, "samples", &["--shard", "3/2"]).fails(2, &["no shard 3 of 2"]);
    stage(&run, "samples", &["--shard", "half"]).fails(2, &["two numbers, as in 2/4"]);
}
