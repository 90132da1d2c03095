//! `afd bench`: how fast a model trains, scores and writes, side by side in one run.
//!
//! Random weights and tokens serve: speed does not ask what they mean. Each measurement is a
//! process of its own, so that one leaves no memory, threads or tuned kernels to the next, and
//! the variants take turns, so that what else the machine does falls on all of them alike.
//! `cargo xtask bench` runs such processes in turn with those of other libraries.

mod inference;
mod model;
mod reinforcement;
mod table;
mod training;

use std::process;

use afd_backend::{Placement, Precision};
use afd_stage::peak_memory_bytes;
use serde::{Deserialize, Serialize};

use self::table::Row;
use super::print;
use crate::{
    args::{BenchArgs, Variant, Work},
    error::Error,
};

/// What one process measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    /// Tokens a second; of matrix products, floating-point operations a second.
    rate: f64,
    /// Of the process up to its end, in bytes: on devices with memory of their own, not theirs.
    peak_memory: Option<u64>,
    /// The same when the device was there, and no model yet.
    idle_memory: Option<u64>,
}

/// What a process that trains says, on a line of its own, when its first optimiser step is done.
const FIRST_STEP: &str = "first step\n";

/// Measures one work of one variant and prints it as JSON, or all of them and prints a table.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Error> {
    if let (Some(variant), Some(work)) = (&args.one, args.work) {
        let measured = measure(args, variant, work)?;
        let json = serde_json::to_string(&measured).map_err(|e| Error::Usage(e.to_string()))?;
        return print(&format!("{json}\n"));
    }
    let variants = args.variants();
    let works = [Work::Sft, Work::Score, Work::Sample, Work::Matmul];
    let mut runs: Vec<[Vec<Measured>; 4]> = variants.iter().map(|_| Default::default()).collect();
    for _ in 0..args.repeats.get() {
        for (variant, runs) in variants.iter().zip(&mut runs) {
            for (work, runs) in works.into_iter().zip(runs) {
                runs.push(child(args, variant, work)?);
            }
        }
    }
    let rows = variants.iter().zip(&runs);
    let rows: Vec<Row<'_>> = rows
        .map(|(variant, runs)| Row::new(variant, runs))
        .collect();
    print(&table::table(args, &rows))
}

/// Runs this program again for one work of one variant.
fn child(args: &BenchArgs, variant: &Variant, work: Work) -> Result<Measured, Error> {
    let failed = |source| Error::Io {
        action: "start",
        path: "afd bench".into(),
        source,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let output = process::Command::new(program)
        .args(["bench", "--one", &variant.to_string()])
        .args(["--work", &work.to_string()])
        .args(["--shape", &args.shape.to_string()])
        .args(["--batch-size", &args.batch_size.to_string()])
        .args(["--length", &args.length.to_string()])
        .args(["--answers", &args.answers.to_string()])
        .args(["--steps", &args.steps.to_string()])
        .stderr(process::Stdio::inherit())
        .output()
        .map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .map_err(|_| Error::Usage(format!("{variant} could not be measured; see above")))
}

fn measure(args: &BenchArgs, variant: &Variant, work: Work) -> Result<Measured, Error> {
    let precision = Precision {
        params: variant.dtype,
        compute: variant.dtype,
    };
    let placement = Placement::open(&variant.device, precision)?;
    let idle_memory = peak_memory_bytes();
    let rate = match work {
        Work::Sft => training::sft(args, variant, &placement)?,
        Work::Reward => training::reward(args, variant, &placement)?,
        Work::Rl => reinforcement::rl(args, variant, &placement)?,
        Work::Score => inference::score(args, &placement)?,
        Work::Sample => inference::sample(args, &placement)?,
        Work::Matmul => inference::matmul(&placement)?,
    };
    Ok(Measured {
        rate,
        peak_memory: peak_memory_bytes(),
        idle_memory,
    })
}
