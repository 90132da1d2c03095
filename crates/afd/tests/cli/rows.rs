//! `generate`, `logprobs` and `score`: rows in, rows out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::util::{Ends, Run, afd, base, finished, json_lines, read_rows};

/// Prompts of several lengths.
const PROMPTS: [&str; 4] = [
    "\n\nHuman: How do I learn to swim?\n\nAssistant:",
    "\n\nHuman: My sister is moving and I would like to help her pack the kitchen.\n\nAssistant:",
    "\n\nHuman: How do I learn to skate?\n\nAssistant:",
    "\n\nHuman: Hi\n\nAssistant:",
];

fn write(run: &Run, name: &str, rows: &[Value]) -> PathBuf {
    let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
    run.write(name, lines.concat())
}

fn prompts(run: &Run) -> PathBuf {
    write(
        run,
        "prompts.jsonl",
        &PROMPTS.map(|prompt| json!({ "prompt": prompt })),
    )
}

/// `afd COMMAND --model … FLAG FILE` with further arguments.
fn call(command: &str, model: &Path, input: &Path, args: &[&str]) -> std::process::Command {
    let flag = if command == "generate" {
        "--prompts"
    } else {
        "--input"
    };
    let mut call = afd([command]);
    call.arg("--model")
        .arg(model)
        .arg(flag)
        .arg(input)
        .args(args);
    call
}

fn generate(input: &Path, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["--max-new-tokens", "24"];
    all.extend(args);
    json_lines(&call("generate", &base(), input, &all).succeeds().stdout)
}

