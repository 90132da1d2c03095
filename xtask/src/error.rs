//! Why a task failed.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use crate::backend::DEVICES;
use crate::setup::SetupError;

/// Everything that can stop a task. The message says what to do next where that is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot start `{command}`: {source}")]
    Start {
        command: String,
        source: std::io::Error,
    },
    #[error("this command failed ({status}); repeat it with\n  {command}")]
    Command { command: String, status: ExitStatus },
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "--device comes before what is for cargo, as in `cargo xtask test --device X -p PACKAGE`"
    )]
    Order,
    #[error("`cargo metadata` names no target directory")]
    NoTargetDirectory,
    #[error("{}: format {found}, but this xtask reads format {expected}", path.display())]
    SummaryFormat {
        path: PathBuf,
        found: u32,
        expected: u32,
    },
    #[error("{}: {} row(s) are missing:\n  {}", path.display(), missing.len(), missing.join("\n  "))]
    MissingRows { path: PathBuf, missing: Vec<String> },
    #[error(
        "the second run of the quickstart took {seconds:.1} s; skipping every stage must take less than {limit} s"
    )]
    SlowRerun { seconds: f64, limit: u64 },
    #[error("the second run of the quickstart changed nothing in its configuration, and yet:\n  {}", problems.join("\n  "))]
    NotSkipped { problems: Vec<String> },
    #[error("`{given}` is no sweep; write KEY=VALUE,VALUE,… as in world.quality=0,0.5,1")]
    Sweep { given: String },
    #[error("{what} {value} is given twice, which would count its runs twice")]
    Twice { what: &'static str, value: String },
    #[error(
        "the values {first} and {second} of the sweep share the folder {folder}; give them other spellings"
    )]
    SameFolder {
        first: String,
        second: String,
        folder: String,
    },
    #[error(
        "seed {seed} has other result rows than seed {reference}; delete the study's folder and run it again"
    )]
    OtherRows { seed: u64, reference: u64 },
    #[error("{}: the line `{marker}` is missing; put both markers of the table back", path.display())]
    NoMarker { path: PathBuf, marker: &'static str },
    #[error(
        "the assets take {bytes} bytes, and at most {limit} may be committed; train a smaller base model"
    )]
    AssetsTooBig { bytes: u64, limit: u64 },
    #[error("there is no device `{name}`; the devices are {DEVICES}")]
    Device { name: String },
    #[error("there is no backend `{name}` to build in; there are {known} (Flex is always there)")]
    Backend { name: String, known: String },
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("a folder of libraries has the separator of the library path in its name: {0}")]
    LibraryPath(#[from] std::env::JoinPathsError),
    #[error("on {device} the pipeline finished other stages than on flex: {}", stages.join(", "))]
    OtherStages { device: String, stages: Vec<String> },
    #[error(
        "there is no {}; `cargo xtask pipeline` makes one, or name another: `cargo xtask browser REPORT.html`",
        path.display()
    )]
    NoReport { path: PathBuf },
    #[error(
        "not installed: {}. On Debian: apt-get install chromium chromium-driver. \
         Elsewhere name both: --chromium PATH --chromedriver PATH",
        missing.join(", ")
    )]
    NoBrowser { missing: Vec<&'static str> },
    #[error("{} comparison(s) missed their bound:\n  {}", missed.len(), missed.join("\n  "))]
    Parity { missed: Vec<String> },
    #[error("{} measurement(s) failed, and are in no row; repeat them with\n  {}", failed.len(), failed.join("\n  "))]
    Bench { failed: Vec<String> },
    #[error("{device} disagrees with flex:\n  {}", rows.join("\n  "))]
    Disagreement { device: String, rows: Vec<String> },
}

impl Error {
    /// Names the file that an I/O error is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        |source| Error::Io { path, source }
    }

    /// The exit code of a failed child is passed on; 2 stands for bad usage, as in `afd`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Error::Command { status, .. } => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from),
            Error::Sweep { .. }
            | Error::Twice { .. }
            | Error::SameFolder { .. }
            | Error::Device { .. }
            | Error::Backend { .. }
            | Error::NoReport { .. } => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
