//! What is wrong with a configuration, all of it at once.

use std::path::{Path, PathBuf};

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands: `configs/x.toml:12`, `--set`, an environment variable.
    pub(crate) place: String,
    /// The key with its table, `sft.learning_rate`.
    pub(crate) key: String,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigError {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(path: &Path, problems: Vec<Problem>) -> Self {
        Self {
            path: path.into(),
            problems,
        }
    }

    /// A problem with the file as a whole.
    pub(crate) fn file(path: &Path, message: String) -> Self {
        let problem = Problem {
            place: path.display().to_string(),
            key: String::new(),
            message,
        };
        Self::new(path, vec![problem])
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be used:", self.path.display())?;
        for Problem {
            place,
            key,
            message,
        } in &self.problems
        {
            match key.is_empty() {
                true => write!(f, "\n  {place}: {message}")?,
                false => write!(f, "\n  {place}: `{key}` {message}")?,
            }
        }
        Ok(())
    }
}
