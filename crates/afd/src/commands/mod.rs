//! One file per command.

pub(crate) mod base_model;
pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod generate;
mod json_rows;
pub(crate) mod logprobs;
pub(crate) mod pipeline;
pub(crate) mod report;
pub(crate) mod score;

use std::env;

use crate::{
    args::{ConfigArgs, SamplingArgs},
    config::{Config, Overrides},
    error::Error,
};

/// The configuration a command was given: file, environment, flags.
fn load_config(args: &ConfigArgs) -> Result<Config, Error> {
    let mut set = args.set.clone();
    let device = args.device.clone().or_else(|| env::var("AFD_DEVICE").ok());
    if let Some(device) = device {
        set.push(format!("device={device:?}"));
    }
    Ok(Config::load(
        &args.config,
        &Overrides::new(env::vars(), &set)?,
    )?)
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
