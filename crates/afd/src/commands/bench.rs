//! `afd bench`: how fast a model trains, scores and writes, side by side in one run.
//!
//! Random weights and tokens serve: speed does not ask what they mean. Each measurement is a
//! process of its own, so that one leaves no memory, threads or tuned kernels to the next, and
//! the variants take turns, so that what else the machine does falls on all of them alike.

use std::{cell::RefCell, path::Path, process, time::Instant};

use afd_backend::{Placement, Precision};
use afd_data::TokenRow;
use afd_model::{
    CausalLm, DecoderConfig, GenerationRequest, SamplingParams, Sequence, Stop, generate, never,
};
use afd_sft::NegativeLogLikelihood;
use afd_stage::peak_memory_bytes;
use afd_train::{Hooks, SchedulerType, Snapshots, TrainConfig, train};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::print;
use crate::{
    args::{BenchArgs, Shape, Variant},
    error::Error,
    speed,
};

/// Optimiser steps before the clock starts: kernels are compiled and memory is taken in these.
const WARM_UP: usize = 2;

/// Answers drawn to each prompt of a batch.
const ANSWERS: u64 = 8;

/// What one process measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    parameters: usize,
    /// Tokens a second: forward, backward and AdamW.
    train: f64,
    /// Tokens a second: log-probabilities of given answers.
    score: f64,
    /// Tokens a second: answers drawn with the cache.
    sample: f64,
    /// Multiplications and additions a second of large matrix products in the compute type.
    matmul: f64,
    /// Of the process while training, in bytes: on devices with memory of their own, not theirs.
    peak_memory: Option<u64>,
}

/// Measures one variant and prints it as JSON, or all of them and prints a table.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Error> {
    if let Some(variant) = &args.one {
        let measured = measure(args, variant)?;
        let json = serde_json::to_string(&measured).map_err(|e| Error::Usage(e.to_string()))?;
        return print(&format!("{json}\n"));
    }
    let variants = args.variants();
    let mut runs: Vec<Vec<Measured>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.repeats.get() {
        for (variant, runs) in variants.iter().zip(&mut runs) {
            runs.push(child(args, variant)?);
        }
    }
    let rows: Vec<(&Variant, Measured)> =
        variants.iter().zip(runs.into_iter().map(median)).collect();
    print(&table(args, &rows))
}

/// Runs this program again for one variant.
fn child(args: &BenchArgs, variant: &Variant) -> Result<Measured, Error> {
    let failed = |source| Error::Io {
        action: "start",
        path: "afd bench".into(),
        source,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let output = process::Command::new(program)
        .args(["bench", "--one", &variant.to_string()])
        .args(["--shape", &args.shape.name()])
        .args(["--batch-size", &args.batch_size.to_string()])
        .args(["--length", &args.length.to_string()])
        .args(["--steps", &args.steps.to_string()])
        .stderr(process::Stdio::inherit())
        .output()
        .map_err(failed)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| Error::Usage(format!("{variant} could not be measured; see above")))
}

/// Of each figure the median; of the memory the largest.
fn median(runs: Vec<Measured>) -> Measured {
    let middle = |figure: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measured {
        parameters: runs[0].parameters,
        train: middle(|m| m.train),
        score: middle(|m| m.score),
        sample: middle(|m| m.sample),
        matmul: middle(|m| m.matmul),
        peak_memory: runs.iter().filter_map(|m| m.peak_memory).max(),
    }
}

fn table(args: &BenchArgs, rows: &[(&Variant, Measured)]) -> String {
    let (shape, runs) = (args.shape.decoder(args.length.get()), args.repeats);
    let (width, layers) = (shape.hidden_size, shape.num_hidden_layers);
    let first = &rows[0].1;
    let mut text = format!(
        "{}: width {width}, {layers} layers, vocabulary {}, {:.1} M parameters; batch {} x {} tokens, median of {runs} runs\n\
         × is the ratio to the first row; of peak: 6 FLOPs per parameter and token over a large matrix product's\n\n\
         {:<26} {:>15} {:>6} {:>14} {:>6} {:>15} {:>6} {:>8} {:>9}\n",
        args.shape.name(),
        shape.vocab_size,
        first.parameters as f64 / 1e6,
        args.batch_size,
        args.length,
        "",
        "train tokens/s",
        "×",
        "score tokens/s",
        "×",
        "sample tokens/s",
        "×",
        "of peak",
        "host MiB",
    );
    for (variant, m) in rows {
        let memory = m
            .peak_memory
            .map_or("–".into(), |b| format!("{:.0}", b as f64 / 1_048_576.0));
        let of_peak = 6.0 * m.parameters as f64 * m.train / m.matmul;
        text += &format!(
            "{:<26} {:>15.0} {:>6.2} {:>14.0} {:>6.2} {:>15.0} {:>6.2} {:>6.0} % {memory:>9}\n",
            variant.to_string(),
            m.train,
            m.train / first.train,
            m.score,
            m.score / first.score,
            m.sample,
            m.sample / first.sample,
            100.0 * of_peak,
        );
    }
    text
}

