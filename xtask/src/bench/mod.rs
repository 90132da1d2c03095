//! `cargo xtask bench`: our speed and memory against transformers, PyTorch and TRL on this machine.
//!
//! Each measurement is a process: `afd bench --one` on our side, `xtask/bench/rival.py` on the other.
//! For each kind of work the contenders take turns, several rounds, so that what else the machine
//! does falls on all of them alike. `cargo xtask bench pipeline` does so with the whole chain.

mod chain;
mod growth;
mod plan;
mod record;
mod rows;
mod spread;
mod table;
mod targets;
mod worker;

use std::path::{Path, PathBuf};
use std::{fs, thread};

use crate::error::Error;
use crate::{setup, shell};

use plan::{Contender, Measurement, SIZES, Work};
use record::Record;
use worker::{Reading, Workers};

/// What ours is compared with.
const PACKAGES: [&str; 6] = [
    "torch==2.9.0",
    "transformers==5.23.0",
    "trl==1.16.0",
    "accelerate==1.15.0",
    "datasets==5.2.0",
    "numpy",
];

const EXAMPLES: &str = "\
The first time, a virtual environment with torch, transformers and TRL is made from PyPI, some
gigabytes. libtorch takes part where `cargo xtask setup libtorch` has been run.

Examples:
  cargo xtask bench --quick                  the smallest size, within five minutes
  cargo xtask bench                          three sizes, two lengths; more than an hour
  cargo xtask bench --size width-256 --work sft,rl --rounds 5
  cargo xtask bench pipeline                 the whole chain on the quickstart's data
  cargo xtask bench --json rows.json --python /opt/venv/bin/python
Nothing else should run meanwhile. Every value measured is kept in benches/results/.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    whole: Option<Whole>,
    /// The smallest size, at one length, few steps
    #[arg(long)]
    quick: bool,
    /// Kinds of work; all if none is named
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    work: Vec<Work>,
    /// Sizes: width-128, width-256, width-512; all if none is named
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = size)]
    size: Vec<&'static plan::Size>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand)]
enum Whole {
    /// The whole chain on the quickstart's data, against the same with transformers and TRL
    Pipeline(Common),
}

/// How often, with what, and where results go.
#[derive(clap::Args)]
struct Common {
    /// Rounds, in each of which every contender has a turn; 3, and 2 with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Write the rows of the table there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where every value measured is kept; by default benches/results/DATE-COMMIT.json
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// A Python that has the packages, in place of an environment of its own
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

fn size(name: &str) -> Result<&'static plan::Size, String> {
    let found = SIZES.iter().find(|size| size.name == name);
    found.ok_or_else(|| format!("must be one of {}", SIZES.map(|size| size.name).join(", ")))
}

/// What a contender measured in all rounds; none where it failed.
#[derive(Debug, Clone, serde::Serialize)]
struct Run {
    #[serde(flatten)]
    measurement: Measurement,
    #[serde(flatten)]
    contender: Contender,
    rounds: Vec<Reading>,
    failed: Option<String>,
}

/// Measures, prints the tables, keeps the values.
///
/// # Errors
/// When nothing can be built or written, and [`Error::Bench`] when a measurement failed.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let (common, is_whole) = match &args.whole {
        Some(Whole::Pipeline(common)) => (common, true),
        None => (&args.common, false),
    };
    let python = match &common.python {
        Some(python) => python.clone(),
        None => setup::python("bench", &PACKAGES)?,
    };
    let libtorch = setup::libtorch::installed(&setup::dir()?)?;
    if libtorch.is_none() {
        println!("without libtorch, which `cargo xtask setup libtorch` would add");
    }
    let contenders = plan::contenders(libtorch.is_some());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let workers = Workers::new(&contenders, python, threads)?;
    let rounds = common.rounds.unwrap_or(if args.quick { 2 } else { 3 });
    let mut versions = workers.versions()?;
    versions["libtorch"] = libtorch.and_then(|libtorch| libtorch.version).into();
    let mut record = Record::new(rounds, threads, versions)?;
    let results = common.results.clone().unwrap_or_else(|| record.path());

    if is_whole {
        record.chains = chain::run(&workers, &contenders, rounds)?;
    } else {
        let measurements = plan::measurements(args.quick, &args.work, &args.size);
        for (index, measurement) in measurements.iter().enumerate() {
            println!("\n[{}/{}] {measurement}", index + 1, measurements.len());
            let runs = turns(&workers, measurement, &contenders, rounds)?;
            record.runs.extend(runs);
            // A person may stop an hour's work.
            record.summarise();
            write(&results, &record.json())?;
        }
    }
    record.summarise();
    write(&results, &record.json())?;
    finish(&record, common)?;
    println!("every value: {}", shown(&results));
    let failed = record.runs.into_iter().map(|run| run.failed);
    let failed = failed.chain(record.chains.into_iter().map(|chain| chain.failed));
    let failed: Vec<String> = failed.flatten().collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Bench { failed }),
    }
}

/// Tells what was found.
fn finish(record: &Record, common: &Common) -> Result<(), Error> {
    println!("\n{}", table::table(&record.rows));
    if !record.runs.is_empty() {
        print!("{}", table::idle(&record.runs));
        println!("{}", table::start(&record.runs));
        println!("{}", growth::text(&record.growth, &record.vocabulary));
    }
    println!("{}", targets::text(&record.targets));
    if let Some(path) = &common.json {
        write(path, &rows::json(&record.rows))?;
        println!("rows: {}", shown(path));
    }
    Ok(())
}

/// All rounds of one measurement; who fails once has no further turns.
fn turns(
    workers: &Workers,
    measurement: &Measurement,
    contenders: &[Contender],
    rounds: u64,
) -> Result<Vec<Run>, Error> {
    let run = |contender: &Contender| Run {
        measurement: measurement.clone(),
        contender: contender.clone(),
        rounds: Vec::new(),
        failed: None,
    };
    let mut runs: Vec<Run> = contenders.iter().map(run).collect();
    for round in 1..=rounds {
        for run in runs.iter_mut().filter(|run| run.failed.is_none()) {
            match workers.measure(measurement, &run.contender)? {
                Ok(reading) => {
                    let told = table::reading(&reading);
                    println!("  round {round}  {:<22}{told}", run.contender.to_string());
                    run.rounds.push(reading);
                }
                Err(line) => {
                    println!(
                        "  round {round}  {:<22}failed, see above",
                        run.contender.to_string()
                    );
                    run.failed = Some(line);
                }
            }
        }
    }
    Ok(runs)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    fs::write(path, text).map_err(Error::io(path))
}

/// A path as one would type it in the root of the workspace.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(shell::root()).unwrap_or(path);
    path.display().to_string()
}
