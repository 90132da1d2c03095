//! The `afd` binary: building it and handing over to it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backend::{Backend, Backends};
use crate::device::{self, DeviceArgs};
use crate::environment::{self, Environment, tuned};
use crate::error::Error;
use crate::shell;

const PIPELINE_EXAMPLES: &str = "\
Examples:
  cargo xtask pipeline
  cargo xtask pipeline --config configs/quickstart.toml --run-dir runs/first
  cargo xtask pipeline --set sft.learning_rate=1e-4 --until sft
  cargo xtask pipeline --force eval
  cargo xtask pipeline --device libtorch     after `cargo xtask setup libtorch`
Finished stages are skipped, so an interrupted run is continued by the same command.";

const STAGE_EXAMPLES: &str = "\
Examples:
  cargo xtask stage sft
  cargo xtask stage eval --run-dir runs/first
  cargo xtask stage sft --device vulkan
  cargo xtask stage sft --help               the options of `afd stage`";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  cargo xtask doctor                         with every backend that is set up
  cargo xtask doctor --features libtorch";

/// Options of `afd pipeline`, passed on as they are.
#[derive(clap::Args)]
#[command(after_help = PIPELINE_EXAMPLES)]
pub(crate) struct PipelineArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Folder of the run's artefacts
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Override one value of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run this stage and all after it anew
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Last stage to run
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Run this stage although it is finished; may be repeated
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Further options for `afd pipeline`
    #[arg(last = true, value_name = "OPTIONS")]
    more: Vec<String>,
}

/// A stage's name and its options, passed on as they are.
#[derive(clap::Args)]
#[command(after_help = STAGE_EXAMPLES)]
pub(crate) struct StageArgs {
    /// Name of the stage, then the options of `afd stage`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "NAME"
    )]
    pub(crate) args: Vec<String>,
}

#[derive(clap::Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Backends to build in, instead of those that are set up
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    features: Vec<Backend>,
}

/// `cargo xtask pipeline`.
pub(crate) fn pipeline(args: &PipelineArgs) -> Result<(), Error> {
    let backends = args.device.backends_for(args.config.as_deref())?;
    let mut command = build(&backends)?.command()?;
    args.pass_on(command.arg("pipeline"));
    become_process(command)
}

/// `cargo xtask stage`.
pub(crate) fn stage(args: &StageArgs) -> Result<(), Error> {
    let device = DeviceArgs {
        device: device::option(&args.args, "--device").map(str::to_owned),
        features: Vec::new(),
    };
    let config = device::option(&args.args, "--config").map(Path::new);
    let mut command = build(&device.backends_for(config)?)?.command()?;
    command.arg("stage").args(&args.args);
    become_process(command)
}

/// `cargo xtask doctor`.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Error> {
    let backends = if args.features.is_empty() {
        environment::set_up()?
    } else {
        args.features.iter().copied().collect()
    };
    let mut command = build(&backends)?.command()?;
    command.arg("doctor");
    become_process(command)
}

/// A built `afd` and what it needs around it.
#[derive(Debug)]
pub(crate) struct Afd {
    path: PathBuf,
    environment: Environment,
}

impl Afd {
    /// `afd`, to be given its arguments.
    pub(crate) fn command(&self) -> Result<Command, Error> {
        let mut command = Command::new(&self.path);
        self.environment.apply(&mut command)?;
        Ok(command)
    }

    /// The same in a file of its own, called after `name`, which the next build leaves alone.
    pub(crate) fn set_aside(self, name: &str) -> Result<Afd, Error> {
        let file = format!("afd-{name}{}", std::env::consts::EXE_SUFFIX);
        let path = self.path.with_file_name(file);
        // A program that runs cannot be written to, only replaced.
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(Error::io(&path)(source));
            }
            _ => {}
        }
        fs::copy(&self.path, &path).map_err(Error::io(&path))?;
        Ok(Afd { path, ..self })
    }

    /// `afd pipeline` for a check: a configuration of the repository, on a device, into a folder.
    pub(crate) fn pipeline(
        &self,
        config: &str,
        device: &str,
        run_dir: &Path,
    ) -> Result<Command, Error> {
        let mut command = self.command()?;
        command
            .current_dir(shell::root())
            .args(["pipeline", "--config", config, "--device", device])
            .arg("--run-dir")
            .arg(run_dir);
        Ok(command)
    }
}

