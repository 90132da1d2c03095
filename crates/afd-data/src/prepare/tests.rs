//! Tests of the data stage on generated rows.

use std::{collections::BTreeMap, fs, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::records::read_jsonl;

/// One id for each byte: token lengths are byte lengths.
fn tokenizer() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::train_bpe(std::iter::empty(), 258, dir.path()).unwrap()
}

fn row(prompt: &str, completion: &str, source: usize) -> Result<Example, RowError> {
    Ok(Example {
        prompt: prompt.to_owned(),
        completion: Some(completion.to_owned()),
        chosen: None,
        rejected: None,
        messages: Vec::new(),
        source: format!("rows:{source}"),
    })
}

/// Rows with prompts "q0" … and one answer each.
fn rows(n: usize) -> impl Iterator<Item = Result<Example, RowError>> {
    (0..n).map(|i| row(&format!("q{i}"), " yes", i))
}

fn only_sft() -> PrepareConfig {
    let split = SplitFractions {
        sft: 1.0,
        reward: 0.0,
        validation: 0.0,
        judge: 0.0,
        test: 0.0,
    };
    PrepareConfig {
        split,
        ..PrepareConfig::default()
    }
}

fn only_test() -> PrepareConfig {
    let split = SplitFractions {
        sft: 0.0,
        test: 1.0,
        ..only_sft().split
    };
    PrepareConfig {
        split,
        ..PrepareConfig::default()
    }
}

/// Runs the stage and returns its summary and the rows of each split.
fn run(
    rows: impl Iterator<Item = Result<Example, RowError>>,
    config: &PrepareConfig,
) -> Result<(Summary, BTreeMap<&'static str, Vec<Example>>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let summary = prepare(rows, config, &tokenizer(), dir.path())?;
    let read = |split| {
        (
            split,
            read_jsonl(&dir.path().join(format!("{split}.jsonl"))).unwrap(),
        )
    };
    Ok((summary, SPLITS.map(read).into()))
}

fn dropped(summary: &Summary) -> Vec<(DropReason, u64)> {
    summary
        .dropped
        .iter()
        .map(|(&reason, d)| (reason, d.count))
        .collect()
}

