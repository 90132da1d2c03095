//! Project automation: `cargo xtask TASK`. It drives cargo and the `afd` binary from outside and
//! depends on no crate of this workspace, so that it compiles in seconds.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod assets;
mod ci;
mod error;
mod product;
mod quickstart;
mod shell;
mod study;
mod summary;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  cargo xtask pipeline                       the quickstart, from demonstrations to a report
  cargo xtask pipeline --config FILE         the same with your own configuration
  cargo xtask test -p afd-data               tests, arguments as for `cargo test`
  cargo xtask ci                             everything expected before a pull request
  cargo xtask study --config FILE --seeds 0,1,2
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
    /// Run every check, cheapest first; stop at the first failure
    Ci,
    /// Run the quickstart from scratch and check its results (the last step of `ci`)
    Quickstart,
    /// Run the pipeline for several seeds and tabulate the results
    Study(study::Args),
    /// Train the shipped base checkpoint again and refresh the table of hashes
    Assets(assets::Args),
    /// Run the tests of the workspace
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -p afd-stage\n  \
                            AFD_DEVICE=flex cargo xtask test -p afd-model -- attention"
    )]
    Test {
        /// Arguments for `cargo test` (`--workspace` unless there is a `-p`)
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Pipeline(args) => product::pipeline(&args),
        Task::Stage(args) => product::stage(&args),
        Task::Ci => return ci::run(),
        Task::Quickstart => quickstart::run(),
        Task::Study(args) => study::run(&args),
        Task::Assets(args) => assets::run(&args),
        Task::Test { args } => test(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn test(args: &[String]) -> Result<(), Error> {
    let one_package = args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let mut command = shell::cargo(&["test"]);
    if !one_package {
        command.arg("--workspace");
    }
    shell::run(command.args(args))
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
    fn a_stage_needs_a_name() {
        assert!(Cli::try_parse_from(["xtask", "stage"]).is_err());
    }
}
