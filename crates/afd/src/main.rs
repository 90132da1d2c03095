//! The `afd` command: configuration and device in, stages in order.
//!
//! Start with `pipeline.rs`, which is the method on a page.

mod answers;
mod args;
mod card;
mod commands;
mod config;
mod costs;
mod error;
mod evaluation;
mod faults;
#[cfg(target_os = "linux")]
mod huge_pages;
mod memory;
mod models;
mod observer;
mod pipeline;
mod policies;
mod rows;
mod speed;
mod stages;
mod steps;

use std::process::ExitCode;

use afd_backend::host::join_rayon;
use args::{Cli, Command};
use clap::Parser;
use error::Error;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

/// What to lower in a command that is no stage.
const LOWER: &str =
    "lower --batch-size where the command has it, or take a smaller model or a larger device";

fn main() -> ExitCode {
    memory::keep();
    // Graphics drivers complain about what they then do without.
    let usual = || EnvFilter::new("error,wgpu_hal=off");
    let filter = EnvFilter::try_from_env("AFD_LOG").unwrap_or_else(|_| usual());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let command = Cli::parse().command;
    // Processes that measure are started by one that does not, and would inherit it.
    #[cfg(target_os = "linux")]
    if !matches!(&command, Command::Bench(args) if args.one.is_none()) {
        huge_pages::after(huge_pages::BEGINNING);
    }
    if let Err(source) = join_rayon() {
        report(&Error::Threads { source });
        return ExitCode::FAILURE;
    }
    faults::keep();
    memory::set_last_word(format!("this command ran out of memory: {LOWER}"));
    let ended = faults::watch(|| run(command))
        .unwrap_or_else(|fault| Err(fault.error("this command".to_owned(), LOWER.to_owned())));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            report(&error);
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Pipeline(args) => commands::pipeline::run(&args, None, None),
        Command::Stage { name, shard, args } => commands::pipeline::run(&args, Some(&name), shard),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Logprobs(args) => commands::logprobs::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Pairs(args) => commands::pairs::run(&args),
        Command::Reward(args) => commands::reward::run(&args),
        Command::Theory { picture } => commands::theory::run(picture.as_deref()),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Report { run_dirs } => commands::report::run(&run_dirs),
        Command::Schema => commands::report::schema(),
        Command::Costs { run_dir } => commands::costs::run(&run_dir),
        Command::Watch { run_dir } => commands::watch::run(&run_dir),
        Command::Export(args) => commands::export::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::BaseModel {
            config,
            output,
            run_dir,
        } => commands::base_model::run(&config, &output, &run_dir),
    }
}

/// The error and what caused it, one line each; a cause that says nothing new is left out.
#[allow(clippy::print_stderr, reason = "this is where errors meet people")]
fn report(error: &Error) {
    let mut last = error.to_string();
    eprintln!("error: {last}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !last.contains(&text) {
            eprintln!("  because {text}");
            last = text;
        }
        source = cause.source();
    }
}
