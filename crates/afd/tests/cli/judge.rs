//! Real data's form: two-turn dialogues, chosen and rejected, gzip-compressed, some rows broken.

use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::util::{Ends, RANKERS, Run, read_rows, root};

const CONFIG: &str = r#"
extends = "ROOT/configs/hh-harmless.toml"

[data]
path = "hh.jsonl.gz"
split = { sft = 0.25, reward = 0.25, validation = 0.1, judge = 0.2, test = 0.2 }
max_rows = { test = 12 }

[sft]
num_train_epochs = 1
max_steps = 4
gradient_accumulation_steps = 2
save_steps = 2

[sample]
max_completion_length = 12
test_num_generations = 3
policy_num_generations = 2
stored_num_generations = 3

[reward]
eval_fraction = 0.3
gradient_accumulation_steps = 1
max_steps = 4

[best_of_n]
n = 2

[eval]
n = [1, 3]
bootstrap_resamples = 200
"#;

const DISHES: [&str; 9] = [
    "soup",
    "bread",
    "rice",
    "salad",
    "porridge",
    "stew",
    "pancakes",
    "dumplings",
    "noodles",
];
const WAYS: [&str; 8] = [
    "on a camp fire",
    "for ten guests",
    "without salt",
    "in an hour",
    "for a child",
    "in winter",
    "with leftovers",
    "in a tiny kitchen",
];

/// A dialogue about cooking up to its last answer.
fn prompt(k: usize) -> String {
    let (dish, way) = (DISHES[k % 9], WAYS[k % 8]);
    format!(
        "\n\nHuman: I would like to make {dish}.\n\nAssistant: A good idea. What do you have at home?\
         \n\nHuman: Not much, and I have to do it {way}.\n\nAssistant:"
    )
}

fn pair(k: usize) -> Value {
    let dish = DISHES[k % 9];
    json!({
        "chosen": format!("{} Then keep the {dish} plain, and taste it often.", prompt(k)),
        "rejected": format!("{} I do not know about {dish}.", prompt(k)),
    })
}

/// 66 good pairs and six rows that cannot be used, as lines, with the reasons they are dropped.
fn lines() -> (Vec<String>, Vec<&'static str>) {
    let mut rows: Vec<Value> = (0..66).map(pair).collect();
    let answer = |text: &str| json!({ "chosen": format!("{}{text}", prompt(67)), "rejected": format!("{} No.", prompt(67)) });
    rows.insert(10, json!({ "chosen": format!("{} Yes.", prompt(68)), "rejected": format!("{} No.", prompt(69)) }));
    rows.insert(20, answer(""));
    rows.insert(30, answer("  \n"));
    rows.insert(
        40,
        json!({ "chosen": "I am no dialogue.", "rejected": "Nor am I." }),
    );
    rows.insert(50, rows[49].clone());
    rows.insert(60, answer(&" and stir".repeat(200)));
    let reasons = [
        "chosen and rejected differ in the prompt",
        "empty answer",
        "empty answer",
        "no answer",
        "duplicate",
        "answer too long",
    ];
    (
        rows.iter().map(Value::to_string).collect(),
        reasons.to_vec(),
    )
}

#[test]
fn dialogues_with_preferences_go_all_the_way_and_every_row_is_accounted_for() {
    let run = Run::new("");
    run.write(
        "config.toml",
        CONFIG.replace("ROOT", root().to_str().unwrap()),
    );
    let (lines, reasons) = lines();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in &lines {
        writeln!(encoder, "{line}").unwrap();
    }
    run.write("hh.jsonl.gz", encoder.finish().unwrap());
    let outcome = run.pipeline(&[]).succeeds();
    assert!(
        outcome.stdout.contains("golden reward: judge"),
        "{}",
        outcome.stdout
    );
    for ranker in RANKERS {
        assert!(outcome.stdout.contains(ranker), "{}", outcome.stdout);
    }

    // Kept and dropped rows together are the lines, each once.
    let mut sources: Vec<String> = Vec::new();
    let mut prompts: Vec<(String, &str)> = Vec::new();
    for split in ["sft", "reward", "validation", "judge", "test"] {
        for row in read_rows(&run.file(&format!("data/{split}.jsonl"))) {
            sources.push(row["source"].as_str().unwrap().to_owned());
            prompts.push((row["prompt"].as_str().unwrap().to_owned(), split));
            assert_eq!(row["completion"], row["chosen"]);
        }
    }
    let kept = sources.len();
    let dropped = read_rows(&run.file("data/dropped.jsonl"));
    sources.extend(
        dropped
            .iter()
            .map(|row| row["source"].as_str().unwrap().to_owned()),
    );
    sources.sort();
    let mut expected: Vec<String> = (1..=lines.len())
        .map(|line| format!("hh.jsonl.gz:{line}"))
        .collect();
    expected.sort();
    assert_eq!(sources, expected);
    let over: Vec<&str> = dropped
        .iter()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    let over: Vec<&str> = over
        .into_iter()
        .filter(|reason| *reason != "over the cap")
        .collect();
    assert_eq!(over, reasons);

    let summary = fs::read_to_string(run.file("data/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let count = |values: Vec<&Value>| values.iter().map(|v| v.as_u64().unwrap()).sum::<u64>();
    let told = count(summary["kept"].as_object().unwrap().values().collect());
    let drops = summary["dropped"].as_object().unwrap().values();
    assert_eq!(told, kept as u64);
    assert_eq!(told + count(drops.map(|drop| &drop["count"]).collect()), 72);
    assert_eq!(summary["rows_read"], 72);

    // No prompt is in two splits, and the judge's pairs are those of its own split.
    prompts.sort();
    prompts.dedup();
    let (all, mut texts) = (prompts.len(), prompts.clone());
    texts.dedup_by(|a, b| a.0 == b.0);
    assert_eq!(texts.len(), all);
    for row in read_rows(&run.file("pairs/judge/pairs.jsonl")) {
        assert!(prompts.contains(&(row["prompt"].as_str().unwrap().to_owned(), "judge")));
    }
    // The policy does not speak for the human.
    for row in read_rows(&run.file("samples/sft/samples.jsonl")) {
        assert!(!row["completion"].as_str().unwrap().contains("\n\nHuman:"));
    }
}
