//! Pairs of small files, by hand.

use std::{path::Path, sync::Arc};

use afd_data::records::{PreferenceRow, read_jsonl};
use afd_stage::{Quiet, RunDir, StageContext};

use super::*;

/// Runs a stage in a fresh run and returns its rows and summary, or its error's text.
fn pairs(
    body: impl FnOnce(&StageContext) -> Result<(), Error>,
) -> Result<(Vec<PreferenceRow>, serde_json::Value), String> {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::open(dir.path(), 7, Arc::new(Quiet)).unwrap();
    let stage = run.stage("pairs/test", 1, &(), &[], body);
    let stage = stage.map_err(|error| format!("{:?}", error))?;
    let summary = std::fs::read_to_string(stage.file("summary.json")).unwrap();
    let rows = read_jsonl(&stage.file(PAIRS)).unwrap();
    Ok((rows, serde_json::from_str(&summary).unwrap()))
}

/// A file of `prompt`, `completion` rows.
fn answers(dir: &Path, name: &str, rows: &[(&str, &str)]) -> Answerer {
    let path = dir.join(format!("{name}.jsonl"));
    let line = |(prompt, completion): &(&str, &str)| {
        format!(
            "{}\n",
            serde_json::json!({ "prompt": prompt, "completion": completion })
        )
    };
    std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
    Answerer {
        name: name.to_owned(),
        files: vec![path],
        field: Field::Completion,
    }
}

fn texts(rows: &[PreferenceRow]) -> Vec<[&str; 3]> {
    fn text(row: &PreferenceRow) -> [&str; 3] {
        [&row.prompt, &row.chosen, &row.rejected]
    }
    rows.iter().map(text).collect()
}

#[test]
fn answers_to_one_prompt_meet_in_their_order_and_the_shorter_list_is_gone_through_again() {
    let dir = tempfile::tempdir().unwrap();
    let better = answers(
        dir.path(),
        "sft",
        &[
            ("p", " a"),
            ("q", " b"),
            ("p", " c"),
            ("only here", " d"),
            ("q", "  "),
        ],
    );
    let worse = answers(dir.path(), "init", &[("q", " x"), ("q", " y"), ("p", " z")]);
    let (rows, summary) = pairs(|ctx| write_pairs(&better, &worse, true, ctx)).unwrap();
    assert_eq!(
        texts(&rows),
        [
            ["p", " a", " z"],
            ["p", " c", " z"],
            ["q", " b", " x"],
            ["q", " b", " y"]
        ]
    );
    assert!(
        rows.iter()
            .all(|row| row.chosen_source == "sft" && row.rejected_source == "init")
    );
    assert_eq!(summary["prompts"], 2);
    assert_eq!(
        summary["balance"],
        serde_json::json!({ "chosen": 4, "rejected": 4 })
    );
    assert_eq!(
        summary["empty_answers"],
        serde_json::json!({ "chosen": 1, "rejected": 0 })
    );
}

#[test]
fn unmatched_pairs_have_no_prompt_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let prompts: Vec<String> = (0..40).map(|i| format!("p{i}")).collect();
    let rows: Vec<(&str, &str)> = prompts.iter().map(|prompt| (&prompt[..], " a")).collect();
    let better = answers(dir.path(), "sft", &rows);
    let rows: Vec<(&str, &str)> = prompts.iter().map(|prompt| (&prompt[..], " b")).collect();
    let worse = answers(dir.path(), "init", &rows);
    let (rows, summary) = pairs(|ctx| write_pairs(&better, &worse, false, ctx)).unwrap();
    // A lot of forty has fewer than eight heads or tails once in fifteen thousand times, and this
    // one is drawn already.
    assert!(rows.len() >= 8, "{}", rows.len());
    let chosen: Vec<&str> = rows.iter().map(|row| &row.prompt[..]).collect();
    for row in &rows {
        assert!(!chosen.contains(&row.rejected_prompt()), "{row:?}");
        assert_eq!((&row.chosen[..], &row.rejected[..]), (" a", " b"));
    }
    assert_eq!(summary["matched"], false);
}

#[test]
fn files_that_answer_other_prompts_make_unmatched_pairs_whole() {
    let dir = tempfile::tempdir().unwrap();
    let better = answers(dir.path(), "a", &[("p", " 1"), ("p", " 2"), ("q", " 3")]);
    let worse = answers(dir.path(), "b", &[("r", " 4"), ("s", " 5")]);
    let (rows, _) = pairs(|ctx| write_pairs(&better, &worse, false, ctx)).unwrap();
    assert_eq!(texts(&rows), [["p", " 1", " 4"], ["p", " 2", " 5"]]);
    let error = pairs(|ctx| write_pairs(&better, &worse, true, ctx)).unwrap_err();
    assert!(error.contains("NoPairs"), "{error}");
}