/// Builds `afd` for a check: in release mode, or with `dev` as the tests do.
pub(crate) fn build_for_check(dev: bool, backends: &Backends) -> Result<Afd, Error> {
    match dev {
        true => build_for_tests(backends),
        false => build(backends),
    }
}

/// Builds `afd` in release mode, with cargo's progress on the terminal.
pub(crate) fn build(backends: &Backends) -> Result<Afd, Error> {
    let environment = Environment::of(backends)?;
    let mut cargo = shell::cargo(&["build", "--release", "-p", "afd"]);
    environment.apply(cargo.args(backends.of_afd(tuned(backends))))?;
    shell::run(&mut cargo)?;
    Ok(Afd {
        path: path("release")?,
        environment,
    })
}

/// Builds `afd` as the tests of the workspace do, which have compiled everything it needs.
fn build_for_tests(backends: &Backends) -> Result<Afd, Error> {
    let environment = Environment::of(backends)?;
    let mut cargo = shell::cargo(&["test", "--workspace", "--no-run"]);
    environment.apply(cargo.args(backends.of_workspace(tuned(backends))))?;
    shell::run(&mut cargo)?;
    Ok(Afd {
        path: path("debug")?,
        environment,
    })
}

/// Where cargo puts the binary of a profile's folder.
pub(crate) fn path(profile: &str) -> Result<PathBuf, Error> {
    let binary = format!("afd{}", std::env::consts::EXE_SUFFIX);
    Ok(target_directory()?.join(profile).join(binary))
}

/// Cargo's target directory; cargo itself answers, so every way to configure it counts.
pub(crate) fn target_directory() -> Result<PathBuf, Error> {
    let mut command = shell::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_slice(&shell::capture(&mut command)?)
        .map_err(|source| Error::Json {
            path: "cargo metadata".into(),
            source,
        })?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or(Error::NoTargetDirectory)
}

impl PipelineArgs {
    fn pass_on(&self, command: &mut Command) {
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(device) = &self.device.device {
            command.arg("--device").arg(device);
        }
        if let Some(run_dir) = &self.run_dir {
            command.arg("--run-dir").arg(run_dir);
        }
        for assignment in &self.set {
            command.arg("--set").arg(assignment);
        }
        if let Some(stage) = &self.from {
            command.arg("--from").arg(stage);
        }
        if let Some(stage) = &self.until {
            command.arg("--until").arg(stage);
        }
        for stage in &self.force {
            command.arg("--force").arg(stage);
        }
        command.args(&self.more);
    }
}

/// Lets the command take over this process: signals reach it directly, and its exit code is ours.
#[cfg(unix)]
fn become_process(mut command: Command) -> Result<(), Error> {
    use std::os::unix::process::CommandExt;
    let source = command.exec();
    Err(shell::cannot_start(&command)(source))
}

/// Runs the command; its exit code becomes ours through [`Error::exit_code`].
#[cfg(not(unix))]
fn become_process(mut command: Command) -> Result<(), Error> {
    shell::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reaches_the_pipeline() {
        let args = PipelineArgs {
            config: Some("c.toml".into()),
            device: DeviceArgs {
                device: Some("flex".into()),
                features: Vec::new(),
            },
            run_dir: Some("runs/a".into()),
            set: vec!["a=1".into(), "b=2".into()],
            from: Some("sft".into()),
            until: Some("eval".into()),
            force: vec!["data".into(), "eval".into()],
            more: vec!["--verbose".into()],
        };
        let mut command = Command::new("afd");
        args.pass_on(&mut command);
        assert_eq!(
            shell::line(&command),
            "afd --config c.toml --device flex --run-dir runs/a --set a=1 --set b=2 \
             --from sft --until eval --force data --force eval --verbose"
        );
    }

    #[test]
    fn the_target_directory_is_the_one_cargo_uses() {
        let target = target_directory().unwrap();
        let this_test = std::env::current_exe().unwrap();
        assert!(this_test.starts_with(&target), "{target:?} {this_test:?}");
    }
}
