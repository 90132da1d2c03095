//! How long the stage takes on many answers, and how much memory: 1,000 prompts, 64 answers each, six rewards.
//!
//! `cargo bench -p afd-eval --bench evaluate`; other sizes by `AFD_PROMPTS`, `AFD_SAMPLES` and `AFD_RANKERS`.

#![allow(clippy::print_stdout, reason = "what a benchmark is for")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use afd_data::records::{Example, JsonlWriter, Sample, Scores};
use afd_eval::{EvalConfig, EvalInputs, RunRecord};
use afd_model::Scorer;
use afd_stage::{Quiet, RunDir};
use serde::Serialize;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Tokens in an answer.
const TOKENS: u64 = 80;

/// A judge that costs nothing: what is timed is the evaluation.
struct Hash;

impl Scorer for Hash {
    fn score(&self, pairs: &[(&str, &str)]) -> Done<Vec<f64>> {
        let hash = |text: &str| text.bytes().fold(7, |h: u64, b| mix(h ^ u64::from(b)));
        Ok(pairs
            .iter()
            .map(|(_, answer)| (hash(answer) % 10_000) as f64 / 1000.0)
            .collect())
    }
}

/// The next of a sequence of bits that look like chance.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn size(name: &str, default: u64) -> Done<u64> {
    match env::var(name) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

fn lines<T: Serialize>(path: &Path, rows: impl Iterator<Item = T>) -> Done<PathBuf> {
    let mut writer = JsonlWriter::create(path)?;
    for row in rows {
        writer.write(&row)?;
    }
    writer.finish()?;
    Ok(path.to_owned())
}

fn prompt(number: u64) -> String {
    format!("\n\nHuman: question number {number}?\n\nAssistant:")
}

fn samples(path: &Path, prompts: u64, each: u64, policy: u64) -> Done<PathBuf> {
    let sample = |number: u64, index: u64| {
        let word = |t: u64| mix(mix((number << 32) | (index << 8) | policy) ^ t) % 2000;
        let words: Vec<String> = (0..TOKENS).map(|t| format!("w{}", word(t))).collect();
        Sample {
            prompt: prompt(number),
            index: index as u32,
            completion: format!(" {}", words.join(" ")),
            completion_ids: (0..TOKENS).map(|t| word(t) as u32).collect(),
            logprobs: (0..TOKENS).map(|t| -(word(t) as f32) / 500.0).collect(),
            sampler_logprobs: None,
            finish_reason: "stop".to_owned(),
        }
    };
    let all = (0..prompts).flat_map(|number| (0..each).map(move |index| (number, index)));
    lines(path, all.map(|(number, index)| sample(number, index)))
}

fn scores(path: &Path, prompts: u64, each: u64, ranker: u64) -> Done<PathBuf> {
    let score =
        |number: u64, index: u64| (mix((number << 32) | (index << 8) | ranker) % 999) as f32;
    let row = |number| Scores {
        prompt: prompt(number),
        scores: (0..each).map(|index| score(number, index)).collect(),
        spread: Vec::new(),
        tokens: Vec::new(),
    };
    lines(path, (0..prompts).map(row))
}

/// Most memory that the process has held, in MiB; nothing where the system does not tell.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

fn main() -> Done<()> {
    let prompts = size("AFD_PROMPTS", 1000)?;
    let (each, count) = (size("AFD_SAMPLES", 64)?, size("AFD_RANKERS", 6)?);
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let example = |number| Example {
        prompt: prompt(number),
        completion: Some(format!(" w{}", number % 2000)),
        chosen: None,
        rejected: None,
        messages: Vec::new(),
        source: "bench".to_owned(),
    };
    let test = lines(&path("test"), (0..prompts).map(example))?;
    let init = samples(&path("init"), prompts, each, 1)?;
    let sft = samples(&path("sft"), prompts, each, 2)?;
    let ranker = |number| {
        let name = format!("reward-{number}");
        let file = scores(&path(&name), prompts, each, number)?;
        Ok::<_, Box<dyn Error + Send + Sync>>((name, file))
    };
    let rankers = (0..count).map(ranker).collect::<Done<Vec<_>>>()?;
    let inputs = EvalInputs {
        test: &test,
        init_samples: &init,
        sft_samples: &sft,
        rankers: &rankers,
        policies: &[],
        reward_summaries: &[],
        judged: &[],
        scorers: &[],
        spread: None,
        golden_name: "hash",
        record: &RunRecord::default(),
    };
    let config = EvalConfig {
        n: vec![1, 2, 4, 8, 16, 32, 64],
        bootstrap_resamples: 10_000,
        kl: vec![0.1, 0.25, 0.5, 1.0, 1.5],
        bradley_terry_prior: 1.0,
        spread_answers: 2,
        examples: 5,
        browser_prompts: 50,
        blur_answers: false,
    };
    let before = peak();
    let run = RunDir::open(&path("run"), 0, Arc::new(Quiet))?;
    let start = Instant::now();
    let done = run.stage("eval", 1, &"bench", &[], |ctx| {
        afd_eval::run(&config, &inputs, &Hash, ctx)
    })?;
    let taken = start.elapsed().as_secs_f64();
    println!("{prompts} prompts, {each} answers of each policy, {count} rewards: {taken:.1} s");
    if let (Some(before), Some(peak)) = (before, peak()) {
        println!("peak {peak} MiB, of which {before} before the evaluation");
    }
    for file in ["summary.json", "report.html"] {
        println!(
            "{file}: {} KiB",
            fs::metadata(done.file(file))?.len() / 1024
        );
    }
    Ok(())
}
