//! One file per command.

pub(crate) mod base_model;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod costs;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod generate;
mod json_rows;
pub(crate) mod logprobs;
pub(crate) mod pairs;
pub(crate) mod pipeline;
pub(crate) mod report;
pub(crate) mod reward;
pub(crate) mod score;
pub(crate) mod theory;
pub(crate) mod watch;

use std::{
    env,
    io::{Write, stdout},
};

use crate::{
    args::{ConfigArgs, SamplingArgs},
    config::{Config, Overrides},
    error::Error,
};

/// The configuration a command was given: file, environment, flags.
fn load_config(args: &ConfigArgs) -> Result<Config, Error> {
    let mut set = args.set.clone();
    if let Some(device) = &args.device {
        set.push(format!("device={device:?}"));
    }
    Ok(Config::load(
        &args.config,
        &Overrides::new(environment(), &set)?,
    )?)
}

/// The environment; unlike `env::vars` it survives a variable that is not Unicode.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().map(|(name, value)| {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        (text(name), text(value))
    })
}

/// Writes a command's result to standard output.
fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

/// [`print()`] for what is text already encoded. Whoever stopped reading has enough.
fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Io {
            action: "write",
            path: "standard output".into(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Sampling flags as a sampling configuration.
fn sampling(args: &SamplingArgs, batch_size: usize) -> afd_policy::SampleConfig {
    afd_policy::SampleConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        max_completion_length: args.max_new_tokens,
        stop_strings: args.stop.clone(),
        generation_batch_size: batch_size,
    }
}
