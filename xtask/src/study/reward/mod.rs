//! `cargo xtask study reward`: which two distributions, objective and architecture make a good reward?

mod cases;
mod plot;
mod results;
mod tables;

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::summary::Summary;

use super::known::{Options, tell};
use super::write;
use cases::{Case, all, quick};
use results::{Results, rows};

const CONFIG: &str = "configs/study-reward.toml";

const EXAMPLES: &str = "\
Examples:
  cargo xtask study reward
  cargo xtask study reward --most 10
  cargo xtask study reward --quick
Results are added to OUT/results.jsonl as each run ends; what is there is not run again, so the same
command goes on where it was stopped. Tables and figures are drawn from that file.";

/// Compare reward models: every pair source over the heterogeneity dial, and variants one by one
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
    let (runs, out) = args.options.folders("reward")?;
    fs::create_dir_all(&out).map_err(Error::io(&out))?;
    let path = out.join("results.jsonl");
    let mut results = Results::read(&path)?;
    let open: Vec<&Case> = cases.iter().filter(|case| !results.has(case)).collect();
    let left = args.options.run(CONFIG, &runs, &open, |case, run_dir| {
        let summary = Summary::read(&run_dir.join("eval").join("summary.json"))?;
        results.add(&path, rows(case, &summary)?)
    })?;
    draw(&out, &results, cases.len() - left, cases.len())?;
    tell(&out, left, cases.len());
    Ok(())
}

fn draw(out: &Path, results: &Results, done: usize, of: usize) -> Result<(), Error> {
    write(&out.join("README.md"), &tables::markdown(results, done, of))?;
    write(&out.join("gain.svg"), &plot::gain(results))?;
    write(&out.join("auc.svg"), &plot::auc(results))
}
