//! Data that cannot be read: the file, the line and the remedy, and nothing half done.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::util::{Ends, Run, afd, base, finished, manifests, read_rows};

/// Data from a file; the judge is never reached.
const FROM_FILE: &str = "
[data]
source = \"file\"
path = \"data.jsonl\"
split = { sft = 0.3, reward = 0.3, validation = 0.1, judge = 0.1, test = 0.2 }
[eval]
golden = \"judge\"
";

/// Rows without fault.
fn rows(count: usize) -> Vec<String> {
    let row = |k| json!({ "prompt": format!("What is {k} and {k}?"), "completion": format!("It is {}.", 2 * k) });
    (0..count).map(|k| row(k).to_string()).collect()
}

/// Runs the data stage on `bytes`, which must fail with `parts` and leave no stage behind.
#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let run = Run::new(FROM_FILE);
    run.write("data.jsonl", bytes);
    let all = [&["stage data failed", "data.jsonl"], parts].concat();
    run.pipeline(&[]).fails(1, &all);
    assert_eq!(manifests(&run.root()), []);
    assert!(!run.file("data").exists());
    let left = fs::read_dir(run.file(".scratch/data")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let half = left
        .iter()
        .any(|name| name.to_string_lossy().contains("jsonl"));
    assert!(!half, "{left:?}");
}

#[test]
fn a_missing_file_stops_the_run_before_it_begins() {
    let run = Run::new(FROM_FILE);
    let parts = ["config.toml:5: `data.path`", "data.jsonl", "does not exist"];
    run.pipeline(&[]).fails(2, &parts);
    assert!(!run.root().exists());
}

#[test]
fn files_without_rows_are_refused() {
    refused(b"", &["it is empty", "supported are JSON Lines"]);
    refused(b" \n\n", &["it is empty"]);
    refused(b"[1, 2]\n", &["a JSON array", "convert the file"]);
}

#[test]
fn a_truncated_gzip_is_told_as_such() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(rows(500).join("\n").as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    let parts = [
        "gzip stream is truncated or damaged",
        "compress the file again",
    ];
    refused(&bytes[..bytes.len() / 2], &parts);
    refused(&bytes[..bytes.len() - 4], &parts);
}

#[test]
fn a_broken_line_is_named() {
    let mut lines: Vec<Vec<u8>> = rows(20).into_iter().map(String::into_bytes).collect();
    lines[6] = b"{\"prompt\": \"a\xff\", \"completion\": \"b\"}".to_vec();
    refused(
        &lines.join(&b'\n'),
        &["data.jsonl:7: invalid UTF-8 after byte 13", "iconv"],
    );
    lines[6] = b"{\"prompt\": \"a\", \"completion\": ".to_vec();
    refused(
        &lines.join(&b'\n'),
        &[
            "data.jsonl:7:",
            "EOF while parsing",
            "correct or delete the line",
        ],
    );
    lines[6] = b"{\"question\": \"a\", \"answer\": \"b\"}".to_vec();
    refused(
        &lines.join(&b'\n'),
        &["data.jsonl:7:", "`question`, `answer`", "rename the keys"],
    );
    lines[6] = b"{\"prompt\": \"a\", \"completion\": 3}".to_vec();
    refused(
        &lines.join(&b'\n'),
        &["data.jsonl:7: `completion` must be a string or a list of messages, but is a number"],
    );
}