fn keys(row: &Value) -> BTreeSet<&str> {
    row.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn ids(rows: &[Value]) -> Vec<&Value> {
    rows.iter().map(|row| &row["completion_ids"]).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[test]
fn generate_gives_a_row_per_answer_in_the_order_of_the_prompts() {
    let run = Run::new("");
    let rows = generate(&prompts(&run), &["--num-generations", "3"]);
    let place: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["prompt"].as_str().unwrap(),
                row["index"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected: Vec<_> = PROMPTS
        .iter()
        .flat_map(|p| (0..3).map(move |k| (*p, k)))
        .collect();
    assert_eq!(place, expected);
    let names = [
        "prompt",
        "index",
        "completion",
        "completion_ids",
        "logprobs",
        "finish_reason",
    ];
    for row in &rows {
        assert_eq!(keys(row), BTreeSet::from(names));
        let (ids, logprobs) = (numbers(&row["completion_ids"]), numbers(&row["logprobs"]));
        assert_eq!(ids.len(), logprobs.len());
        assert!((1..=24).contains(&ids.len()));
        assert!(logprobs.iter().all(|value| *value <= 0.0), "{row}");
        let reason = row["finish_reason"].as_str().unwrap();
        // Id 0 is the base checkpoint's end token.
        assert_eq!(reason == "stop", ids.last() == Some(&0.0), "{row}");
        assert_eq!(
            reason == "length",
            ids.len() == 24 && ids.last() != Some(&0.0),
            "{row}"
        );
    }
}

#[test]
fn generate_leads_a_policy_away_from_another() {
    let run = Run::new("");
    let file = prompts(&run);
    let base = base();
    let sft = finished().join("sft");
    let at = |away_from: &Path, strength: &str| {
        let other = away_from.to_str().unwrap();
        generate(&file, &["--away-from", other, "--strength", strength])
    };
    // From itself there is no way to go.
    let alone = generate(&file, &[]);
    assert_eq!(at(&base, "3"), alone);
    assert_eq!(at(&sft, "0"), alone);
    let led = at(&sft, "8");
    assert_ne!(ids(&led), ids(&alone));
    let told = led.iter().filter(|row| row["sampler_logprobs"].is_array());
    assert!(told.count() > 0);
    // At temperature 0 the sampler is sure of its token, the policy is not.
    for row in generate(&file, &["--temperature", "0"]) {
        let sampler = numbers(&row["sampler_logprobs"]);
        assert!(sampler.iter().all(|value| *value == 0.0), "{row}");
    }
    call("generate", &base, &file, &["--strength", "1"]).fails(2, &["--away-from"]);
}

#[test]
fn logprobs_of_sampled_ids_are_those_they_were_sampled_with() {
    let run = Run::new("");
    let rows = generate(&prompts(&run), &["--num-generations", "4"]);
    let file = write(&run, "answers.jsonl", &rows);
    for batch_size in ["1", "7"] {
        let again = call("logprobs", &base(), &file, &["--batch-size", batch_size]).succeeds();
        let again = json_lines(&again.stdout);
        assert_eq!(again.len(), rows.len());
        for (old, new) in rows.iter().zip(&again) {
            assert_eq!(new["completion_ids"], old["completion_ids"]);
            assert_eq!(new["finish_reason"], old["finish_reason"]);
            let (old, new) = (numbers(&old["logprobs"]), numbers(&new["logprobs"]));
            for (old, new) in old.iter().zip(&new) {
                assert!((old - new).abs() < 1e-4, "{old} {new}");
            }
        }
    }
}

#[test]
fn answers_depend_on_the_seed_and_not_on_the_batch() {
    let run = Run::new("");
    let file = prompts(&run);
    let at = |args: &[&str]| generate(&file, &[&["--num-generations", "2"], args].concat());
    let rows = at(&["--seed", "3"]);
    for batch_size in ["1", "64"] {
        let other = at(&["--seed", "3", "--batch-size", batch_size]);
        assert_eq!(ids(&other), ids(&rows), "batch size {batch_size}");
    }
    assert_ne!(ids(&at(&["--seed", "4"])), ids(&rows));
    assert_ne!(rows[0]["completion_ids"], rows[1]["completion_ids"]);
}

#[test]
fn temperature_zero_needs_no_seed() {
    let run = Run::new("");
    let file = prompts(&run);
    let at = |seed| generate(&file, &["--temperature", "0", "--seed", seed]);
    assert_eq!(at("1"), at("2"));
}

#[test]
fn a_stop_text_ends_an_answer_and_is_cut_off() {
    let run = Run::new("");
    let file = prompts(&run);
    let free = generate(&file, &["--temperature", "0"]);
    // The second word of an answer; it then stops where that word begins.
    let text = free[0]["completion"].as_str().unwrap();
    let stop = text.split_whitespace().nth(1).unwrap();
    let rows = generate(&file, &["--temperature", "0", "--stop", stop]);
    let (got, reason) = (
        rows[0]["completion"].as_str().unwrap(),
        &rows[0]["finish_reason"],
    );
    assert_eq!(got, &text[..text.find(stop).unwrap()]);
    assert_eq!(reason, "stop");
    for row in &rows {
        assert!(!row["completion"].as_str().unwrap().contains(stop), "{row}");
    }
}

#[test]
fn logprobs_of_text_are_one_per_token_and_one_more_with_the_end_token() {
    let run = Run::new("");
    let rows = PROMPTS.map(|prompt| json!({ "id": prompt.len(), "prompt": prompt, "completion": " You could ask a friend." }));
    let file = write(&run, "answers.jsonl", &rows);
    let at = |args: &[&str]| json_lines(&call("logprobs", &base(), &file, args).succeeds().stdout);
    let (bare, ended) = (at(&[]), at(&["--end-token"]));
    for ((row, bare), ended) in rows.iter().zip(&bare).zip(&ended) {
        let names = [
            "id",
            "prompt",
            "completion",
            "prompt_ids",
            "completion_ids",
            "logprobs",
        ];
        assert_eq!(keys(bare), BTreeSet::from(names));
        assert_eq!(bare["id"], row["id"]);
        assert!(!numbers(&bare["prompt_ids"]).is_empty());
        let (few, many) = (
            numbers(&bare["completion_ids"]),
            numbers(&ended["completion_ids"]),
        );
        assert_eq!(many, [few.as_slice(), &[0.0]].concat());
        assert_eq!(numbers(&bare["logprobs"]).len(), few.len());
        assert_eq!(numbers(&ended["logprobs"]).len(), many.len());
    }
}

#[test]
fn score_adds_a_score_and_keeps_the_rest() {
    let run = Run::new("");
    let rows = [" You could ask a friend.", " No.", " You could ask a friend."].map(
        |completion| json!({ "note": {"kept": [1]}, "prompt": PROMPTS[0], "completion": completion }),
    );
    let file = write(&run, "answers.jsonl", &rows);
    let model = finished().join("reward/init-sft");
    let scored = json_lines(&call("score", &model, &file, &[]).succeeds().stdout);
    for (row, scored) in rows.iter().zip(&scored) {
        let mut without = scored.clone();
        assert!(
            without
                .as_object_mut()
                .unwrap()
                .remove("score")
                .unwrap()
                .is_f64()
        );
        assert_eq!(without, *row);
    }
    assert_eq!(scored[0]["score"], scored[2]["score"]);
    assert_ne!(scored[0]["score"], scored[1]["score"]);
}

#[test]
fn the_scores_of_the_pipeline_are_those_of_the_command() {
    let samples = finished().join("samples/sft/samples.jsonl");
    let model = finished().join("reward/sft-demo");
    let scored = json_lines(&call("score", &model, &samples, &[]).succeeds().stdout);
    let stored = read_rows(&finished().join("scores/sft-demo/scores.jsonl"));
    let stored = stored.iter().flat_map(|row| numbers(&row["scores"]));
    let mut count = 0;
    for (row, stored) in scored.iter().zip(stored) {
        assert!((row["score"].as_f64().unwrap() - stored).abs() < 1e-4);
        count += 1;
    }
    assert_eq!(count, 48);
}

#[test]
fn output_is_the_file_and_nothing_else() {
    let run = Run::new("");
    let file = prompts(&run);
    let output = run.path("out.jsonl");
    let args = [
        "--max-new-tokens",
        "4",
        "--output",
        output.to_str().unwrap(),
    ];
    fs::write(&output, "old").unwrap();
    let outcome = call("generate", &base(), &file, &args).succeeds();
    assert_eq!(outcome.stdout, "");
    let rows = fs::read_to_string(&output).unwrap();
    assert_eq!(
        rows,
        call("generate", &base(), &file, &args[..2])
            .succeeds()
            .stdout
    );
    // A configuration and its base, prompts, output: no temporary file stays.
    assert_eq!(fs::read_dir(run.path("")).unwrap().count(), 4);
}

#[test]
fn counts_of_nothing_are_bad_usage() {
    let run = Run::new("");
    let file = prompts(&run);
    for flag in ["--num-generations", "--batch-size"] {
        call("generate", &base(), &file, &[flag, "0"]).fails(2, &[flag, "zero"]);
    }
    let tokens = ["--max-new-tokens", "0"];
    call("generate", &base(), &file, &tokens).fails(2, &["max_new_tokens", "1 or more"]);
    call("generate", &base(), &file, &["--top-p", "2"]).fails(2, &["top_p", "at most 1"]);
}
