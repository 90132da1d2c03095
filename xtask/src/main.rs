//! Project automation: `cargo xtask TASK`. It drives cargo and the `afd` binary from outside and
//! depends on no crate of this workspace, so that it compiles in seconds.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod agreement;
mod assets;
mod backend;
mod bench;
mod browser;
mod ci;
mod device;
mod environment;
mod error;
mod parity;
mod product;
mod quickstart;
mod run_dir;
mod setup;
mod shell;
mod study;
mod summary;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  cargo xtask pipeline                       the quickstart, from demonstrations to a report
  cargo xtask pipeline --config FILE         the same with your own configuration
  cargo xtask setup libtorch                 once, for the devices that need it
  cargo xtask pipeline --device libtorch     the quickstart there
  cargo xtask doctor                         what this machine can do
  cargo xtask test -p afd-data               tests, arguments as for `cargo test`
  cargo xtask ci                             everything expected before a pull request
  cargo xtask bench --quick                  our speed against that of transformers and PyTorch
  cargo xtask study --config FILE --seeds 0,1,2
  cargo xtask browser REPORT.html            a report, used and looked at in headless Chromium
`cargo xtask TASK --help` has more of them.";

/// Builds, runs and checks afd: alignment from demonstrations.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build `afd` in release mode and run the whole pipeline
    Pipeline(product::PipelineArgs),
    /// Build `afd` in release mode and run one stage
    Stage(product::StageArgs),
    /// Find or fetch what a device needs
    #[command(subcommand)]
    Setup(setup::Setup),
    /// Build `afd` with every backend that is set up, and try every device
    Doctor(product::DoctorArgs),
    /// Print the variables that `cargo xtask` sets, to run `afd` by hand
    Env(environment::Args),
    /// Run every check, cheapest first; stop at the first failure
    Ci,
    /// Run the quickstart from scratch and check its results (a step of `ci`)
    Quickstart(quickstart::Args),
    /// Run a short pipeline on several devices and compare the results with Flex's (a step of `ci`)
    Agreement(agreement::Args),
    /// Open a report in headless Chromium, use all of it, and attack it (a step of `ci`)
    Browser(browser::Args),
    /// Compare models, files and losses with transformers, PEFT and TRL, both ways
    Parity(parity::Args),
    /// Compare speed and memory with transformers, PyTorch and TRL on this machine
    Bench(bench::Args),
    /// Run the pipeline for several seeds and tabulate the results
    Study(study::Args),
    /// Train the shipped base checkpoint again and refresh the table of hashes
    Assets(assets::Args),
    /// Run the tests of the workspace
    Test(test::Args),
}

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        error.exit_code()
    })
}

fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.task {
        Task::Pipeline(args) => product::pipeline(&args),
        Task::Stage(args) => product::stage(&args),
        Task::Setup(what) => setup::run(&what),
        Task::Doctor(args) => product::doctor(&args),
        Task::Env(args) => environment::print(&args),
        Task::Ci => return Ok(ci::run()),
        Task::Quickstart(args) => quickstart::run(&args),
        Task::Agreement(args) => agreement::run(&args),
        Task::Browser(args) => browser::run(&args),
        Task::Parity(args) => parity::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Study(args) => study::run(&args),
        Task::Assets(args) => assets::run(&args),
        Task::Test(args) => test::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_stage_keeps_every_argument_after_its_name() {
        let cli = Cli::try_parse_from(["xtask", "stage", "sft", "--force", "--help"]).unwrap();
        let Task::Stage(stage) = cli.task else {
            panic!("not the stage task")
        };
        assert_eq!(stage.args, ["sft", "--force", "--help"]);
    }

    #[test]
    fn a_test_on_a_device_keeps_the_arguments_of_cargo() {
        let line = [
            "xtask",
            "test",
            "--device",
            "vulkan",
            "-p",
            "afd-model",
            "--",
            "--nocapture",
        ];
        let Task::Test(test) = Cli::try_parse_from(line).unwrap().task else {
            panic!("not the test task")
        };
        assert_eq!(test.args, ["-p", "afd-model", "--", "--nocapture"]);
    }

    #[test]
    fn a_stage_needs_a_name() {
        assert!(Cli::try_parse_from(["xtask", "stage"]).is_err());
    }
}
