//! `cargo xtask study reward`: which two distributions, objective and architecture make a good reward?

mod cases;
mod plot;
mod results;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::DeviceArgs;
use crate::error::Error;
use crate::summary::Summary;
use crate::{product, run_dir, shell};

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
    /// One seed, two dials and little data: whether it works, not what it finds
    #[arg(long)]
    quick: bool,
    /// Run no more than this many cases
    #[arg(long, value_name = "COUNT")]
    most: Option<usize>,
    /// Run the binary that the tests build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
    /// Folder of the results [default: docs/studies/reward, or for `--quick` that of the runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of the runs [default: runs/study/reward, or for `--quick` a fresh one]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the cases that have no results yet, and draws what there is.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let (cases, name) = match args.quick {
        true => (quick(), "reward-quick"),
        false => (all(), "reward"),
    };
    let runs = match (&args.runs, args.quick) {
        (Some(runs), _) => runs.clone(),
        (None, true) => run_dir::fresh(name)?,
        (None, false) => Path::new("runs/study").join(name),
    };
    let out = args.out.clone().unwrap_or_else(|| match args.quick {
        true => runs.clone(),
        false => PathBuf::from("docs/studies/reward"),
    });
    fs::create_dir_all(&out).map_err(Error::io(&out))?;
    let path = out.join("results.jsonl");
    let mut results = Results::read(&path)?;
    let left: Vec<&Case> = cases.iter().filter(|case| !results.has(case)).collect();
    let count = args.most.unwrap_or(usize::MAX).min(left.len());
    if count > 0 {
        let afd = product::build_for_check(args.dev, &args.device.backends()?)?;
        let device = args.device.named().unwrap_or_else(|| "flex".to_owned());
        for (number, case) in left.iter().take(count).enumerate() {
            let run_dir = runs.join(case.folder());
            println!("\n[{}/{count}] {case}: {}", number + 1, run_dir.display());
            let mut command = afd.pipeline(CONFIG, &device, &run_dir)?;
            for assignment in case.assignments() {
                command.arg("--set").arg(assignment);
            }
            shell::run(&mut command)?;
            let summary = Summary::read(&run_dir.join("eval").join("summary.json"))?;
            results.add(&path, rows(case, &summary)?)?;
        }
    }
    let open = left.len() - count;
    draw(&out, &results, cases.len() - open, cases.len())?;
    println!("\nwritten: {}", out.join("README.md").display());
    if open > 0 {
        println!(
            "{open} of {} cases are left; repeat the command",
            cases.len()
        );
    }
    Ok(())
}

fn draw(out: &Path, results: &Results, done: usize, of: usize) -> Result<(), Error> {
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).map_err(Error::io(&path))
    };
    write("README.md", &tables::markdown(results, done, of))?;
    write("gain.svg", &plot::gain(results))?;
    write("auc.svg", &plot::auc(results))
}
