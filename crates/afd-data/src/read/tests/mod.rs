//! Tests of the readers on small files written by hand.

mod chat;
mod csv;

use std::path::PathBuf;

use std::{fs, io::Write};

use super::*;
use crate::records::{DropReason, DroppedRow};

const PAIR: &str = r#"{"chosen": "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: Any tea?\n\nAssistant:  Green or black. \n", "rejected": "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: Any tea?\n\nAssistant: No."}"#;
const PAIR_PROMPT: &str = "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: Any tea?\n\nAssistant:";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(path: &Path, options: &ReadOptions) -> Vec<Result<Example, RowError>> {
    open(path, options).unwrap().collect()
}

/// The only row of a JSON Lines file with this content.
fn json_row(row: &str) -> Result<Example, RowError> {
    let path = Files::new();
    let mut rows = read(&path.write("rows.jsonl", row), &ReadOptions::default());
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn reason(row: Result<Example, RowError>) -> DropReason {
    match row {
        Err(RowError::Dropped(DroppedRow { reason, .. })) => reason,
        other => panic!("not dropped: {other:?}"),
    }
}

fn broken(row: Result<Example, RowError>) -> Error {
    match row {
        Err(RowError::Broken(error)) => error,
        other => panic!("not broken: {other:?}"),
    }
}

#[test]
fn hh_dialogues_split_at_the_last_answer_and_chosen_demonstrates() {
    let example = json_row(PAIR).unwrap();
    assert_eq!(
        example,
        Example {
            prompt: PAIR_PROMPT.to_owned(),
            completion: Some(" Green or black.".to_owned()),
            chosen: Some(" Green or black.".to_owned()),
            rejected: Some(" No.".to_owned()),
            messages: Vec::new(),
            source: "rows.jsonl:1".to_owned(),
        }
    );
}

#[test]
fn hh_dialogues_that_differ_or_do_not_end_with_an_answer_are_dropped() {
    let row = |chosen: &str, rejected: &str| {
        reason(json_row(
            &serde_json::json!({"chosen": chosen, "rejected": rejected}).to_string(),
        ))
    };
    let good = "\n\nHuman: Any tea?\n\nAssistant: Yes.";
    assert_eq!(
        row(good, "\n\nHuman: Any milk?\n\nAssistant: Yes."),
        DropReason::PromptsDiffer
    );
    assert_eq!(
        row(good, "\n\nHuman: Any tea?\n\nAssistant:  \n"),
        DropReason::EmptyAnswer
    );
    assert_eq!(row(good, "\n\nHuman: Any tea?"), DropReason::NoAnswer);
    assert_eq!(
        row(&format!("{good}\n\nHuman: Bye"), good),
        DropReason::NoAnswer
    );
    let empty = "\n\nHuman:\n\nAssistant: Yes.";
    assert_eq!(row(empty, empty), DropReason::EmptyPrompt);
}

#[test]
fn prompts_are_wrapped_unless_they_are_dialogues() {
    let prompt = |text: &str| {
        let row = serde_json::json!({"prompt": text, "completion": "Yes.", "extra": 1});
        let example = json_row(&row.to_string()).unwrap();
        assert_eq!(example.completion.as_deref(), Some(" Yes."));
        example.prompt
    };
    let wrapped = "\n\nHuman: Any tea?\n\nAssistant:";
    assert_eq!(prompt(" Any tea?\n"), wrapped);
    assert_eq!(prompt("\n\nHuman: Any tea?"), wrapped);
    assert_eq!(prompt("\n\nHuman: Any tea?\n\nAssistant: "), wrapped);
}

#[test]
fn without_wrapping_texts_stay_as_they_are() {
    let files = Files::new();
    let path = files.write(
        "rows.jsonl",
        r#"{"prompt": "2 + 2 = ", "completion": "4 \n"}"#,
    );
    let options = ReadOptions {
        wrap_prompts: false,
        ..ReadOptions::default()
    };
    let example = read(&path, &options).remove(0).unwrap();
    assert_eq!(example.prompt, "2 + 2 = ");
    assert_eq!(example.completion.as_deref(), Some("4"));
}

#[test]
fn pairs_with_a_prompt_keep_their_own_demonstration() {
    let pair = r#"{"prompt":"Tea?","chosen":"Yes.","rejected":"No."}"#;
    assert_eq!(json_row(pair).unwrap().completion.as_deref(), Some(" Yes."));
    let pair = r#"{"prompt":"Tea?","chosen":"Yes.","rejected":"No.","completion":"Green."}"#;
    assert_eq!(
        json_row(pair).unwrap().completion.as_deref(),
        Some(" Green.")
    );
}

#[test]
fn messages_become_a_dialogue() {
    let row = r#"{"messages": [{"role":"system","content":"Be brief."},
        {"role":"user","content":"Hello"},{"role":"assistant","content":"Hi!"},
        {"role":"user","content":"Any tea?"},{"role":"assistant","content":"Green."}]}"#;
    let example = json_row(&row.replace('\n', " ")).unwrap();
    assert_eq!(example.prompt, format!("Be brief.{PAIR_PROMPT}"));
    assert_eq!(example.completion.as_deref(), Some(" Green."));

    let by = |roles: &[&str]| {
        let message = |role| serde_json::json!({"role": role, "content": "x"});
        let messages: Vec<_> = roles.iter().map(message).collect();
        reason(json_row(
            &serde_json::json!({"messages": messages}).to_string(),
        ))
    };
    assert_eq!(by(&["user"]), DropReason::NoAnswer);
    assert_eq!(by(&[]), DropReason::NoAnswer);
    assert_eq!(by(&["user", "tool", "assistant"]), DropReason::UnknownRole);
    assert_eq!(by(&["system", "assistant"]), DropReason::EmptyPrompt);
}

