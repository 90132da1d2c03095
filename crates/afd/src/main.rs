//! The `afd` command: configuration and device in, stages in order.
//!
//! Start with `pipeline.rs`, which is the method on a page.

mod args;
mod commands;
mod config;
mod error;
mod observer;
mod pipeline;
mod rows;
mod stages;
mod steps;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use error::Error;

/// Sampling with the quickstart's model takes 0.95 × the time it takes with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_env("AFD_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse().command) {
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
        Command::Pipeline(args) => commands::pipeline::run(&args, None),
        Command::Stage { name, args } => commands::pipeline::run(&args, Some(&name)),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Logprobs(args) => commands::logprobs::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Report { run_dir } => commands::report::run(&run_dir),
        Command::Doctor => commands::doctor::run(),
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
