//! Child processes, and the line a person types to repeat one.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::{environment, setup};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the constant serves a binary started by hand.
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let xtask = PathBuf::from(xtask);
    xtask.parent().map_or(xtask.clone(), Path::to_path_buf)
}

/// How the variables begin that cargo sets for the program it runs.
const OF_THIS_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// `cargo ARGS…`, run in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` says of this package. Build scripts look at it (ring's does), and all that
    // stands on them would be built again whenever a person calls cargo without this program.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if OF_THIS_PACKAGE
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name.as_ref());
        }
    }
    command.current_dir(root()).args(args);
    command
}

/// Runs a command with the terminal's input and output; any exit code but 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = command.status().map_err(cannot_start(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: line(command),
        status,
    })
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn capture(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(cannot_start(command))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Command {
        command: line(command),
        status: output.status,
    })
}

/// Turns the failure to start a command into an error that names it.
pub(crate) fn cannot_start(command: &Command) -> impl FnOnce(std::io::Error) -> Error {
    let command = line(command);
    |source| Error::Start { command, source }
}

/// A command as one would type it in the root of the workspace.
pub(crate) fn line(command: &Command) -> String {
    let mut prefix = String::new();
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        let name = name.to_string_lossy();
        // A variable that is taken away is not one to be set.
        let Some(value) = value else {
            continue;
        };
        if environment::VARIABLES.contains(&name.as_ref()) {
            prefix = evaluated_environment();
        } else {
            words.push(format!("{name}={}", quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    words.push(match program.file_stem() {
        Some(stem) if stem == "cargo" => "cargo".to_owned(),
        _ => quoted(program.strip_prefix(root()).unwrap_or(program).as_os_str()),
    });
    words.extend(command.get_args().map(quoted));
    prefix + &words.join(" ")
}

/// What stands before a command that needs the variables of the backends.
pub(crate) fn evaluated_environment() -> String {
    let dir = env::var_os(setup::DIR_VARIABLE).map_or_else(String::new, |dir| {
        format!("{}={} ", setup::DIR_VARIABLE, quoted(&dir))
    });
    format!("eval \"$({dir}cargo xtask env)\" && ")
}

/// A word that a shell reads back as it is.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_can_be_typed_in_a_shell() {
        let mut command = cargo(&["doc", "--workspace"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            line(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace"
        );
        let mut command = Command::new(root().join("target/release/afd"));
        command.args(["--set", "a=\"it's\"", ""]);
        assert_eq!(
            line(&command),
            r#"target/release/afd --set 'a="it'\''s"' ''"#
        );
    }

    #[test]
    fn the_variables_of_the_backends_are_named_by_the_command_that_prints_them() {
        let mut command = cargo(&["test"]);
        command.env("LIBTORCH", "/opt/libtorch");
        command.env("AFD_DEVICE", "libtorch");
        let line = line(&command);
        assert!(line.starts_with("eval \"$("), "{line}");
        assert!(
            line.ends_with("cargo xtask env)\" && AFD_DEVICE=libtorch cargo test"),
            "{line}"
        );
    }

    #[test]
    fn a_variable_that_is_taken_away_is_not_in_the_line() {
        let mut command = cargo(&["test"]);
        command.env_remove("LIBTORCH");
        assert_eq!(line(&command), "cargo test");
    }

    #[test]
    fn a_failing_command_is_an_error_and_keeps_its_code() {
        let mut command = cargo(&["no-such-subcommand"]);
        let error = run(command.stderr(Stdio::null())).unwrap_err();
        assert!(error.to_string().contains("cargo no-such-subcommand"));
        assert!(matches!(error, Error::Command { status, .. } if status.code() == Some(101)));
    }

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }
}
