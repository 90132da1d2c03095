//! The evaluation holds no answers: what it allocates is small beside the files that it reads.

#![allow(
    unsafe_code,
    reason = "an allocator that counts hands on to the system's"
)]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use afd_data::records::{Example, JsonlWriter, Sample};
use afd_eval::{EvalConfig, EvalInputs, RunRecord};
use afd_model::Scorer;
use afd_stage::{Quiet, RunDir};
use serde::Serialize;

/// Counts the bytes that are allocated, now and at most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both are the system's own, with what it was asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(
            NOW.fetch_add(layout.size(), Relaxed) + layout.size(),
            Relaxed,
        );
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the same.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longer answers are better.
struct Length;

impl Scorer for Length {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(pairs.iter().map(|(_, text)| text.len() as f64).collect())
    }
}

const PROMPTS: usize = 200;
const ANSWERS: u32 = 4;
const BYTES: usize = 20_000;
const TOKENS: usize = 2_000;

fn write<T: Serialize>(dir: &Path, name: &str, rows: impl Iterator<Item = T>) -> PathBuf {
    let path = dir.join(name);
    let mut writer = JsonlWriter::create(&path).unwrap();
    rows.for_each(|row| writer.write(&row).unwrap());
    writer.finish().unwrap();
    path
}

fn samples() -> impl Iterator<Item = Sample> {
    let all = (0..PROMPTS).flat_map(|number| (0..ANSWERS).map(move |index| (number, index)));
    all.map(|(number, index)| Sample {
        prompt: number.to_string(),
        index,
        completion: "x".repeat(BYTES + index as usize),
        completion_ids: vec![1; TOKENS + index as usize],
        logprobs: vec![-0.5; TOKENS + index as usize],
        sampler_logprobs: None,
        finish_reason: "stop".to_owned(),
    })
}

#[test]
fn answers_are_not_held() {
    let dir = tempfile::tempdir().unwrap();
    let example = |number: usize| Example {
        prompt: number.to_string(),
        completion: Some("x y".to_owned()),
        chosen: None,
        rejected: None,
        messages: Vec::new(),
        source: "test".to_owned(),
    };
    let inputs = EvalInputs {
        test: &write(dir.path(), "test", (0..PROMPTS).map(example)),
        init_samples: &write(dir.path(), "init", samples()),
        sft_samples: &write(dir.path(), "sft", samples()),
        rankers: &[],
        policies: &[],
        reward_summaries: &[],
        judged: &[],
        scorers: &[],
        spread: None,
        golden_name: "length",
        record: &RunRecord::default(),
    };
    let config = EvalConfig {
        n: vec![1, 2, 4],
        kl: Vec::new(),
        bootstrap_resamples: 100,
        bradley_terry_prior: 1.0,
        spread_answers: 0,
        examples: 1,
        browser_prompts: 1,
        blur_answers: false,
    };
    let run = RunDir::open(&dir.path().join("run"), 0, Arc::new(Quiet)).unwrap();
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    // A prompt's answers at a time, on each of so many processors.
    let processors = rayon::ThreadPoolBuilder::new().num_threads(2);
    processors.build().unwrap().install(|| {
        run.stage("eval", 1, &"memory", &[], |ctx| {
            afd_eval::run(&config, &inputs, &Length, ctx)
        })
        .unwrap();
    });
    let held = MOST.load(Relaxed) - before;
    let texts = 2 * PROMPTS * ANSWERS as usize * BYTES;
    assert!(held < texts / 4, "{held} bytes held of {texts}");
}