#[test]
fn a_dropped_row_does_not_end_the_file_and_blank_lines_count() {
    let files = Files::new();
    let text = "\u{feff}\n\n{\"prompt\":\"a\",\"completion\":\" \"}\n  \n\
                {\"prompt\":\"b\",\"completion\":\"c\"}";
    let rows = read(&files.write("rows.json", text), &ReadOptions::default());
    let [Err(RowError::Dropped(dropped)), Ok(example)] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(
        (dropped.source.as_str(), dropped.reason),
        ("rows.json:3", DropReason::EmptyAnswer)
    );
    assert_eq!(example.source, "rows.json:5");
}

#[test]
fn gzip_is_recognised_by_content_even_in_several_members() {
    let files = Files::new();
    let mut bytes = gzip(PAIR.as_bytes());
    bytes.extend(gzip(format!("\n{PAIR}\n").as_bytes()));
    let rows = read(&files.write("no-extension", bytes), &ReadOptions::default());
    let sources: Vec<_> = rows.into_iter().map(|row| row.unwrap().source).collect();
    assert_eq!(sources, ["no-extension:1", "no-extension:2"]);
}

#[test]
fn a_truncated_gzip_is_broken_wherever_it_was_cut() {
    let files = Files::new();
    let mut text = String::new();
    for i in 0..2000 {
        text.push_str(&format!(
            "{{\"prompt\":\"{}\",\"completion\":\"c\"}}\n",
            i * 7919
        ));
    }
    let bytes = gzip(text.as_bytes());
    let full = read(&files.write("full.gz", &bytes), &ReadOptions::default());
    assert!(full.len() == 2000 && full.iter().all(Result::is_ok));
    for keep in [bytes.len() - 1, bytes.len() - 9, bytes.len() / 2, 30] {
        let path = files.write("cut.gz", &bytes[..keep]);
        let error = match open(&path, &ReadOptions::default()) {
            Ok(rows) => broken(rows.last().unwrap()),
            Err(error) => error,
        };
        assert!(
            matches!(error, Error::BrokenGzip { line: 1.., .. }),
            "{keep}: {error}"
        );
    }
}

