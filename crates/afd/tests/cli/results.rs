//! What is told of runs: results side by side, costs, and a run that another process is at.

use std::{fs, process::Stdio};

use crate::util::{Ends, Run, afd, finished, root};

#[test]
fn several_runs_stand_side_by_side() {
    let root = finished().to_str().unwrap();
    let one = afd(["report", root]).succeeds().stdout;
    assert!(
        one.contains("golden reward: world") && one.contains("report.html"),
        "{one}"
    );
    let two = afd(["report", root, root]).succeeds().stdout;
    let heads = two.lines().next().unwrap();
    assert_eq!(heads.matches(root).count(), 2, "{two}");
    assert!(two.contains("best of 3 by init-sft"), "{two}");
    // The same seed twice says nothing of others.
    assert!(!two.contains("differences over"), "{two}");
    let other = Run::finished();
    let config = other.file("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let seed = text.lines().find(|line| line.starts_with("seed")).unwrap();
    fs::write(&config, text.replace(seed, "seed = 123")).unwrap();
    let other = other.root();
    let seeds = afd(["report", root, other.to_str().unwrap()])
        .succeeds()
        .stdout;
    for part in [
        "differences over 2 seeds of one configuration",
        "best of 3 by init-sft - sft",
        "seed 123",
        "no claim about other seeds: over 2 of them",
    ] {
        assert!(seeds.contains(part), "no {part:?} in:\n{seeds}");
    }
    afd(["report", root, "nowhere"]).fails(2, &["nowhere holds no finished evaluation"]);
}

#[test]
fn a_report_has_the_calibration_of_its_reward_models() {
    let summary = fs::read_to_string(finished().join("eval/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    for ranker in summary["rankers"].as_array().unwrap() {
        let learned = ranker["eval_auc"].is_number();
        assert_eq!(
            ranker["calibration"]["bins"].is_array(),
            learned,
            "{ranker}"
        );
    }
    let report = fs::read_to_string(finished().join("eval/report.html")).unwrap();
    assert!(report.contains("as predicted"));
}

#[test]
fn costs_are_told_stage_by_stage_and_in_all() {
    let told = afd(["costs", finished().to_str().unwrap()])
        .succeeds()
        .stdout;
    for stage in ["sft ", "reward/init-sft ", "eval ", "all stages "] {
        assert!(told.lines().any(|line| line.starts_with(stage)), "{told}");
    }
    let empty = tempfile::tempdir().unwrap();
    afd(["costs", empty.path().to_str().unwrap()]).fails(2, &["holds no finished stage"]);
}

#[test]
fn a_run_can_be_watched_from_elsewhere_to_its_end() {
    let run = Run::new("");
    afd(["watch", run.root().to_str().unwrap()]).fails(2, &["is no run"]);
    fs::create_dir_all(run.root()).unwrap();
    let log = fs::File::create(run.path("log")).unwrap();
    let mut child = run
        .pipeline(&[])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    while !run.file(".scratch/sft").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Ends with the run, whatever becomes of it.
    let told = afd(["watch", run.root().to_str().unwrap()])
        .succeeds()
        .stdout;
    assert!(child.wait().unwrap().success());
    assert!(
        told.contains(" ended\n") && told.contains("golden reward: world"),
        "{told}"
    );
    // Curves as TensorBoard reads them lie beside their lines.
    assert_eq!(fs::read_dir(run.file("sft/tb")).unwrap().count(), 1);
}

#[test]
fn the_schema_in_the_documents_is_that_of_the_summary() {
    let told = afd(["schema"]).succeeds().stdout;
    let path = root().join("docs/summary.schema.json");
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        told == written,
        "write it anew: afd schema > docs/summary.schema.json"
    );
}

#[test]
fn a_watched_run_that_is_given_up_names_where_it_stopped() {
    let run = Run::new("[sft]\nnum_train_epochs = 50\n");
    let mut child = run
        .pipeline(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.file(".scratch/sft/metrics.jsonl").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut watch = afd(["watch", run.root().to_str().unwrap()]);
    let watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    let outcome = watch.wait_with_output().unwrap();
    let error = String::from_utf8(outcome.stderr).unwrap();
    assert!(error.contains("sft is not finished"), "{error}");
}