#[test]
fn fractions_hold_and_every_row_is_somewhere() {
    let (summary, splits) = run(rows(4000), &PrepareConfig::default()).unwrap();
    let expected = [
        ("sft", 1600),
        ("reward", 1200),
        ("validation", 200),
        ("judge", 0),
        ("test", 1000),
    ];
    for (split, rows) in expected {
        // Five standard deviations of a binomial with at most 4000 · 0.25 variance.
        assert!(
            splits[split].len().abs_diff(rows) < 160,
            "{split}: {}",
            splits[split].len()
        );
    }
    assert_eq!(splits.values().map(Vec::len).sum::<usize>(), 4000);
    assert_eq!((summary.rows_read, summary.unique_prompts), (4000, 4000));
    assert_eq!(summary.kept.sft as usize, splits["sft"].len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_prompt_is_in_two_splits_whatever_the_order(
        prompts in prop::collection::vec(0usize..40, 200..300),
        seed in any::<u64>(),
    ) {
        let third = SplitFractions { sft: 0.5, reward: 0.0, validation: 0.0, judge: 0.2, test: 0.3 };
        let config = PrepareConfig { seed, split: third, ..PrepareConfig::default() };
        let rows = |prompts: Vec<usize>| {
            prompts.into_iter().enumerate().map(|(i, q)| row(&format!("q{q}"), &format!(" {i}"), i))
        };
        let mut reversed = prompts.clone();
        reversed.reverse();
        let mut homes: BTreeMap<String, &str> = BTreeMap::new();
        for order in [prompts, reversed] {
            // A few dozen prompts may leave a split empty, which is refused.
            let Ok((_, splits)) = run(rows(order), &config) else { continue };
            for (split, rows) in splits {
                for row in &rows {
                    prop_assert_eq!(*homes.entry(row.prompt.clone()).or_insert(split), split);
                }
                if split == "test" {
                    let unique: HashSet<_> = rows.iter().map(|row| &row.prompt).collect();
                    prop_assert_eq!(unique.len(), rows.len());
                }
            }
        }
    }
}

#[test]
fn another_seed_splits_otherwise_and_the_same_seed_the_same() {
    let sft = |seed| {
        let config = PrepareConfig {
            seed,
            ..PrepareConfig::default()
        };
        run(rows(300), &config).unwrap().1.remove("sft").unwrap()
    };
    assert_eq!(sft(1), sft(1));
    assert_ne!(sft(1), sft(2));
}

#[test]
fn each_reason_is_counted_and_located() {
    let pair = |rejected: &str, i| {
        let mut pair = row("pair", " yes", i).unwrap();
        pair.rejected = Some(rejected.to_owned());
        Ok(pair)
    };
    let from_reader = Err(RowError::Dropped(DroppedRow {
        source: "rows:0".to_owned(),
        reason: DropReason::EmptyAnswer,
        detail: String::new(),
    }));
    let input = vec![
        from_reader,
        row("a", " yes", 1),
        row("a", " yes", 2),
        row("a", " no", 3),
        row("too long a prompt", " yes", 4),
        row("b", " too long an answer", 5),
        row("b", "n", 6),
        pair(" too long an answer", 7),
        pair(" no", 8),
        row("c", " yes", 9),
    ];
    let config = PrepareConfig {
        max_prompt_tokens: 10,
        max_completion_tokens: 10,
        min_completion_tokens: 2,
        max_rows: SplitCaps {
            sft: Some(3),
            ..SplitCaps::default()
        },
        ..only_sft()
    };
    let (summary, splits) = run(input.into_iter(), &config).unwrap();
    let sources: Vec<_> = splits["sft"]
        .iter()
        .map(|row| row.source.as_str())
        .collect();
    assert_eq!(sources, ["rows:1", "rows:3", "rows:8"]);
    assert_eq!(
        dropped(&summary),
        [
            (DropReason::EmptyAnswer, 1),
            (DropReason::Duplicate, 1),
            (DropReason::PromptTooLong, 1),
            (DropReason::AnswerTooLong, 2),
            (DropReason::AnswerTooShort, 1),
            (DropReason::OverCap, 1),
        ]
    );
    assert_eq!(
        summary.dropped[&DropReason::AnswerTooLong].first,
        ["rows:5", "rows:7"]
    );
    assert_eq!(summary.unique_prompts, 2);
    // Kept demonstrations: " yes", " no", " yes".
    assert_eq!(
        (summary.completion_tokens.min, summary.completion_tokens.max),
        (3, 4)
    );
}

#[test]
fn the_test_split_has_one_row_a_prompt() {
    let input = vec![row("a", " yes", 0), row("a", " no", 1), row("b", " yes", 2)];
    let (summary, splits) = run(input.into_iter(), &only_test()).unwrap();
    assert_eq!(splits["test"].len(), 2);
    assert_eq!(dropped(&summary), [(DropReason::PromptInTest, 1)]);
}

#[test]
fn nothing_left_is_an_error_with_the_reasons() {
    let input = vec![row("a", " much too long", 0)];
    let config = PrepareConfig {
        max_completion_tokens: 3,
        ..only_sft()
    };
    let message = run(input.into_iter(), &config).unwrap_err().to_string();
    assert!(message.contains("no row is left of the 1 read (dropped: 1 answer too long)"));
    let message = run(std::iter::empty(), &only_sft())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("of the 0 read (dropped: nothing)"),
        "{message}"
    );
    let error = run(rows(1), &PrepareConfig::default()).unwrap_err();
    assert!(
        matches!(error, Error::EmptySplit { kept: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_broken_input_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let error = Error::UnknownShape {
        path: PathBuf::from("x"),
        line: 2,
        keys: String::new(),
    };
    let input = rows(5).chain([Err(RowError::Broken(error))]);
    assert!(prepare(input, &only_sft(), &tokenizer(), dir.path()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn files_are_complete_and_the_same_in_any_directory() {
    let files = || {
        let dir = tempfile::tempdir().unwrap();
        prepare(
            rows(200),
            &PrepareConfig::default(),
            &tokenizer(),
            dir.path(),
        )
        .unwrap();
        let entries = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap());
        entries
            .map(|e| {
                (
                    e.file_name().into_string().unwrap(),
                    fs::read(e.path()).unwrap(),
                )
            })
            .collect::<BTreeMap<_, _>>()
    };
    let first = files();
    let names: Vec<_> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "dropped.jsonl",
            "judge.jsonl",
            "reward.jsonl",
            "sft.jsonl",
            "summary.json",
            "test.jsonl",
            "validation.jsonl"
        ]
    );
    assert_eq!(first, files());
}

#[test]
fn contradictions_in_the_configuration_are_named() {
    let message = |config: PrepareConfig| config.validate().unwrap_err().to_string();
    let mut config = only_sft();
    config.split.reward = 0.5;
    assert!(message(config).starts_with("`split` is in sum 1.5; it must be fractions"));
    let mut config = only_sft();
    (config.split.sft, config.split.reward) = (1.5, -0.5);
    assert!(message(config).starts_with("`split.sft` is 1.5"));
    let mut config = only_sft();
    config.split.judge = f64::NAN;
    assert!(message(config).starts_with("`split.judge` is NaN"));
    let mut config = only_sft();
    config.max_rows.sft = Some(0);
    assert!(message(config).starts_with("`max_rows.sft` is 0"));
    let config = PrepareConfig {
        min_completion_tokens: 300,
        ..only_sft()
    };
    assert!(message(config).starts_with("`min_completion_tokens` is 300"));
    assert!(serde_json::from_str::<PrepareConfig>(r#"{"splits": {}}"#).is_err());
}
