//! `cargo xtask parity`: our models, token ids, scores, files and losses against those of Hugging Face's libraries.
//!
//! `xtask/parity/parity.py` has transformers, PEFT and TRL make and judge files; in between the
//! tests of the workspace, which otherwise compare with files kept in the sources, run on those.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::DeviceArgs;
use crate::environment::{Environment, tuned};
use crate::error::Error;
use crate::{run_dir, setup, shell};

/// What the comparison is made with.
const PACKAGES: [&str; 6] = [
    "torch==2.9.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "trl==1.16.0",
    "numpy",
    "jinja2",
];

/// The tests that look at what Python made, and that write what it is to look at.
const TESTS: [&str; 8] = [
    "token_ids_are_those_of_transformers",
    "scores_of_a_reward_model_are_those_of_transformers",
    "every_family_computes_what_transformers_does",
    "adapters_compute_what_peft_does",
    "losses_and_gradients_are_those_of_peft",
    "fused_layers_are_one_adapter",
    "costs_what_it_does_in_trl",
    "what_is_written_for_others",
];

/// What is to be among the comparisons.
const EXPECTED: [&str; 12] = [
    "token ids",
    "decoded texts",
    "scores of a reward model, whole texts",
    "scores of a reward model, cut texts",
    "greedy tokens",
    "padded log-probs",
    "adapter: gradients",
    "fused adapter",
    "in TRL: gradients",
    "our files in transformers",
    "our files in PEFT",
    "chat templates",
];

const SCRIPT: &str = "xtask/parity/parity.py";

const EXAMPLES: &str = "\
The first time, a virtual environment with torch, transformers, PEFT and TRL is made from PyPI, some
gigabytes. Every family of models is drawn at random, and compared both ways; so are tokenizers of
every kind, and texts for them, and reward models on such texts.

Examples:
  cargo xtask parity
  cargo xtask parity --device libtorch --storage bfloat16
  cargo xtask parity --seed 7 --python /opt/venv/bin/python";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// What the random weights are drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What the checkpoints' weights are stored in
    #[arg(long, default_value = "float32", value_parser = ["float32", "bfloat16", "float16"])]
    storage: String,
    /// A Python that has the packages, in place of an environment of its own
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Makes, compares, prints the table.
///
/// # Errors
/// [`Error::Parity`] when anything differs by more than its bound.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let python = match &args.python {
        Some(python) => python.clone(),
        None => setup::python("parity", &PACKAGES)?,
    };
    let folder = run_dir::fresh("parity")?;
    let script = |task: &str| {
        let mut command = Command::new(&python);
        command.current_dir(shell::root());
        command
            .arg("-W")
            .arg("ignore")
            .arg(SCRIPT)
            .arg(task)
            .arg(&folder);
        command.arg("--seed").arg(args.seed.to_string());
        command.args(["--dtype", &args.storage]);
        command
    };
    shell::run(&mut script("make"))?;

    let backends = args.device.backends()?;
    let mut tests = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.args(backends.of_workspace(tuned(&backends)));
    tests.args(["--lib", "--test", "training", "--"]);
    tests.args(TESTS).env("AFD_PARITY", &folder);
    if let Some(device) = args.device.named() {
        tests.env("AFD_DEVICE", device);
    }
    Environment::of(&backends)?.apply(&mut tests)?;
    // A difference is told by the table; what failed otherwise, by the error that follows it.
    let tested = shell::run(&mut tests);
    let checked = match &tested {
        Ok(()) => shell::run(&mut script("check")),
        Err(_) => Ok(()),
    };

    let path = folder.join("results.tsv");
    if let (false, Err(_)) = (path.exists(), &tested) {
        // Nothing was compared, and the tests said why.
        return tested;
    }
    let results = read(&path)?;
    println!("\n{}", table(&results));
    let missed: Vec<String> = results
        .iter()
        .filter(|result| !result.fits())
        .map(|result| result.what.clone())
        .collect();
    // A test that was renamed runs no more, and says nothing.
    let absent = |kind: &&&str| !results.iter().any(|result| result.what.contains(**kind));
    if let (true, Some(kind)) = (tested.is_ok(), EXPECTED.iter().find(absent)) {
        let missed = vec![format!("{kind}: nothing of this kind was compared")];
        return Err(Error::Parity { missed });
    }
    match missed.is_empty() {
        true => tested.and(checked),
        false => Err(Error::Parity { missed }),
    }
}

/// A comparison: the largest difference of any that have its name.
#[derive(Debug, PartialEq)]
struct Compared {
    what: String,
    difference: f64,
    bound: f64,
}

impl Compared {
    /// Written so that a difference that is no number does not.
    fn fits(&self) -> bool {
        self.difference <= self.bound
    }
}

fn read(path: &Path) -> Result<Vec<Compared>, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    Ok(gather(text.lines().filter_map(parse)))
}

fn parse(line: &str) -> Option<Compared> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    Some(Compared {
        what: next()?.to_owned(),
        difference: next()?.parse().ok()?,
        bound: next()?.parse().ok()?,
    })
}

/// The worst of each name, sorted.
fn gather(all: impl Iterator<Item = Compared>) -> Vec<Compared> {
    let mut worst: Vec<Compared> = Vec::new();
    for compared in all {
        match worst.iter_mut().find(|known| known.what == compared.what) {
            Some(known) => {
                let worse = compared.difference.is_nan() || compared.difference > known.difference;
                if worse {
                    *known = compared;
                }
            }
            None => worst.push(compared),
        }
    }
    worst.sort_by(|a, b| a.what.cmp(&b.what));
    worst
}

fn table(results: &[Compared]) -> String {
    let width = results.iter().map(|r| r.what.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}  largest difference  allowed\n", "compared");
    for result in results {
        let verdict = if result.fits() { "" } else { "  MISSED" };
        text += &format!(
            "{:width$}  {:>18.1e}  {:>7.0e}{verdict}\n",
            result.what, result.difference, result.bound
        );
    }
    text + &format!("{} comparisons", results.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_name_counts_and_what_is_no_number_is_a_miss() {
        let lines = "a\t1e-5\t1e-4\na\t2e-5\t1e-4\nb\tNaN\t1e-4\nb\t0e0\t1e-4\n";
        let results = gather(lines.lines().filter_map(parse));
        assert_eq!(results.len(), 2);
        assert_eq!((results[0].difference, results[0].fits()), (2e-5, true));
        assert!(!results[1].fits());
        assert!(table(&results).contains("MISSED"));
    }
}
