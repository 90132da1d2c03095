//! What can go wrong around a stage; each message names the place and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write something.
    #[error("cannot {action} `{}`{}", .path.display(), explain(.source))]
    Io {
        /// What was tried, as a verb: "read", "write", "rename" …
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another process, or another [`RunDir`](crate::RunDir) of this one, uses the run.
    #[error(
        "the run `{}` is in use by another process; wait until it is done or stop it, or give \
         this run another directory",
        .root.display()
    )]
    Locked {
        /// The run's directory.
        root: PathBuf,
    },

    /// A stage's name cannot be a directory of the run.
    #[error(
        "`{name}` cannot name a stage; use letters, digits, `-`, `.` and single `_` between \
         letters or digits, and `/` between parts, as in `reward/init-sft`"
    )]
    StageName {
        /// The name that was given.
        name: String,
    },

    /// A file's name leads out of the directory it belongs in, or is one that this crate keeps.
    #[error(
        "`{name}` cannot be written there: it must be a relative path without `..`, and \
         {reserved} are kept for bookkeeping"
    )]
    FileName {
        /// The name that was given.
        name: String,
        /// The names that cannot be used.
        reserved: &'static str,
    },

    /// Something that no stage wrote is where a stage's result would go.
    #[error(
        "stage `{stage}` cannot be written because `{}` is in the way; move it elsewhere or \
         remove it",
        .path.display()
    )]
    InTheWay {
        /// The stage that wants the place.
        stage: String,
        /// What is there.
        path: PathBuf,
    },

    /// A result was asked for that is not there.
    #[error("stage `{stage}` is not finished in `{}`; run it first", .root.display())]
    NotFinished {
        /// The stage.
        stage: String,
        /// The run's directory.
        root: PathBuf,
    },

    /// A file of a finished stage was lost or changed since.
    #[error(
        "stage `{stage}` is damaged: `{}` should have {expected} bytes but {}; put the file back \
         or rebuild the stage with `--force {stage}`",
        .path.display(),
        match .got { Some(bytes) => format!("has {bytes}"), None => "is missing".to_owned() }
    )]
    Damaged {
        /// The stage.
        stage: String,
        /// The file.
        path: PathBuf,
        /// Its size in bytes when the stage finished.
        expected: u64,
        /// Its size in bytes now, `None` when it is gone.
        got: Option<u64>,
    },

    /// A `manifest.json` is not what this crate writes.
    #[error(
        "`{}` cannot be understood; rebuild its stage with `--force`",
        .path.display()
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A stage's configuration has no JSON form, for example a map whose keys are not text.
    #[error("the configuration of stage `{stage}` cannot be written as JSON")]
    Config {
        /// The stage.
        stage: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A line of a metrics file other than the last is not one that was logged.
    #[error(
        "`{}`, line {line}: not a line of metrics; mend or remove the line",
        .path.display()
    )]
    Metrics {
        /// The metrics file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A directory holds something whose content cannot be fingerprinted.
    #[error("cannot fingerprint `{}`: {reason}", .path.display())]
    Unhashable {
        /// What it is.
        path: PathBuf,
        /// Why it cannot, and what to do.
        reason: &'static str,
    },
}

impl Error {
    /// Gives an [`io::Error`] the verb and the path that it lacks, for use in `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// Cause and remedy in words where there is one; the source has the system's own words.
fn explain(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": it does not exist; check the path",
        io::ErrorKind::PermissionDenied => {
            ": permission denied; change its permissions or choose another place"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            ": the file system is read-only; choose a place that can be written"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full; free some space and run the same command again, what is \
             finished is kept"
        }
        _ => "",
    }
}

/// Why [`RunDir::stage`](crate::RunDir::stage) has no artefact to return.
#[derive(Debug, thiserror::Error)]
pub enum StageError<E> {
    /// The stage's own function failed.
    #[error("stage `{stage}` failed; running it again resumes from its last checkpoint, if any")]
    Body {
        /// The stage.
        stage: String,
        /// The function's error.
        source: E,
    },

    /// The ceremony around it failed.
    #[error(transparent)]
    Run(#[from] Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: io::ErrorKind) -> String {
        Error::io("write", Path::new("runs/a/config.toml"))(kind.into()).to_string()
    }

    #[test]
    fn io_errors_name_path_cause_and_remedy() {
        for (kind, cause, remedy) in [
            (
                io::ErrorKind::StorageFull,
                "disk is full",
                "free some space",
            ),
            (
                io::ErrorKind::QuotaExceeded,
                "disk is full",
                "free some space",
            ),
            (
                io::ErrorKind::ReadOnlyFilesystem,
                "read-only",
                "choose a place",
            ),
            (
                io::ErrorKind::PermissionDenied,
                "permission denied",
                "choose another place",
            ),
            (io::ErrorKind::NotFound, "does not exist", "check the path"),
        ] {
            let message = message(kind);
            assert!(
                message.starts_with("cannot write `runs/a/config.toml`: "),
                "{message}"
            );
            assert!(message.contains(cause), "{message}");
            assert!(message.contains(remedy), "{message}");
        }
        assert_eq!(
            message(io::ErrorKind::Interrupted),
            "cannot write `runs/a/config.toml`"
        );
    }

    #[test]
    fn damage_says_which_stage_to_force() {
        let error = |got| {
            Error::Damaged {
                stage: "reward/init-sft".into(),
                path: "r/model.safetensors".into(),
                expected: 10,
                got,
            }
            .to_string()
        };
        assert_eq!(
            error(Some(3)),
            "stage `reward/init-sft` is damaged: `r/model.safetensors` should have 10 bytes but \
             has 3; put the file back or rebuild the stage with `--force reward/init-sft`"
        );
        assert!(error(None).contains("but is missing;"));
    }
}
