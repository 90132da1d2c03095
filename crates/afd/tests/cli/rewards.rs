//! Reward models of every kind, in the pipeline and on their own.

use std::{fs, path::Path};

use crate::util::{Ends, Run, base};

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The rows of a JSON Lines file.
fn rows(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Everything that pairs and closed forms can be, in one run.
const MUCH: &str = r#"
[sft]
snapshots = [0.5]
moving_average = 0.9
[pairs]
sources = ["init-sft", "preference"]
prompts = "cross_fitted"
[pairs.mixtures.both]
init-sft = 0.75
preference = 0.25
[reward]
architecture = "embedding_mlp"
hidden_sizes = [16, 8]
temperature_scaling = true
[reward.ensemble]
num_members = 3
aggregate = "mean_minus_std"
std_coefficient = 0.5
[closed_form.variants.per-token]
reduction = "per_token"
clip = 2.0
references = [0.0, 0.5]
[closed_form.variants.half]
reduction = "mean"
references = [0.5]
[closed_form.variants.average]
reduction = "sum"
references = ["moving_average"]
"#;

#[test]
fn a_run_has_every_reward_that_is_asked_for() {
    let run = Run::new(MUCH);
    run.pipeline(&[]).succeeds();

    // Cross-fitted: each fold's samples are to its own prompts, by a policy that did not see them.
    let mut answered = Vec::new();
    for fold in 0..2 {
        let fold_rows = rows(&run.file(&format!("folds/fold-{fold}.jsonl")));
        let samples = rows(&run.file(&format!("samples/sft-reward-fold-{fold}/samples.jsonl")));
        for sample in &samples {
            assert!(
                fold_rows
                    .iter()
                    .any(|row| row["prompt"] == sample["prompt"])
            );
        }
        answered.extend(samples);
    }
    let pairs = rows(&run.file("pairs/init-sft/pairs.jsonl"));
    assert_eq!(pairs.len(), answered.len());
    assert!(!run.file("sft/fold-0").exists());

    let mixed = json(&run.file("pairs/both/summary.json"));
    let parts = mixed["pairs_of_each"].as_array().unwrap();
    let (most, least) = (parts[0].as_u64().unwrap(), parts[1].as_u64().unwrap());
    assert!(most.abs_diff(3 * least) <= 3, "{mixed}");

    // An ensemble on embeddings: members, one logit with its spread, each answer embedded once.
    let model = json(&run.file("reward/both/reward_model.json"));
    assert_eq!(model["architecture"], "ensemble");
    let member = json(&run.file("reward/both/member-2/reward_model.json"));
    assert_eq!(member["architecture"], "embedding_mlp");
    let summary = json(&run.file("reward/init-sft/summary.json"));
    assert!(summary["temperature"]["result"].is_string(), "{summary}");
    for row in rows(&run.file("scores/init-sft/scores.jsonl")) {
        assert_eq!(row["spread"].as_array().unwrap().len(), 3);
    }

    // Token rewards sum to the score; clipped ones stay within.
    for row in rows(&run.file("scores/per-token/scores.jsonl")) {
        let scores = row["scores"].as_array().unwrap();
        for (score, tokens) in scores.iter().zip(row["tokens"].as_array().unwrap()) {
            let tokens: Vec<f64> = tokens
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t.as_f64().unwrap())
                .collect();
            let sum: f64 = tokens.iter().sum();
            assert!(
                (score.as_f64().unwrap() - sum).abs() < 1e-4,
                "{score} {sum}"
            );
            assert!(tokens.iter().all(|t| t.abs() <= 2.0), "{tokens:?}");
        }
    }
    let found = json(&run.file("diagnostics/init-sft/diagnostics.json"));
    let readers: Vec<_> = found["meter"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["reader"])
        .collect();
    assert_eq!(
        readers,
        ["length", "format", "features", "ngrams", "closed-form"]
    );
    assert!(run.file("diagnostics/both/reliability.svg").is_file());
    let summary = run.summary();
    for ranker in ["both", "per-token", "half", "average"] {
        assert!(summary.contains(&format!("\"{ranker}\"")), "{ranker}");
    }

    // Nothing is run again, and a finished reward model scores by itself, on the base it names.
    let again = run.pipeline(&[]).succeeds().stderr;
    assert!(!again.contains(" done "), "{again}");
    let answers = run.write(
        "answers.jsonl",
        "{\"prompt\":\"\\n\\nHuman: Hi\\n\\nAssistant:\",\"completion\":\" Yes.\"}\n",
    );
    let reward = run.file("reward/init-sft");
    let score = |extra: &[&str]| {
        let args = [
            "score",
            "--model",
            reward.to_str().unwrap(),
            "--input",
            answers.to_str().unwrap(),
        ];
        crate::util::afd(args.iter().chain(extra)).outcome()
    };
    let scored = score(&[]);
    assert!(
        scored.stdout.contains("\"score_spread\":"),
        "{}",
        scored.stderr
    );
    // A name is part of what reports say.
    run.write(
        "config.toml",
        format!(
            "extends = \"tiny.toml\"\n{}",
            MUCH.replace("variants.half", "variants.halfway")
        ),
    );
    run.pipeline(&[]).succeeds();
    let summary = run.summary();
    assert!(summary.contains("\"halfway\"") && !summary.contains("\"half\""));
    assert!(run.file("policy/best-of-n/halfway.jsonl").is_file());

    // Another model's embeddings are refused.
    let other = run.file("sft");
    let refused = score(&["--base", other.to_str().unwrap()]);
    assert!(
        refused.stderr.contains("is another model or has changed"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_linear_model_says_what_it_looks_at() {
    let run = Run::new(
        "[pairs]\nsources = [\"init-demo\"]\nprompts = \"sft\"\nmatched = false\n\
         [reward]\narchitecture = \"linear\"\nlearning_rate = 0.03\n",
    );
    run.pipeline(&[]).succeeds();
    let model = json(&run.file("reward/init-demo/reward_model.json"));
    let weights = model["weights"].as_object().unwrap();
    assert!(weights["characters"].is_number());
    assert_eq!(weights.len(), 19);
    let summary = json(&run.file("pairs/init-demo/summary.json"));
    assert_eq!(summary["matched"], false);
}

#[test]
fn a_reward_model_can_be_made_of_files_alone() {
    let run = Run::new("");
    let place = run.path("alone");
    let finished = crate::util::finished();
    let samples = |name: &str| finished.join(format!("samples/{name}-reward/samples.jsonl"));
    let call = |command: &str, extra: &[&std::ffi::OsStr]| {
        let mut call = run.afd(command, &[]);
        call.arg("--run-dir").arg(&place).args(extra);
        call
    };
    let (sft, init) = (samples("sft"), samples("init"));
    let sides = [
        "--name".as_ref(),
        "mine".as_ref(),
        "--chosen".as_ref(),
        sft.as_os_str(),
        "--rejected".as_ref(),
        init.as_os_str(),
    ];
    let made = call("reward", &sides).succeeds().stdout;
    let told = format!("reward model: {}\n", place.join("reward/mine").display());
    assert!(
        made.starts_with(&told) && made.contains("held-out AUC"),
        "{made}"
    );
    assert!(place.join("reward/mine/model.safetensors").is_file());
    let own = rows(&place.join("pairs/mine/pairs.jsonl"));
    let pipelines = rows(&finished.join("pairs/init-sft/pairs.jsonl"));
    assert_eq!(own.len(), pipelines.len());
    assert_eq!(
        (&own[0]["chosen"], &own[0]["chosen_source"]),
        (&pipelines[0]["chosen"], &"samples".into())
    );

    // The pairs of both again, mixed.
    let mix = |path: std::path::PathBuf, share: &str| format!("{}={share}", path.display());
    let (a, b) = (
        mix(place.join("pairs/mine/pairs.jsonl"), "0.5"),
        mix(finished.join("pairs/preference/pairs.jsonl"), "0.5"),
    );
    let args = ["--name", "replay", "--mix", &a, "--mix", &b].map(std::ffi::OsStr::new);
    call("pairs", &args).succeeds();
    let summary = json(&place.join("pairs/replay/summary.json"));
    assert_eq!(summary["pairs_of_each"][0], summary["pairs_of_each"][1]);

    let same = [
        sides[0],
        "same".as_ref(),
        sides[2],
        sides[3],
        sides[4],
        sides[3],
    ];
    call("pairs", &same).fails(1, &["the same answers throughout"]);
    let equal = run.write(
        "equal.jsonl",
        "{\"prompt\":\"Hi\",\"chosen\":\"Yes.\",\"rejected\":\"Yes.\"}\n",
    );
    let equal = [
        "--name".as_ref(),
        "equal".as_ref(),
        "--preferences".as_ref(),
        equal.as_os_str(),
    ];
    call("pairs", &equal).fails(1, &["equal.jsonl:1", "no preference", "remove the row"]);
    let nothing = ["--name", "golden", "--mix", &a].map(std::ffi::OsStr::new);
    call("pairs", &nothing).fails(2, &["--name golden is taken"]);
}

#[test]
fn a_token_discriminator_pays_each_token_its_part() {
    let run = Run::new(
        "[reward]\nobjective = \"token_cross_entropy\"\n[pairs]\nsources = [\"init-sft\"]\n",
    );
    run.pipeline(&[]).succeeds();
    assert!(run.file("reward/init-sft/config.json").is_file());
    let samples = rows(&run.file("samples/sft/samples.jsonl"));
    let mut lengths = samples
        .iter()
        .map(|row| row["completion_ids"].as_array().unwrap().len());
    for row in rows(&run.file("scores/init-sft/scores.jsonl")) {
        let scores = row["scores"].as_array().unwrap();
        for (score, tokens) in scores.iter().zip(row["tokens"].as_array().unwrap()) {
            let tokens = tokens.as_array().unwrap();
            let sum: f64 = tokens.iter().map(|t| t.as_f64().unwrap()).sum();
            assert!(
                (score.as_f64().unwrap() - sum).abs() < 1e-4,
                "{score} {sum}"
            );
            // The answer is tokenised anew, and has an end token also where it was cut.
            assert!(tokens.len().abs_diff(lengths.next().unwrap()) <= 2);
        }
    }
}

#[test]
fn keys_that_do_not_go_together_are_told() {
    let extra = "[pairs]\nsources = []\n[reward]\narchitecture = \"linear\"\n\
                 objective = \"token_cross_entropy\"\nmargin = 1.0\nhidden_sizes = [8]\n\
                 [closed_form.variants.longest]\nreduction = \"sum\"\nreferences = [0.5]\n";
    let parts = [
        "`pairs.sources` must name at least one source",
        "`reward.objective` must be one on whole answers",
        "`reward.margin` must be left out",
        "`reward.hidden_sizes` must be given for architecture = \"embedding_mlp\"",
        "`closed_form.variants.longest` must have a name of its own",
        "`closed_form.variants.longest.references` must each be 0, one of sft.snapshots",
    ];
    Run::new(extra).afd("check", &[]).fails(2, &parts);
}

#[test]
fn texts_are_cut_where_it_is_asked_for() {
    let run = Run::finished();
    let long = " word".repeat(4000);
    let row = serde_json::json!({ "prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": long });
    let rows = run.write("rows.jsonl", format!("{row}\n"));
    let model = run.file("reward/init-sft");
    let score = |extra: &[&str]| {
        let args = [
            "score",
            "--model",
            model.to_str().unwrap(),
            "--input",
            rows.to_str().unwrap(),
        ];
        crate::util::afd(args.iter().chain(extra)).outcome()
    };
    let told = score(&[]).stderr;
    assert!(
        told.contains("rows.jsonl:1") && told.contains("--max-length"),
        "{told}"
    );
    let right = score(&["--max-length", "64"]).stdout;
    let left = score(&["--max-length", "64", "--truncation-side", "left"]).stdout;
    assert!(right.contains("\"score\":") && left.contains("\"score\":"));
    assert_ne!(right, left);
    // A language model scores nothing.
    let base = base();
    let args = [
        "score",
        "--model",
        base.to_str().unwrap(),
        "--input",
        rows.to_str().unwrap(),
    ];
    crate::util::afd(args).fails(1, &["is a language model, which scores nothing"]);
}

#[test]
fn the_theory_fits_a_terminal() {
    let run = Run::new("");
    let picture = run.path("theory.svg");
    let told = crate::util::afd(["theory", "--picture", picture.to_str().unwrap()])
        .succeeds()
        .stdout;
    assert!(told.contains("Init-Demo = Init-SFT + SFT-Demo"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 100));
    assert!(fs::read_to_string(picture).unwrap().starts_with("<svg"));
}
