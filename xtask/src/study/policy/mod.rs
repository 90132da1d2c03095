//! `cargo xtask study policy`: which policy beyond the fine-tuned one is worth its divergence and cost?

mod cases;
mod curves;
mod found;
mod plot;
mod results;
mod tables;

use std::fs;

use crate::error::Error;
use crate::summary::Summary;

use super::known::{Options, tell};
use super::write;
use cases::{Case, all, quick};
use results::Results;

const CONFIG: &str = "configs/study-policy.toml";

const EXAMPLES: &str = "\
Examples:
  cargo xtask study policy
  cargo xtask study policy --most 10
  cargo xtask study policy --quick
Results are added to OUT/results.jsonl as each run ends; what is there is not run again, so the same
command goes on where it was stopped. Tables and figures are drawn from that file.";

/// Compare policies made from the fine-tuned one: golden reward over the KL from it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
}

/// Runs the cases that have no results yet, and draws what there is.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let cases = match args.options.quick {
        true => quick(),
        false => all(),
    };
    let (runs, out) = args.options.folders("policy")?;
    fs::create_dir_all(&out).map_err(Error::io(&out))?;
    let path = out.join("results.jsonl");
    let mut results = Results::read(&path)?;
    let open: Vec<&Case> = cases.iter().filter(|case| !results.has(case)).collect();
    let left = args.options.run(CONFIG, &runs, &open, |case, run_dir| {
        let summary = Summary::read(&run_dir.join("eval").join("summary.json"))?;
        results.add(&path, found::rows(case, &summary, run_dir)?)
    })?;
    let (done, of) = (cases.len() - left, cases.len());
    write(
        &out.join("README.md"),
        &tables::markdown(&results, done, of),
    )?;
    write(&out.join("gain.svg"), &plot::gain(&results))?;
    write(&out.join("proxy.svg"), &plot::proxy(&results))?;
    tell(&out, left, of);
    Ok(())
}
