//! Scores of reward models against transformers: whole texts and cut ones, in batches of any size.
//!
//! `testdata/score/make.py` made the models and the scores; it says with which versions, and how a
//! text is read there.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use afd_backend::device::test_device;
use afd_data::DialogueForm;
use serde::Deserialize;

use crate::{Error, LoadOptions, RewardModel, Truncation, TruncationSide};

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Cases {
    rows: Vec<(String, String)>,
    models: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    scores: Vec<f32>,
    truncated: Vec<Truncated>,
}

#[derive(Deserialize)]
struct Truncated {
    max_length: usize,
    truncation_side: String,
    scores: Vec<f32>,
}

/// The files of this crate, or those that `cargo xtask parity` has just made.
fn testdata() -> PathBuf {
    let made = std::env::var_os("AFD_PARITY").map(PathBuf::from);
    let testdata = made.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"));
    testdata.join("score")
}

/// Tells `cargo xtask parity` of a difference.
fn record(what: &str, difference: f32) {
    let Some(folder) = std::env::var_os("AFD_PARITY") else {
        return;
    };
    let mut options = std::fs::File::options();
    let path = PathBuf::from(folder).join("results.tsv");
    let mut file = options.create(true).append(true).open(path).unwrap();
    // One write: tests run side by side.
    let line = format!("{what}\t{difference:e}\t{TOLERANCE:e}\n");
    file.write_all(line.as_bytes()).unwrap();
}

fn load(
    dir: &Path,
    batch_size: usize,
    truncation: Option<Truncation>,
) -> Result<RewardModel, Error> {
    let options = LoadOptions {
        batch_size,
        form: DialogueForm::Hh,
        base: None,
        truncation,
    };
    RewardModel::load(dir, &options, &test_device().into())
}

#[test]
fn scores_of_a_reward_model_are_those_of_transformers() {
    let text = std::fs::read_to_string(testdata().join("cases.json")).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    let rows = cases.rows.iter();
    let rows: Vec<(&str, &str)> = rows.map(|(a, b)| (&a[..], &b[..])).collect();
    assert!(cases.models.len() >= 3 && rows.len() >= 20);

    let mut misses = Vec::new();
    for (name, case) in &cases.models {
        let whole = (None, &case.scores);
        let cut = case.truncated.iter().map(|cut| {
            let side = match &cut.truncation_side[..] {
                "right" => TruncationSide::Right,
                "left" => TruncationSide::Left,
                other => panic!("{other}"),
            };
            let max_length = cut.max_length;
            (Some(Truncation { max_length, side }), &cut.scores)
        });
        for (truncation, expected) in std::iter::once(whole).chain(cut) {
            assert_eq!(rows.len(), expected.len());
            let what = match truncation {
                None => format!("{name}: scores of a reward model, whole texts"),
                Some(_) => format!("{name}: scores of a reward model, cut texts"),
            };
            for batch_size in [1, 3, rows.len()] {
                let model = load(&testdata().join(name), batch_size, truncation).unwrap();
                let ours = model.score(&rows).unwrap().logits;
                let both = ours.iter().zip(expected);
                for (row, difference) in both.map(|(a, b)| (a - b).abs()).enumerate() {
                    record(&what, difference);
                    if difference.is_nan() || difference > TOLERANCE {
                        misses.push(format!(
                            "{name}, {truncation:?}, batches of {batch_size}: {:?} is {} for {}",
                            rows[row], ours[row], expected[row]
                        ));
                    }
                }
            }
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

/// A copy of a reward model whose `score.weight` is renamed, or has a row more.
fn broken(name: &str, rows: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = testdata().join("llama3");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let head = tensors.tensor("score.weight").unwrap();
    let more = head.data().repeat(rows);
    let shape = vec![rows, head.shape()[1]];
    let head = safetensors::tensor::TensorView::new(head.dtype(), shape, &more).unwrap();
    let others = tensors.iter().filter(|(other, _)| *other != "score.weight");
    let all = others.chain(std::iter::once((name, head)));
    let path = dir.path().join("model.safetensors");
    std::fs::write(path, safetensors::serialize(all, None).unwrap()).unwrap();
    dir
}

#[test]
fn a_classifier_that_is_no_reward_model_is_told() {
    let error = |dir: &Path| load(dir, 1, None).err().unwrap().to_string();
    let whole = broken("score.weight", 1);
    assert!(load(whole.path(), 1, None).is_ok());

    let told = error(broken("score.weight", 2).path());
    for part in [
        "model.safetensors",
        "score.weight",
        "2 numbers",
        "num_labels = 1",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = error(broken("classifier.weight", 1).path());
    for part in ["model.safetensors", "`score.weight` is missing", "save it"] {
        assert!(told.contains(part), "{told}");
    }
}
