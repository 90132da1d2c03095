//! Starts the binary, and the files it is started on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

/// A configuration so small that a whole pipeline takes seconds.
pub(crate) const TINY: &str = r#"
extends = "ROOT/configs/quickstart.toml"

[data]
split = { sft = 0.3, reward = 0.3, validation = 0.1, judge = 0.0, test = 0.3 }
max_rows = { test = 16 }

[world]
rows = 64

[sft]
num_train_epochs = 1
per_device_train_batch_size = 4
logging_steps = 1
eval_steps = 2
save_steps = 2

[sample]
generation_batch_size = 8
max_completion_length = 16
init_num_generations = 2
test_num_generations = 3
policy_num_generations = 2
stored_num_generations = 3

[reward]
eval_fraction = 0.3
num_train_epochs = 1
per_device_train_batch_size = 4
logging_steps = 1
eval_steps = 2
save_steps = 2

[best_of_n]
n = 2

[policy]
num_generations = 2
per_device_train_batch_size = 4
max_steps = 3
save_steps = 1
log_completions_steps = 2

[policies]
aligned = false
sharpened = false

[eval]
n = [1, 2, 3]
bootstrap_resamples = 200
"#;

/// The rankers of a run whose data holds preferences, in the order of the report.
pub(crate) const RANKERS: [&str; 10] = [
    "init-sft",
    "init-demo",
    "sft-demo",
    "preference",
    "closed-form",
    "mean-logprob",
    "longest",
    "shortest",
    "random",
    "golden",
];

/// The repository.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// The base checkpoint.
pub(crate) fn base() -> PathBuf {
    root().join("assets/base")
}

/// A call of `afd`, without what the caller's environment would say about it.
pub(crate) fn afd<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afd"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let hub = ["HF_", "HUGGING", "TRANSFORMERS_"];
        if text.starts_with("AFD_") || hub.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// What a call left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Ends of calls, as tests want them.
pub(crate) trait Ends {
    /// Runs to the end, whatever it is.
    fn outcome(&mut self) -> Outcome;

    /// Runs and succeeds.
    #[track_caller]
    fn succeeds(&mut self) -> Outcome {
        let outcome = self.outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome
    }

    /// Runs and ends with `code`, telling all of `parts` in its error; returns the error.
    #[track_caller]
    fn fails(&mut self, code: i32, parts: &[&str]) -> String {
        let Outcome {
            code: got, stderr, ..
        } = self.outcome();
        assert_eq!(got, Some(code), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

impl Ends for Command {
    fn outcome(&mut self) -> Outcome {
        self.output().unwrap().into()
    }
}

/// A temporary directory with a configuration and, once it ran, a run.
pub(crate) struct Run {
    dir: TempDir,
}

impl Run {
    /// [`TINY`] with `extra` laid over it.
    pub(crate) fn new(extra: &str) -> Self {
        let run = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let tiny = TINY.replace("ROOT", root().to_str().unwrap());
        run.write("tiny.toml", &tiny);
        run.write("config.toml", format!("extends = \"tiny.toml\"\n{extra}"));
        run
    }

    /// As [`new`](Self::new), with a copy of the finished run of [`TINY`] in its place.
    pub(crate) fn finished() -> Self {
        let run = Self::new("");
        copy(finished(), &run.root());
        run
    }

    /// A file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the directory and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The run's directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("run")
    }

    /// A file of the run, by its path within.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The bytes of `eval/summary.json`.
    pub(crate) fn summary(&self) -> String {
        fs::read_to_string(self.file("eval/summary.json")).unwrap()
    }

    /// `afd COMMAND … --config CONFIG`; `command` may be two words.
    pub(crate) fn afd(&self, command: &str, args: &[&str]) -> Command {
        let mut call = afd(command.split(' '));
        call.arg("--config").arg(self.path("config.toml"));
        call.args(args);
        call
    }

    /// `afd pipeline` in the run's directory.
    pub(crate) fn pipeline(&self, args: &[&str]) -> Command {
        let mut call = self.afd("pipeline", args);
        call.arg("--run-dir").arg(self.root());
        call
    }

    /// A copy of the base checkpoint, to be damaged.
    pub(crate) fn copy_of_base(&self) -> PathBuf {
        let path = self.path("model");
        copy(&base(), &path);
        path
    }
}

/// The directory of a finished run of [`TINY`]; not to be changed.
pub(crate) fn finished() -> &'static Path {
    static FINISHED: OnceLock<PathBuf> = OnceLock::new();
    FINISHED.get_or_init(|| {
        // No destructor runs at the end of a test binary, so the next one clears this up.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("finished");
        let _ = fs::remove_dir_all(&path);
        let run = Run::new("");
        run.afd("pipeline", &["--run-dir", path.to_str().unwrap()])
            .succeeds();
        path
    })
}

/// Copies a directory and all in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// All manifests of a run, by stage, in order.
pub(crate) fn manifests(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(".scratch") {
                left.push(path);
            } else if path.ends_with("manifest.json") {
                let stage = dir.strip_prefix(root).unwrap().to_str().unwrap();
                found.push((stage.to_owned(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The rows of a text of JSON Lines.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

/// The rows of a file of JSON Lines.
pub(crate) fn read_rows(path: &Path) -> Vec<Value> {
    json_lines(&fs::read_to_string(path).unwrap())
}
