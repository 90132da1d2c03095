//! `cargo xtask setup`: what a backend needs beyond cargo, found or fetched.
//!
//! Everything it makes stands in one folder, which clones may share: `AFD_SETUP_DIR`, or `.setup`
//! in the root of the repository.

mod error;
pub(crate) mod libtorch;
mod python;
pub(crate) mod swiftshader;
mod venv;
pub(crate) mod vulkan;

use std::env;
use std::fs::{self, File};
use std::path::{self, Path, PathBuf};

use clap::Subcommand;

pub(crate) use self::error::SetupError;
pub(crate) use self::python::python;
use crate::error::Error;
use crate::shell;

/// The variable that moves the folder.
pub(crate) const DIR_VARIABLE: &str = "AFD_SETUP_DIR";

#[derive(Subcommand)]
pub(crate) enum Setup {
    /// Find libtorch (LIBTORCH, Python's torch), or install it into a virtual environment
    Libtorch(libtorch::Args),
    /// Find a Vulkan driver, or fetch SwiftShader, which computes on the CPU
    Vulkan(vulkan::Args),
}

/// `cargo xtask setup`.
pub(crate) fn run(what: &Setup) -> Result<(), Error> {
    let dir = dir()?;
    let _lock = lock(&dir)?;
    match what {
        Setup::Libtorch(args) => libtorch::setup(args, &dir),
        Setup::Vulkan(args) => vulkan::setup(args, &dir),
    }
}

/// The folder that holds what `setup` makes; it need not exist.
pub(crate) fn dir() -> Result<PathBuf, Error> {
    let dir = env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty());
    let dir = dir.map_or_else(|| shell::root().join(".setup"), PathBuf::from);
    path::absolute(&dir).map_err(Error::io(&dir))
}

/// Makes the folder and waits until no other `setup` works in it.
fn lock(dir: &Path) -> Result<File, Error> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let path = dir.join(".lock");
    let file = File::create(&path).map_err(Error::io(&path))?;
    file.lock().map_err(Error::io(&path))?;
    Ok(file)
}

/// Removes a folder and what is in it; none there is fine.
fn remove(dir: &Path) -> Result<(), Error> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(Error::io(dir))?;
    }
    Ok(())
}
