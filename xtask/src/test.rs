//! `cargo xtask test`: the tests of the workspace, on any device.

use std::fs;

use crate::device::{self, DeviceArgs};
use crate::environment::{Environment, tuned};
use crate::error::Error;
use crate::shell;

const EXAMPLES: &str = "\
Examples:
  cargo xtask test
  cargo xtask test -p afd-stage
  cargo xtask test --device libtorch         after `cargo xtask setup libtorch`
  cargo xtask test --device vulkan --test conformance
AFD_DEVICE serves in place of --device.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// Arguments for `cargo test` (`--workspace` unless there is a `-p`)
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) args: Vec<String>,
}

/// Runs the tests.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if device::option(&args.args, "--device").is_some() {
        return Err(Error::Order);
    }
    let backends = args.device.backends()?;
    let mut command = shell::cargo(&["test"]);
    if let Some(device) = args.device.named() {
        command.env("AFD_DEVICE", device);
    }
    let packages = packages(&args.args);
    if packages.is_empty() && !args.args.iter().any(|arg| arg == "--workspace") {
        command.arg("--workspace");
    }
    // Cargo refuses features of a crate that none of the packages has.
    if packages.is_empty() || packages.iter().any(|package| has_device(package)) {
        command.args(backends.of_workspace(tuned(&backends)));
    }
    command.args(&args.args);
    Environment::of(&backends)?.apply(&mut command)?;
    shell::run(&mut command)
}

/// The packages that cargo's own arguments name.
fn packages(args: &[String]) -> Vec<&str> {
    let mut args = args.iter().take_while(|arg| *arg != "--");
    let mut packages = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "-p" || arg == "--package" {
            packages.extend(args.next().map(String::as_str));
        } else if let Some(name) = arg.strip_prefix("--package=") {
            packages.push(name);
        } else if let Some(name) = arg.strip_prefix("-p") {
            packages.push(name);
        }
    }
    packages
}

/// Whether the package is `afd-backend` or depends on it, by its manifest.
fn has_device(package: &str) -> bool {
    let folder = match package {
        "afd-tests" => shell::root().join("tests"),
        "xtask" => return false,
        name => shell::root().join("crates").join(name),
    };
    // Without a manifest cargo knows better what is wrong.
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    package == "afd-backend" || manifest.contains("\nafd-backend")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_package_of_cargos_takes_the_place_of_the_workspace() {
        let args = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        assert_eq!(packages(&args("--lib -p a -pb")), ["a", "b"]);
        assert_eq!(packages(&args("--package=a --package b")), ["a", "b"]);
        assert!(packages(&args("--lib -- -p a")).is_empty());
    }

    #[test]
    fn features_go_to_the_crates_that_have_a_device() {
        for package in ["afd", "afd-backend", "afd-model", "afd-train", "afd-tests"] {
            assert!(has_device(package), "{package}");
        }
        for package in ["afd-stage", "afd-data", "xtask", "no-such-package"] {
            assert!(!has_device(package), "{package}");
        }
    }
}