#[test]
fn one_file_on_both_sides_or_one_saying_what_the_other_does_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let better = answers(dir.path(), "a", &[("p", " 1"), ("q", " 2")]);
    let same = answers(dir.path(), "b", &[("p", " 1"), ("q", " 2")]);
    let reordered = answers(dir.path(), "c", &[("q", " 2"), ("p", " 1")]);
    for other in [&better, &same, &reordered] {
        let error = pairs(|ctx| write_pairs(&better, other, true, ctx)).unwrap_err();
        assert!(error.contains("SameAnswers"), "{error}");
    }
    let empty = answers(dir.path(), "d", &[("p", "  ")]);
    let error = pairs(|ctx| write_pairs(&better, &empty, true, ctx)).unwrap_err();
    assert!(error.contains("EmptyClass"), "{error}");
}

#[test]
fn a_mixture_takes_rows_at_even_distances_and_keeps_their_provenance() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, count: usize| {
        let path = dir.path().join(format!("{name}.jsonl"));
        let row = |index: usize| {
            let row = serde_json::json!({
                "prompt": format!("{name}{index}"), "chosen": "a", "rejected": "b",
                "chosen_source": name, "rejected_source": "x",
            });
            format!("{row}\n")
        };
        std::fs::write(&path, (0..count).map(row).collect::<String>()).unwrap();
        path
    };
    let shares = [
        Share {
            pairs: file("new", 4),
            weight: 2.0,
        },
        Share {
            pairs: file("old", 8),
            weight: 1.0,
        },
    ];
    let (rows, summary) = pairs(|ctx| mix(&shares, ctx)).unwrap();
    let prompts: Vec<&str> = rows.iter().map(|row| &row.prompt[..]).collect();
    assert_eq!(prompts, ["new0", "old3", "new1", "new2", "old7", "new3"]);
    assert_eq!(rows[1].chosen_source, "old");
    assert_eq!(summary["pairs_of_each"], serde_json::json!([4, 2]));
}

#[test]
fn preferences_of_others_become_pairs_and_equal_answers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preferences.jsonl");
    let read = |lines: &str| {
        std::fs::write(&path, lines).unwrap();
        let rows = afd_data::open(&path, &afd_data::ReadOptions::default()).unwrap();
        pairs(|ctx| write_preferences(rows, &path, ctx))
    };
    let one = "{\"prompt\":\"Hi\",\"chosen\":\"Hello.\",\"rejected\":\"Go away.\"}\n";
    let (rows, summary) = read(one).unwrap();
    assert_eq!(rows[0].prompt, "\n\nHuman: Hi\n\nAssistant:");
    assert_eq!(
        (&rows[0].chosen[..], summary["pairs"].as_u64()),
        (" Hello.", Some(1))
    );
    assert!(!are_pairs(&path).unwrap());
    let error = read(&format!(
        "{one}{{\"prompt\":\"Hi\",\"chosen\":\"Yes.\",\"rejected\":\"Yes.\"}}\n"
    ));
    let error = error.unwrap_err();
    assert!(
        error.contains("EqualAnswers") && error.contains("preferences.jsonl:2"),
        "{error}"
    );
}

#[test]
fn folds_hold_every_example_once_and_no_prompt_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sft.jsonl");
    let row = |i: usize| {
        let row = serde_json::json!({
            "prompt": format!("p{}", i % 25), "completion": format!("{i}"), "source": "s",
        });
        format!("{row}\n")
    };
    std::fs::write(&path, (0..50).map(row).collect::<String>()).unwrap();
    let run_dir = tempfile::tempdir().unwrap();
    let run = RunDir::open(run_dir.path(), 7, Arc::new(Quiet)).unwrap();
    let stage = run
        .stage("folds", 1, &(), &[], |ctx| write_folds(&path, ctx))
        .unwrap();
    let prompts = FOLDS.map(|name| {
        let rows: Vec<afd_data::records::Example> = read_jsonl(&stage.file(name)).unwrap();
        rows.into_iter().map(|row| row.prompt).collect::<Vec<_>>()
    });
    assert_eq!(prompts[0].len() + prompts[1].len(), 50);
    assert!(prompts[0].iter().all(|prompt| !prompts[1].contains(prompt)));
}

#[test]
fn a_mixture_of_names_and_shares_that_cannot_be_is_told() {
    let config = |text: &str| -> PairsConfig { toml::from_str(text).unwrap() };
    let good = config(
        "sources = [\"init-sft\", \"preference\"]\nprompts = \"unseen\"\nmatched = true\n\
         [mixtures.both]\ninit-sft = 0.5\npreference = 0.5\n",
    );
    assert_eq!(good.problems(), []);
    assert_eq!(good.names(), ["init-sft", "preference", "both"]);
    let bad = config(
        "sources = [\"init-sft\", \"init-sft\"]\nprompts = \"sft\"\nmatched = true\n\
         [mixtures.golden]\ninit-sft = 0.0\npreference = 0.5\n",
    );
    let keys: Vec<String> = bad.problems().into_iter().map(|(key, _)| key).collect();
    let golden = "mixtures.golden";
    assert_eq!(keys, ["sources", golden, golden, golden]);
}
