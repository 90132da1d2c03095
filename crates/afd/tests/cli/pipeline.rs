//! A whole run: what it leaves, what a second one does, and which stages one can ask for.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::util::{Ends, RANKERS, Run, finished, manifests};

/// Stages that a call ran and skipped, by its standard error.
fn stages(stderr: &str) -> (Vec<&str>, Vec<&str>) {
    let with = |word: &str| {
        let lines = stderr.lines().filter(|line| line.contains(word));
        lines.filter_map(|line| line.split(' ').next()).collect()
    };
    (with(" done "), with(" skipped"))
}

#[test]
fn the_summary_has_every_policy() {
    let text = fs::read_to_string(finished().join("eval/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let name = |row: &Value| {
        let ranker = row["ranker"].as_str().unwrap_or("-");
        format!("{} {ranker} {}", row["policy"].as_str().unwrap(), row["n"])
    };
    let rows: Vec<String> = summary["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect();
    let mut expected = vec!["init - 1".to_owned(), "sft - 1".to_owned()];
    for ranker in RANKERS {
        expected.extend([1, 2, 3].map(|n| format!("best-of-n {ranker} {n}")));
    }
    assert_eq!(rows, expected);
    assert_eq!(summary["prompts"], 16);
    for row in summary["rows"].as_array().unwrap() {
        assert!(row["golden_mean"].is_f64(), "{row}");
    }
}

#[test]
fn a_finished_run_holds_what_the_map_says() {
    for file in [
        "config.toml",
        "run.json",
        "data/dropped.jsonl",
        "sft/model.safetensors",
        "sft/tokenizer.json",
        "samples/init-reward/samples.jsonl",
        "pairs/sft-demo/pairs.jsonl",
        "reward/preference/summary.json",
        "scores/closed-form/scores.jsonl",
        "policy/best-of-n/closed-form.jsonl",
        "eval/golden.jsonl",
        "eval/report.md",
        "eval/report.html",
    ] {
        assert!(finished().join(file).is_file(), "{file}");
    }
    let left = fs::read_dir(finished().join(".scratch")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_second_run_skips_every_stage_and_changes_nothing() {
    let run = Run::finished();
    let before = manifests(&run.root());
    let outcome = run.pipeline(&[]).succeeds();
    let (ran, skipped) = stages(&outcome.stderr);
    assert_eq!(ran, Vec::<&str>::new());
    let names: BTreeSet<&str> = before.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(skipped.into_iter().collect::<BTreeSet<_>>(), names);
    assert_eq!(manifests(&run.root()), before);
}

#[test]
fn a_key_of_the_evaluation_reruns_the_evaluation_alone() {
    let run = Run::finished();
    let old = run.summary();
    let outcome = run
        .pipeline(&["--set", "eval.bootstrap_resamples=300"])
        .succeeds();
    assert_eq!(stages(&outcome.stderr).0, ["eval"]);
    assert_ne!(run.summary(), old);
}

#[test]
fn a_kl_may_choose_among_the_answers_instead_of_the_best() {
    let run = Run::finished();
    let soft = ["--set", "best_of_n.n=3", "--set", "best_of_n.target_kl=0.2"];
    let outcome = run.pipeline(&soft).succeeds();
    assert_eq!(stages(&outcome.stderr).0, ["policy/best-of-n"]);
    let text = fs::read_to_string(run.file("policy/best-of-n/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    for ranker in ["init-sft", "closed-form"] {
        let kl = summary[ranker]["kl"].as_f64().unwrap();
        assert!((kl - 0.2).abs() < 1e-9, "{ranker}: {kl}");
    }
    // ln 2 is as far as a choice of two goes.
    let parts = ["`best_of_n.target_kl`", "below ln n = 0.693"];
    run.pipeline(&["--set", "best_of_n.target_kl=0.7"])
        .fails(2, &parts);
    run.pipeline(&["--set", "best_of_n.temperature=0"])
        .fails(2, &["`best_of_n.temperature` must be above 0"]);
}

#[test]
fn a_seed_decides_every_byte() {
    let expected = fs::read(finished().join("eval/summary.json")).unwrap();
    let golden = fs::read(finished().join("eval/golden.jsonl")).unwrap();
    let same = Run::new("");
    same.pipeline(&[]).succeeds();
    assert_eq!(same.summary().into_bytes(), expected);
    assert_eq!(fs::read(same.file("eval/golden.jsonl")).unwrap(), golden);

    same.pipeline(&["--set", "seed=1"]).succeeds();
    assert_ne!(same.summary().into_bytes(), expected);
    let about: Value =
        serde_json::from_str(&fs::read_to_string(same.file("run.json")).unwrap()).unwrap();
    assert_eq!(about["seed"], 1);
}

#[test]
fn until_and_stage_stop_where_they_are_told() {
    let run = Run::new("");
    let outcome = run.pipeline(&["--until", "data"]).succeeds();
    assert_eq!(stages(&outcome.stderr).0, ["data"]);
    assert!(!run.file("sft").exists());
    // No report of what is not there.
    assert_eq!(outcome.stdout, "");

    let root = run.root();
    let place = ["--run-dir", root.to_str().unwrap()];
    let outcome = run.afd("stage samples/init-reward", &place).succeeds();
    assert_eq!(
        stages(&outcome.stderr),
        (vec!["sft", "samples/init-reward"], vec!["data"])
    );
    // A group is all its stages.
    let outcome = run.afd("stage samples", &place).succeeds();
    let rest = vec!["samples/sft-reward", "samples/init", "samples/sft"];
    assert_eq!(stages(&outcome.stderr).0, rest);
}

#[test]
fn force_and_from_run_again_what_they_name() {
    let run = Run::finished();
    let old = run.summary();
    let ran = |args: &[&str]| {
        let outcome = run.pipeline(args).succeeds();
        let (ran, _) = stages(&outcome.stderr);
        ran.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ran(&["--force", "pairs/init-demo"]), ["pairs/init-demo"]);
    assert_eq!(
        ran(&["--force", "pairs", "--force", "eval"]),
        [
            "pairs/init-sft",
            "pairs/init-demo",
            "pairs/sft-demo",
            "pairs/preference",
            "eval"
        ]
    );
    let late = [
        "scores/preference",
        "scores/closed-form",
        "diagnostics/init-sft",
        "diagnostics/init-demo",
        "diagnostics/sft-demo",
        "diagnostics/preference",
        "policy/best-of-n",
        "spread",
        "eval",
    ];
    assert_eq!(ran(&["--from", "scores/preference"]), late);
    // What ran again came out as before.
    assert_eq!(run.summary(), old);
}

#[test]
fn an_unknown_stage_is_answered_with_the_list() {
    let run = Run::new("");
    // Those that ran, without the judge's, which this configuration does not have.
    let ran: BTreeSet<String> = manifests(finished()).into_iter().map(|(n, _)| n).collect();
    for name in ["sfd", "reward/nonsense", "reward/judge", "samp"] {
        for flag in ["--until", "--from", "--force"] {
            let error = run.pipeline(&[flag, name]).fails(2, &[name]);
            let (_, list) = error.split_once("the stages are ").unwrap();
            let list: BTreeSet<String> = list.trim().split(", ").map(str::to_owned).collect();
            assert_eq!(list, ran);
        }
    }
    let error = run
        .afd("stage sfd", &[])
        .fails(2, &["there is no stage `sfd`"]);
    assert!(error.contains("policy/best-of-n"), "{error}");
    assert!(!run.root().exists());
}

#[test]
fn report_prints_the_table_or_says_what_to_do() {
    let root = finished().to_str().unwrap();
    let outcome = crate::util::afd(["report", root]).succeeds();
    for word in RANKERS.iter().chain(&["demonstrator", "report.html"]) {
        assert!(outcome.stdout.contains(word), "{}", outcome.stdout);
    }
    let run = Run::new("");
    crate::util::afd(["report", run.root().to_str().unwrap()])
        .fails(2, &["holds no finished evaluation", "--run-dir"]);
}

#[test]
fn what_check_prints_is_the_same_configuration() {
    let run = Run::new("[world]\nquality = 0.7\n");
    // From elsewhere and by a relative path, so that relative paths would show.
    let mut check = run.afd("check", &["--set", "sft.learning_rate=3e-4"]);
    let printed = check.succeeds().stdout;
    assert!(!printed.contains("extends"), "{printed}");
    run.write("config.toml", &printed);
    assert_eq!(run.afd("check", &[]).succeeds().stdout, printed);

    let mut relative = crate::util::afd(["check"]);
    relative.current_dir(crate::util::root());
    let printed = relative.succeeds().stdout;
    run.write("config.toml", &printed);
    assert_eq!(run.afd("check", &[]).succeeds().stdout, printed);
}

#[test]
fn the_configuration_a_run_keeps_repeats_it() {
    let run = Run::finished();
    let kept = fs::read(run.file("config.toml")).unwrap();
    run.write("config.toml", kept);
    let outcome = run.pipeline(&[]).succeeds();
    assert_eq!(stages(&outcome.stderr).0, Vec::<&str>::new());
}