#[test]
fn an_empty_answer_is_left_out_and_told_with_its_line() {
    let run = Run::new(FROM_FILE);
    let mut lines = rows(60);
    lines[41] = json!({ "prompt": "What is nothing?", "completion": "  " }).to_string();
    lines[43] = lines[42].clone();
    run.write("data.jsonl", lines.join("\n"));
    run.pipeline(&["--until", "data"]).succeeds();
    let dropped = read_rows(&run.file("data/dropped.jsonl"));
    let told: Vec<_> = dropped
        .iter()
        .map(|row| {
            (
                row["source"].as_str().unwrap(),
                row["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("data.jsonl:42", "empty answer"),
            ("data.jsonl:44", "duplicate")
        ]
    );
    let summary = fs::read_to_string(run.file("data/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let kept = summary["kept"].as_object().unwrap().values();
    assert_eq!(kept.map(|count| count.as_u64().unwrap()).sum::<u64>(), 58);
    assert_eq!(summary["rows_read"], 60);
}

#[test]
fn limits_that_leave_nothing_are_told_with_the_reasons() {
    let run = Run::new(FROM_FILE);
    run.write("data.jsonl", rows(30).join("\n"));
    let parts = [
        "no row is left of the 30 read",
        "30 prompt too long",
        "`[data]`",
    ];
    run.pipeline(&["--set", "data.max_prompt_length=2"])
        .fails(1, &parts);
    run.write("data.jsonl", rows(2).join("\n"));
    let error = run
        .pipeline(&[])
        .fails(1, &["stage data failed", "is empty although"]);
    assert!(error.contains("2 rows were kept"), "{error}");
}

#[test]
fn demonstrations_alone_are_enough() {
    let judge = finished().join("reward/init-sft");
    let classifier = format!("golden = \"classifier\"\ngolden_path = {judge:?}\n");
    let run = Run::new(&FROM_FILE.replace("golden = \"judge\"\n", &classifier));
    run.write("data.jsonl", rows(90).join("\n"));
    let outcome = run.pipeline(&[]).succeeds();
    assert!(outcome.stdout.contains("golden reward: classifier"));
    assert!(outcome.stdout.contains("\ninit-sft "), "{}", outcome.stdout);
    // There is nothing to learn this one from.
    assert!(
        !outcome.stdout.contains("\npreference "),
        "{}",
        outcome.stdout
    );
}

/// `afd COMMAND` on a file of rows, which must fail at `line` and write nothing.
#[track_caller]
fn rows_refused(command: &str, text: &str, line: usize, parts: &[&str]) {
    let run = Run::new("");
    let input = run.write("rows.jsonl", text);
    let output = run.path("out.jsonl");
    let flag = if command == "generate" {
        "--prompts"
    } else {
        "--input"
    };
    let mut call = afd([command, "--model"]);
    call.arg(model_of(command))
        .arg(flag)
        .arg(&input)
        .arg("--output")
        .arg(&output);
    let place = format!("rows.jsonl:{line}: ");
    call.fails(1, &[&[place.as_str()], parts].concat());
    assert!(!output.exists());
}

fn model_of(command: &str) -> std::path::PathBuf {
    match command {
        "score" => finished().join("reward/init-sft"),
        _ => base(),
    }
}

#[test]
fn rows_on_the_command_line_are_told_by_line() {
    let good = "{\"prompt\": \"\\n\\nHuman: Hi\\n\\nAssistant:\", \"completion\": \" Hello\"}\n";
    for command in ["generate", "logprobs", "score"] {
        rows_refused(command, "", 1, &["holds no row"]);
        rows_refused(
            command,
            &format!("{good}\n{{\"prompt\": "),
            3,
            &["not a JSON object"],
        );
        rows_refused(command, &format!("{good}[1]\n"), 2, &["not a JSON object"]);
        rows_refused(
            command,
            &format!("{good}{{\"prompt\": 1, \"completion\": \"a\"}}"),
            2,
            &["`prompt` is not a text"],
        );
        rows_refused(
            command,
            &format!("{good}{{\"query\": \"a\"}}"),
            2,
            &["`prompt` is missing"],
        );
    }
    let without = format!("{good}{{\"prompt\": \"a\"}}\n");
    rows_refused("logprobs", &without, 2, &["`completion` is missing"]);
    rows_refused("score", &without, 2, &["`completion` is missing"]);
    let ids = |ids: &str| format!("{good}{{\"prompt\": \"a\", \"completion_ids\": {ids}}}\n");
    rows_refused("logprobs", &ids("[]"), 2, &["the answer is empty"]);
    rows_refused(
        "logprobs",
        &ids("[2048]"),
        2,
        &["token id 2048", "vocabulary of 2048"],
    );
    rows_refused("logprobs", &ids("[\"a\"]"), 2, &["`completion_ids`"]);
    rows_refused(
        "generate",
        &format!("{good}{{\"prompt\": \"\"}}\n"),
        2,
        &["`prompt` is empty"],
    );
}

#[test]
fn a_prompt_beyond_the_context_is_told_by_line() {
    let long = json!({ "prompt": "walk ".repeat(1200), "completion": " a" });
    let parts = ["model's context of 1024", "lower --max-new-tokens"];
    rows_refused(
        "generate",
        &format!("{{\"prompt\": \"a\"}}\n{long}\n"),
        2,
        &parts,
    );
    rows_refused(
        "logprobs",
        &format!("{long}\n"),
        1,
        &["model's context of 1024"],
    );
    let parts = ["reward model's context of 1024", "leave it out"];
    rows_refused("score", &format!("\n{long}\n"), 2, &parts);
}

#[test]
fn a_file_of_rows_that_is_not_there_is_named() {
    for (command, flag) in [
        ("generate", "--prompts"),
        ("logprobs", "--input"),
        ("score", "--input"),
    ] {
        let mut call = afd([command, flag, "no/rows.jsonl", "--model"]);
        call.arg(model_of(command))
            .fails(1, &["cannot read no/rows.jsonl"]);
    }
    assert!(!Path::new("no").exists());
}
