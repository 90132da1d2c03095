//! Whole models against Hugging Face transformers, on checkpoints it wrote itself.
//!
//! `testdata/make.py` made the files; it says with which versions.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use afd_backend::device::test_device;
use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use serde::Deserialize;

use crate::{
    CausalLm, DecoderConfig, Head, KvCache, Sequence, SequenceClassifier, Side, tests::host,
};

/// The largest difference seen on `flex` is 2.9e-6, on a logit.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Expected {
    sequences: Vec<Ids>,
    llama_tied: LanguageModel,
    llama_untied: LanguageModel,
    llama_score: Classifier,
}

#[derive(Deserialize)]
pub(crate) struct Ids {
    ids: Vec<u32>,
    prompt_len: usize,
}

#[derive(Deserialize)]
pub(crate) struct LanguageModel {
    last_logits: Vec<Vec<f32>>,
    log_probs: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
pub(crate) struct Classifier {
    pub(crate) scores: Vec<f32>,
}

impl Expected {
    fn load() -> Self {
        let text = std::fs::read_to_string(testdata().join("expected.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn sequences(&self) -> Vec<Sequence<'_>> {
        sequences(&self.sequences)
    }
}

pub(crate) fn sequences(rows: &[Ids]) -> Vec<Sequence<'_>> {
    rows.iter()
        .map(|row| Sequence {
            ids: &row.ids,
            prompt_len: row.prompt_len,
        })
        .collect()
}

/// The files of this crate, or those that `cargo xtask parity` has just made.
pub(crate) fn testdata() -> PathBuf {
    match std::env::var_os("AFD_PARITY") {
        Some(made) => made.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"),
    }
}

/// Tells `cargo xtask parity` of a difference.
pub(crate) fn record(what: &str, difference: f32, bound: f32) {
    if std::env::var_os("AFD_PARITY").is_none() {
        return;
    }
    let path = testdata().join("results.tsv");
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    // One write: tests run side by side.
    let line = format!("{what}\t{difference:e}\t{bound:e}\n");
    file.write_all(line.as_bytes()).unwrap();
}

pub(crate) fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    // A NaN is a miss, which `max` would pass over.
    let largest = differences.fold(0.0, |max: f32, d| if d <= max { max } else { d });
    record(what, largest, TOLERANCE);
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            (a - b).abs() <= TOLERANCE,
            "{what}, number {index}: {a} here, {b} in transformers"
        );
    }
}

/// The logits after the last of `ids`, read through a cache: half at once, then one by one.
pub(crate) fn cached_logits(model: &CausalLm, ids: &[u32]) -> Vec<f32> {
    let device = test_device();
    let mut cache = KvCache::new(&model.model, 1, ids.len());
    let (prompt, rest) = ids.split_at(ids.len() / 2);
    let mut hidden = None;
    for part in std::iter::once(prompt).chain(rest.chunks(1)) {
        let values: Vec<i32> = part.iter().map(|id| *id as i32).collect();
        let part = Tensor::<2, Int>::from_data(TensorData::new(values, [1, part.len()]), &device);
        hidden = Some(model.model.forward_cached(part, &mut cache));
    }
    host(model.logits(
        hidden.unwrap().squeeze_dim::<2>(0),
        &model.head_for_reading(),
    ))
}

fn check_language_model(name: &str, pick: fn(&Expected) -> &LanguageModel) {
    let expected = Expected::load();
    let model = CausalLm::load(&testdata().join(name), &test_device().into()).unwrap();
    let sequences = expected.sequences();
    check_logits(name, &model, &sequences, pick(&expected), true);
    let ours = model.score_log_probs(&sequences, 2).unwrap();
    for (ours, theirs) in ours.iter().zip(&pick(&expected).log_probs) {
        assert_close("log-probs of a sequence", ours, theirs);
    }
}

/// Logits and log-probabilities: alone and, where the model reads a text alike whatever stands
/// beside it, padded on either side and through the cache.
pub(crate) fn check_logits(
    name: &str,
    model: &CausalLm,
    sequences: &[Sequence<'_>],
    reference: &LanguageModel,
    alike: bool,
) {
    for (index, (sequence, logits)) in sequences.iter().zip(&reference.last_logits).enumerate() {
        let ours = host(model.next_logits(&[sequence.ids]));
        assert_close(&format!("{name}: logits"), &ours, logits);
        let ours = host(model.log_probs(&[*sequence], Side::Right));
        assert_close(
            &format!("{name}: log-probs"),
            &ours,
            &reference.log_probs[index],
        );
        if alike {
            let ours = cached_logits(model, sequence.ids);
            assert_close(&format!("{name}: cached logits"), &ours, logits);
        }
    }
    for side in [Side::Right, Side::Left] {
        if alike {
            let ours = host(model.log_probs(sequences, side));
            let what = format!("{name}: padded log-probs");
            assert_close(&what, &ours, &reference.log_probs.concat());
        }
    }
}

#[test]
fn parity_of_a_tied_language_model() {
    check_language_model("llama-tied", |expected| &expected.llama_tied);
}

/// Stored in bf16, with heads wider than their share of the residual stream.
#[test]
fn parity_of_an_untied_language_model() {
    check_language_model("llama-untied", |expected| &expected.llama_untied);
}

#[test]
fn parity_of_a_reward_model() {
    let expected = Expected::load();
    // The seed must not matter: the head comes from the file.
    let model = SequenceClassifier::load(&testdata().join("llama-score"), 9, &test_device().into());
    let ours = model.unwrap().score_all(&expected.sequences(), 3).unwrap();
    assert_close("scores", &ours, &expected.llama_score.scores);
}

/// The directories named `…-v4` hold the same config as transformers 4 spelt it.
#[test]
fn parity_of_the_two_config_dialects() {
    for (name, theta) in [("llama-tied", 10_000.0), ("llama-untied", 500_000.0)] {
        let (config, head) = DecoderConfig::load(&testdata().join(name)).unwrap();
        assert_eq!(head, Head::LanguageModel);
        assert_eq!(config.rope.as_ref().unwrap().theta, theta);
        let old = DecoderConfig::load(&testdata().join(format!("{name}-v4"))).unwrap();
        assert_eq!(old, (config, head));
    }
}
