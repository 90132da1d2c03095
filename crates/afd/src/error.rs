//! Every way a command ends badly, and the exit code it ends with.

use std::path::PathBuf;

use afd_hub::Error as Hub;
use afd_stage::StageError;

use crate::{config::ConfigError, faults::Fault};

/// An error on its way to the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Device(#[from] afd_backend::DeviceError),
    /// `afd doctor` has told what is wrong with them.
    #[error("these devices are there but do not compute in f32: {0}")]
    Devices(String),
    #[error("cannot start a thread for each processor; set RAYON_NUM_THREADS to fewer")]
    Threads { source: std::io::Error },
    /// The command line asks for something that is not there.
    #[error("{0}")]
    Usage(String),
    #[error("stage {stage} failed")]
    Stage {
        stage: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A panic; the remedy says what kind.
    #[error("{task} {remedy}")]
    Fault {
        task: String,
        remedy: String,
        source: Fault,
    },
    #[error("{path}:{line}: {problem}")]
    Row {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Run(#[from] afd_stage::Error),
    #[error(transparent)]
    Hub(#[from] afd_hub::Error),
    #[error(transparent)]
    Judge(#[from] afd_judge::Error),
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Policy(#[from] afd_policy::Error),
    #[error(transparent)]
    Reward(#[from] afd_reward::Error),
    #[error(transparent)]
    Sft(#[from] afd_sft::Error),
    #[error(transparent)]
    Eval(#[from] afd_eval::Error),
}

impl Error {
    /// 2 for bad usage or configuration, 1 for a failed run.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Device(_) | Self::Usage(_) => 2,
            // What was named is not there, or no model: the configuration is wrong, not the world.
            Self::Hub(
                Hub::NotFound { .. }
                | Hub::Revision { .. }
                | Hub::Pickled { .. }
                | Hub::NotAModel { .. }
                | Hub::Setting { .. }
                | Hub::NoCache,
            ) => 2,
            _ => 1,
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<StageError<E>> for Error {
    fn from(error: StageError<E>) -> Self {
        match error {
            StageError::Body { stage, source } => Self::Stage {
                stage,
                source: Box::new(source),
            },
            StageError::Run(error) => Self::Run(error),
        }
    }
}