#[test]
fn a_broken_line_is_named_and_ends_the_file() {
    let files = Files::new();
    let good = r#"{"prompt":"a","completion":"b"}"#;
    let case = |bad: &[u8]| {
        let bytes = [good.as_bytes(), b"\n", bad, b"\n", good.as_bytes()].concat();
        let mut rows = read(&files.write("rows.jsonl", bytes), &ReadOptions::default());
        assert_eq!(rows.len(), 2);
        broken(rows.pop().unwrap()).to_string()
    };
    let expect = |bad: &[u8], parts: &[&str]| {
        let message = case(bad);
        for part in parts.iter().chain(&["rows.jsonl:2"]) {
            assert!(message.contains(part), "{part:?} not in {message}");
        }
    };
    expect(
        br#"{"prompt":"a","#,
        &["rows.jsonl:2:14: EOF while parsing", "correct or delete"],
    );
    expect(b"{\"prompt\":\"\xff\"}", &["invalid UTF-8 after byte 11"]);
    expect(b"[1]", &["`row` must be an object", "is a list"]);
    expect(
        br#"{"prompt":"a","completion":3}"#,
        &["`completion` must be a string", "is a number"],
    );
    expect(
        br#"{"prompt":"a","text":"b"}"#,
        &["the keys `prompt`, `text`", "prompt + completion"],
    );
    expect(
        br#"{"messages":[{"role":"user"}]}"#,
        &["`messages[0].content` must be a string"],
    );
    expect(br#"{"messages":"x"}"#, &["`messages` must be a list"]);
}

#[test]
fn other_formats_are_named() {
    let files = Files::new();
    let found = |path: &Path| open(path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(found(&files.write("a.json", "[\n{}]")).contains("a JSON array"));
    assert!(found(&files.write("a.csv", " \n")).contains("it is empty"));
    assert!(found(&files.write("a.parquet", "PAR1")).contains("perhaps Parquet"));
    assert!(found(&files.write("a.txt", "hello")).contains("supported are JSON Lines"));
    assert!(found(files.0.path()).contains("it is a directory"));
    assert!(found(&files.0.path().join("b.csv")).contains("cannot open"));
}

#[test]
fn options_refuse_unknown_keys_and_take_both_kinds_of_prefix() {
    let read = serde_json::from_str::<ReadOptions>;
    assert_eq!(
        read(r#"{"strip_prefix": 85}"#).unwrap().strip_prefix,
        Some(StripPrefix::Characters(85))
    );
    assert_eq!(
        read(r#"{"strip_prefix": "Do: "}"#).unwrap().strip_prefix,
        Some(StripPrefix::Literal("Do: ".to_owned()))
    );
    assert!(read(r#"{"wrap": true}"#).is_err());
}

/// Set `AFD_HH_FILE` to a file of HH-RLHF pairs to read all of it.
#[test]
fn a_real_hh_file_reads_to_its_end() {
    let Some(path) = std::env::var_os("AFD_HH_FILE") else {
        return;
    };
    let mut kept = 0;
    let mut dropped = 0;
    for row in open(Path::new(&path), &ReadOptions::default()).unwrap() {
        match row {
            Ok(example) => {
                assert!(example.prompt.starts_with(HUMAN) && example.prompt.ends_with(ASSISTANT));
                for answer in [example.completion, example.chosen, example.rejected] {
                    let answer = answer.unwrap();
                    assert!(answer.starts_with(' ') && !answer.starts_with("  "));
                    assert_eq!(answer.trim_end(), answer);
                }
                kept += 1;
            }
            Err(RowError::Dropped(_)) => dropped += 1,
            Err(RowError::Broken(error)) => panic!("{error}"),
        }
    }
    assert!(
        kept > 100 && dropped * 20 < kept,
        "{kept} kept, {dropped} dropped"
    );
}
