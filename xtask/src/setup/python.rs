//! A virtual environment with Python packages, for what is compared with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, dir, lock, remove};
use crate::error::Error;
use crate::shell;

/// What remembers that the environment is whole, and with which packages.
const DONE: &str = "packages.txt";

/// The interpreter of the environment called `name` with these packages, made if it is not there
/// or has others.
///
/// # Errors
/// When Python is missing or PyPI does not give the packages.
pub(crate) fn python(name: &str, packages: &[&str]) -> Result<PathBuf, Error> {
    let dir = dir()?;
    let _lock = lock(&dir)?;
    let folder = dir.join(name);
    let python = folder.join("bin").join("python3");
    let wanted = packages.join("\n");
    if fs::read_to_string(folder.join(DONE)).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    remove(&folder)?;
    println!(
        "installing {} into {}",
        packages.join(", "),
        folder.display()
    );
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&folder);
    shell::run(&mut venv).map_err(|_| SetupError::NoVenv {
        path: folder.clone(),
    })?;
    shell::run(&mut pip(&python, packages)).map_err(|_| SetupError::Packages {
        packages: packages.join(", "),
    })?;
    let done = folder.join(DONE);
    fs::write(&done, wanted).map_err(Error::io(&done))?;
    Ok(python)
}

fn pip(python: &Path, packages: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--no-cache-dir"]);
    command.arg("--disable-pip-version-check").args(packages);
    command
}
