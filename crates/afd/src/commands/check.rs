//! `afd check`: what a configuration resolves to, or everything that is wrong with it.

use super::{load_config, print};
use crate::{args::ConfigArgs, error::Error, models};

pub(crate) fn run(args: &ConfigArgs) -> Result<(), Error> {
    let config = load_config(args)?;
    afd_backend::Placement::open(&config.device, config.precision)?;
    let outlook = models::outlook(&config)?.into_iter();
    let comments: String = outlook.map(|line| format!("# {line}\n")).collect();
    print(&format!("{comments}{}", config.resolved))
}
