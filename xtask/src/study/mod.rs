//! `cargo xtask study`: one configuration, several seeds, and a sweep over one key.

mod chart;
mod known;
mod lines;
mod plan;
mod policy;
mod results;
mod reward;
mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::DeviceArgs;
use crate::error::Error;
use crate::summary::Summary;
use crate::{product, shell};

use plan::{Plan, Sweep};
use results::{Seed, Study};

const EXAMPLES: &str = "\
Examples:
  cargo xtask study --config configs/quickstart.toml
  cargo xtask study --config configs/quickstart.toml --seeds 0,1,2 --set world.rows=1000
  cargo xtask study --config configs/quickstart.toml --sweep world.quality=0,0.5,1
  cargo xtask study reward
  cargo xtask study policy
Runs stand in OUT/seed-K or OUT/KEY=VALUE/seed-K, the results in OUT/study.md and OUT/study.json.
Finished stages are skipped, so an interrupted study is continued by the same command.";

#[derive(clap::Subcommand)]
enum Known {
    Reward(reward::Args),
    Policy(policy::Args),
}

#[derive(clap::Args)]
#[command(
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    known: Option<Known>,
    /// Configuration file
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Seeds to run
    #[arg(
        long,
        value_name = "K,K,…",
        value_delimiter = ',',
        default_value = "0,1,2,3,4"
    )]
    seeds: Vec<u64>,
    /// Override one value of the configuration in every run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run every seed with each of these values
    #[arg(long, value_name = "KEY=VALUE,VALUE,…", value_parser = plan::parse_sweep)]
    sweep: Option<Sweep>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Folder of the study [default: runs/study/CONFIG, or runs/study/CONFIG-KEY for a sweep]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs what is not finished yet, one run after the other, and writes the tables.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    match &args.known {
        Some(Known::Reward(args)) => return reward::run(args),
        Some(Known::Policy(args)) => return policy::run(args),
        None => {}
    }
    let plan = Plan::new(&args.seeds, args.sweep.as_ref())?;
    let out = args.out_dir();
    let afd = product::build(&args.device.backends_for(args.config.as_deref())?)?;
    let count = plan.cases.len() * plan.seeds.len();
    let mut done = 0;
    let mut cases = Vec::new();
    for case in plan.cases {
        let mut seeds = Vec::new();
        for &seed in &plan.seeds {
            done += 1;
            let run_dir = out.join(&case.folder).join(format!("seed-{seed}"));
            println!("\n[{done}/{count}] {}", run_dir.display());
            let assignment = case.assignment.as_deref();
            shell::run(&mut args.pipeline(afd.command()?, &run_dir, assignment, seed))?;
            let summary = Summary::read(&run_dir.join("eval").join("summary.json"))?;
            seeds.push(Seed { seed, summary });
        }
        cases.push((case.assignment, seeds));
    }
    let config = args.config().file_name().unwrap_or_default();
    let study = Study::new(&config.to_string_lossy(), &args.set, cases)?;
    write(&out.join("study.json"), &study.json())?;
    let tables = study.markdown();
    write(&out.join("study.md"), &tables)?;
    println!("\n{tables}\nwritten: {}", out.join("study.md").display());
    Ok(())
}

impl Args {
    /// Empty where another study is asked for.
    fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(""))
    }

    fn out_dir(&self) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        let config = self.config().file_stem().unwrap_or_default();
        let mut name = config.to_string_lossy().into_owned();
        if let Some(sweep) = &self.sweep {
            name = format!("{name}-{}", sweep.key);
        }
        Path::new("runs").join("study").join(name)
    }

    fn pipeline(
        &self,
        mut command: Command,
        run_dir: &Path,
        assignment: Option<&str>,
        seed: u64,
    ) -> Command {
        command.arg("pipeline").arg("--config").arg(self.config());
        if let Some(device) = &self.device.device {
            command.arg("--device").arg(device);
        }
        command.arg("--run-dir").arg(run_dir);
        let common = self.set.iter().map(String::as_str);
        for value in common.chain(assignment) {
            command.arg("--set").arg(value);
        }
        command.arg("--set").arg(format!("seed={seed}"));
        command
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(sweep: Option<&str>) -> Args {
        Args {
            known: None,
            config: Some("configs/quickstart.toml".into()),
            seeds: vec![0, 1],
            set: vec!["world.rows=10".into()],
            sweep: sweep.map(|text| plan::parse_sweep(text).unwrap()),
            device: DeviceArgs {
                device: Some("flex".into()),
                features: Vec::new(),
            },
            out: None,
        }
    }

    #[test]
    fn a_run_gets_the_overrides_the_swept_value_and_its_seed() {
        let run_dir = Path::new("out/seed-3");
        let command =
            args(None).pipeline(Command::new("afd"), run_dir, Some("world.quality=0.5"), 3);
        assert_eq!(
            shell::line(&command),
            "afd pipeline --config configs/quickstart.toml --device flex --run-dir out/seed-3 \
             --set world.rows=10 --set world.quality=0.5 --set seed=3"
        );
    }

    #[test]
    fn two_sweeps_of_one_configuration_keep_apart() {
        let plain = args(None).out_dir();
        let sweep = args(Some("world.quality=0,1")).out_dir();
        assert_eq!(plain, Path::new("runs/study/quickstart"));
        assert_eq!(sweep, Path::new("runs/study/quickstart-world.quality"));
    }
}
