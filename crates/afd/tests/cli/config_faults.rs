//! Configurations that cannot be used: all that is wrong is told, with its place and the remedy.

use std::fs;

use crate::util::{Ends, Run, root};

/// Fails to check `extra` laid over the tiny configuration; nothing is run.
#[track_caller]
fn refused(extra: &str, parts: &[&str]) -> String {
    Run::new(extra).afd("check", &[]).fails(2, parts)
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() {
    let parts = [
        "config.toml:3: `sft.learning_rat` is not known",
        "did you mean `learning_rate`?",
    ];
    refused("[sft]\nlearning_rat = 1e-4\n", &parts);
    let parts = [
        "config.toml:3: `sfd`",
        "is not known",
        "did you mean `sft`?",
    ];
    refused("[sfd]\nlearning_rate = 1e-4\n", &parts);
    // Also when it holds nothing.
    refused("[sfd]\n", &["config.toml:2: `sfd` is not known"]);
    // Like nothing at all: no suggestion is better than a silly one.
    let error = refused("zzz = 1\n", &["config.toml:2: `zzz` is not known"]);
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn several_problems_are_told_at_once() {
    let unknown = "[sft]\nwarmup = 1\n[reward]\nobjective = \"mse\"\n[eval]\nn = \"all\"\n";
    let parts = [
        "config.toml:3: `sft.warmup` is not known",
        "config.toml:5: `reward.objective`",
        "binary_cross_entropy",
        "config.toml:7: `eval.n`",
        "expected a sequence",
    ];
    refused(unknown, &parts);

    let out_of_range = "[sft]\nlearning_rate = -1.0\n[world]\nquality = 2.0\n\
                        [sample]\ntop_k = 5\n[best_of_n]\nn = 100\n[data]\nmax_rows = { test = 0 }\n";
    let parts = [
        "config.toml:3: `sft.learning_rate` must be above 0",
        "config.toml:5: `world.quality` must be between 0 and 1",
        "`sample` must be temperature 1",
        "config.toml:9: `best_of_n.n` must be between 1 and sample.test_num_generations",
        "config.toml:11: `data.max_rows.test` is 0; must be at least 1",
    ];
    refused(out_of_range, &parts);
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_what_is_expected() {
    let parts = [
        "config.toml:3: `sft.num_train_epochs`",
        "string \"two\"",
        "u64",
    ];
    refused("[sft]\nnum_train_epochs = \"two\"\n", &parts);
    refused("seed = -1\n", &["config.toml:2: `seed`", "-1"]);
    // A value where a table should be.
    let error = refused(
        "sft = 3\n",
        &["config.toml:2: `sft` must be a table, but is 3"],
    );
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn every_value_of_the_wrong_type_is_told() {
    let extra = "[sft]\nnum_train_epochs = \"two\"\nmax_length = 1.5\nlr_scheduler_type = \"steps\"\n\
                 [data]\nsource = \"table\"\nsplit = { sft = \"all\" }\n";
    let parts = [
        "config.toml:3: `sft.num_train_epochs`",
        "config.toml:4: `sft.max_length`",
        "config.toml:5: `sft.lr_scheduler_type` unknown variant `steps`, expected one of `linear`",
        "config.toml:7: `data.source`",
        "config.toml:8: `data.split",
    ];
    let error = refused(extra, &parts);
    assert_eq!(error.lines().count(), 6, "{error}");
}

#[test]
fn lengths_beyond_the_models_context_are_told_before_anything_runs() {
    let parts = [
        "config.toml:3: `sft.max_length` must not exceed the model's context of 1024",
        "config.toml:5: `reward.max_length` must not exceed",
        "config.toml:7: `sample.max_completion_length` and data.max_prompt_length together",
    ];
    let extra = "[sft]\nmax_length = 1025\n[reward]\nmax_length = 1025\n\
                 [sample]\nmax_completion_length = 1000\n";
    refused(extra, &parts);
}

#[test]
fn a_missing_key_is_told_by_name() {
    let run = Run::new("");
    let printed = run.afd("check", &[]).succeeds().stdout;
    let without: Vec<&str> = printed
        .lines()
        .filter(|line| !line.starts_with("label_smoothing"))
        .collect();
    run.write("config.toml", without.join("\n"));
    let parts = ["config.toml", "`reward.label_smoothing` is missing"];
    run.afd("check", &[]).fails(2, &parts);
}

#[test]
fn splits_that_do_not_sum_to_one_are_refused_before_anything_runs() {
    let split =
        "[data]\nsplit = { sft = 0.9, reward = 0.5, validation = 0.1, judge = 0.0, test = 0.1 }\n";
    let parts = ["config.toml:3: `data.split` is in sum 1.6", "sum to 1"];
    refused(split, &parts);
}

#[test]
fn a_flag_is_refused_by_its_own_words() {
    let run = Run::new("");
    let set = |value| ["--set", value];
    let parts = ["--set sft.learning_rate: is not of the form key=value"];
    run.afd("check", &set("sft.learning_rate")).fails(2, &parts);
    let parts = [
        "--set sft.learning_rate=fast: `sft.learning_rate`",
        "expected f64",
    ];
    run.afd("check", &set("sft.learning_rate=fast"))
        .fails(2, &parts);
    let parts = ["--set sft.nonsense=1: `sft.nonsense` is not known"];
    run.afd("check", &set("sft.nonsense=1")).fails(2, &parts);
}

#[test]
fn an_environment_variable_sets_a_key_and_is_named_when_it_is_wrong() {
    let run = Run::new("");
    let check = |value: &str| {
        let mut call = run.afd("check", &[]);
        call.env("AFD__SFT__LEARNING_RATE", value);
        call
    };
    let printed = check("0.0625").succeeds().stdout;
    assert!(printed.contains("learning_rate = 0.0625"), "{printed}");
    let parts = ["AFD__SFT__LEARNING_RATE: `sft.learning_rate` must be above 0"];
    check("-1.0").fails(2, &parts);
    check("fast").fails(2, &["AFD__SFT__LEARNING_RATE: `sft.learning_rate`"]);
    // Flags are stronger.
    let mut both = check("0.0625");
    let printed = both
        .args(["--set", "sft.learning_rate=0.125"])
        .succeeds()
        .stdout;
    assert!(printed.contains("learning_rate = 0.125"), "{printed}");
    let mut unknown = run.afd("check", &[]);
    unknown.env("AFD__SFT__LEARNING_RAT", "1");
    unknown.fails(
        2,
        &["AFD__SFT__LEARNING_RAT: `sft.learning_rat` is not known"],
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let run = Run::new("");
    let missing = run.path("no/such.toml");
    let args = ["check", "--config", missing.to_str().unwrap()];
    crate::util::afd(args).fails(2, &["no/such.toml", "cannot be read"]);
    refused("[sft]\nseed = = 3\n", &["config.toml:3: not TOML"]);
    refused("[sft\n", &["config.toml:2: not TOML"]);
    run.write("config.toml", "extends = \"nowhere.toml\"\n");
    run.afd("check", &[])
        .fails(2, &["nowhere.toml", "cannot be read"]);
    run.write("config.toml", "extends = 3\n");
    run.afd("check", &[])
        .fails(2, &["config.toml", "`extends` must be a file name"]);
}

#[test]
fn files_that_extend_each_other_in_a_circle_are_refused() {
    let run = Run::new("");
    run.write("config.toml", "extends = \"other.toml\"\n");
    run.write("other.toml", "extends = \"config.toml\"\n");
    let parts = ["config.toml: extends itself, by way of", "other.toml"];
    run.afd("check", &[]).fails(2, &parts);
}

#[test]
fn paths_that_lead_nowhere_are_told_before_anything_runs() {
    let run = Run::new("[model]\npath = \"no-model\"\n");
    let parts = [
        "config.toml:3: `model.path` is",
        "no-model",
        "does not exist",
        "Hugging Face",
    ];
    run.pipeline(&[]).fails(2, &parts);
    assert!(!run.root().exists());
    let golden = "[eval]\ngolden = \"classifier\"\ngolden_path = \"no-judge\"\n";
    refused(
        golden,
        &[
            "config.toml:4: `eval.golden_path`",
            "no-judge",
            "does not exist",
        ],
    );
    let file = "[data]\nsource = \"file\"\npath = \"no.jsonl\"\n[eval]\ngolden = \"judge\"\n";
    let parts = [
        "config.toml:4: `data.path`",
        "no.jsonl",
        "does not exist",
        "`data.split.judge` must be above 0",
    ];
    refused(file, &parts);
}

#[test]
fn an_unknown_device_is_answered_with_those_there_are() {
    let run = Run::new("");
    let parts = ["unknown device `gpu9`; this build has: flex"];
    run.pipeline(&["--device", "gpu9"]).fails(2, &parts);
    run.pipeline(&[]).env("AFD_DEVICE", "gpu9").fails(2, &parts);
    run.afd("check", &["--set", "device=gpu9"]).fails(2, &parts);
    let mut generate = crate::util::afd(["generate", "--model", "m", "--prompts", "p"]);
    generate.env("AFD_DEVICE", "gpu9").fails(2, &parts);
    assert!(!run.root().exists());
    // A flag is stronger than the environment.
    let mut call = run.afd("check", &["--device", "flex"]);
    call.env("AFD_DEVICE", "gpu9").succeeds();
    let mut call = run.afd("check", &["--set", "device=flex"]);
    call.env("AFD_DEVICE", "gpu9").succeeds();
}

#[test]
fn the_configurations_of_the_repository_can_be_used() {
    // The one is a recipe of `afd base-model`, the others want a file first; `hub` looks at those
    // that name a model too.
    let others = [
        "base-model.toml",
        "hh-harmless.toml",
        "hh-harmless-gpt2.toml",
        "hh-helpful-gemma-2b.toml",
    ];
    let mut checked = 0;
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let is_toml = path.extension().is_some_and(|ending| ending == "toml");
        if is_toml && !others.iter().any(|other| path.ends_with(other)) {
            crate::util::afd(["check", "--config", path.to_str().unwrap()]).succeeds();
            checked += 1;
        }
    }
    assert!(checked >= 3, "{checked} configurations");
    let path = root().join("configs/hh-harmless.toml");
    let parts = [
        "hh-harmless.toml:",
        "`data.path` is empty",
        "--set data.path=FILE",
    ];
    crate::util::afd(["check", "--config", path.to_str().unwrap()]).fails(2, &parts);
}

#[test]
fn an_empty_table_takes_nothing_away_and_is_there() {
    let run = Run::new("");
    let printed = run.afd("check", &[]).succeeds().stdout;
    run.write("empty.toml", "extends = \"tiny.toml\"\n[sft]\n");
    let args = [
        "check",
        "--config",
        run.path("empty.toml").to_str().unwrap(),
    ]
    .map(str::to_owned);
    assert_eq!(crate::util::afd(args).succeeds().stdout, printed);
    // In a file of its own it stands for no limit at all.
    let table = "[data.max_rows]\ntest = 16\n";
    assert!(printed.contains(table), "{printed}");
    run.write("config.toml", printed.replace(table, "[data.max_rows]\n"));
    run.afd("check", &[]).succeeds();
}
