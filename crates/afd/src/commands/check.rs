//! `afd check`: what a configuration resolves to, or everything that is wrong with it.

use super::{load_config, print};
use crate::{args::ConfigArgs, error::Error};

pub(crate) fn run(args: &ConfigArgs) -> Result<(), Error> {
    let config = load_config(args)?;
    afd_backend::Placement::open(&config.device, config.precision)?;
    print(&config.resolved)
}