fn measure(args: &BenchArgs, variant: &Variant) -> Result<Measured, Error> {
    let precision = Precision {
        params: variant.dtype,
        compute: variant.dtype,
    };
    let placement = Placement::open(&variant.device, precision)?;
    let shape = args.shape.decoder(args.length.get());
    let parameters = parameters(&shape);
    let (batch, length) = (args.batch_size.get(), args.length.get());
    let rows = |count: usize| -> Vec<TokenRow> {
        let token = |n: usize| (n * 7919 % shape.vocab_size) as u32;
        let row = |i: usize| (0..length).map(|t| token(i * length + t)).collect();
        let rows = (0..count).map(row);
        rows.map(|ids| TokenRow {
            ids,
            prompt_len: 1,
            trained: Vec::new(),
        })
        .collect()
    };

    let mut model = CausalLm::init(shape.clone(), 0, &placement.for_training())?;
    model
        .model
        .set_gradient_checkpointing(variant.gradient_checkpointing);
    let steps = WARM_UP + args.steps.get();
    let objective = NegativeLogLikelihood {
        rows: rows(batch * steps),
        seed: 0,
    };
    let plan = |_| -> Vec<Vec<Vec<usize>>> {
        let step = |step: usize| vec![(step * batch..(step + 1) * batch).collect()];
        (0..steps).map(step).collect()
    };
    let laps = RefCell::new(Vec::new());
    let hooks = Hooks {
        // Nothing is kept, and nothing is found to resume from.
        dir: Path::new(""),
        save: &|_: &CausalLm, _| Ok(()),
        load: &|_| Err("nothing is kept".into()),
        log: &|_, _| Ok(()),
        resumed: &|_| Ok(()),
        progress: &|_, _, _, _| laps.borrow_mut().push(Instant::now()),
        snapshots: Snapshots::none(),
    };
    let model = train(model, &objective, &plan, None, &train_config(), &hooks)
        .map_err(afd_sft::Error::from)?
        .model;
    drop(model);
    let laps = laps.into_inner();
    let warm = laps[WARM_UP - 1];
    let train = (args.steps.get() * batch * length) as f64
        / laps[laps.len() - 1].duration_since(warm).as_secs_f64();
    let peak_memory = peak_memory_bytes();

    let model = CausalLm::init(shape.clone(), 0, &placement)?;
    let answers = rows(4 * batch);
    let sequences: Vec<Sequence<'_>> = answers
        .iter()
        .map(|row| Sequence {
            ids: &row.ids,
            prompt_len: 1,
        })
        .collect();
    let score = per_second(answers.len() * length, || {
        model.score_log_probs(&sequences, batch).map(drop)
    })?;

    let prompt = length / 4;
    let requests: Vec<GenerationRequest> = rows(batch)
        .into_iter()
        .map(|row| GenerationRequest {
            prompt_ids: row.ids[..prompt].to_vec(),
            seeds: (0..ANSWERS).collect(),
        })
        .collect();
    let requests: Vec<&GenerationRequest> = requests.iter().collect();
    let params = SamplingParams::unmodified(length - prompt);
    let stop = Stop {
        ids: &[],
        text: &never,
    };
    let drawn = batch * ANSWERS as usize * (length - prompt);
    let sample = per_second(drawn, || {
        generate(&model, &requests, &params, &stop).map(drop)
    })?;
    Ok(Measured {
        parameters,
        train,
        score,
        sample,
        matmul: speed::matmul(&placement.device, placement.compute())
            .map_or(f64::NAN, |best| best.1),
        peak_memory,
    })
}

impl Shape {
    /// The name on the command line.
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn decoder(self, context: usize) -> DecoderConfig {
        let (hidden_size, layers, heads, vocab_size) = match self {
            Self::Width256 => (256, 6, 8, 8192),
            Self::Width512 => (512, 6, 8, 8192),
            Self::Width1024 => (1024, 6, 16, 8192),
            Self::Gpt2Small => (768, 12, 12, 50_257),
        };
        DecoderConfig {
            vocab_size,
            hidden_size,
            // Three matrices of this size have as many weights as two of 4 × the width.
            intermediate_size: hidden_size * 8 / 3,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            max_position_embeddings: context,
            tie_word_embeddings: true,
            ..DecoderConfig::llama(hidden_size / heads)
        }
    }
}

/// What `work` does a second once it is warm.
fn per_second(
    amount: usize,
    work: impl Fn() -> Result<(), afd_model::Error>,
) -> Result<f64, Error> {
    work()?;
    let start = Instant::now();
    work()?;
    Ok(amount as f64 / start.elapsed().as_secs_f64())
}

/// Weights of linear layers, the tied head among them; norms do not show.
fn parameters(shape: &DecoderConfig) -> usize {
    let attention = 2 * shape.hidden_size * shape.hidden_size
        + 2 * shape.hidden_size * shape.num_key_value_heads * shape.head_dim;
    let mlp = 3 * shape.hidden_size * shape.intermediate_size;
    shape.num_hidden_layers * (attention + mlp) + shape.vocab_size * shape.hidden_size
}

fn train_config() -> TrainConfig {
    TrainConfig {
        learning_rate: 1e-4,
        lr_scheduler_type: SchedulerType::Constant,
        warmup_ratio: 0.0,
        num_train_epochs: 1,
        max_steps: 0,
        per_device_train_batch_size: 1,
        gradient_accumulation_steps: 1,
        per_device_eval_batch_size: 1,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.999,
        adam_epsilon: 1e-8,
        gradient_checkpointing: false,
        max_grad_norm: 1.0,
        logging_steps: 1,
        eval_steps: 0,
        save_steps: 0,
        load_best_model_at_end: false,
        early_stopping_patience: 0,
    }
}
