//! Panics told as errors: how devices say that they ran out of memory.

use std::{
    env,
    panic::{set_hook, take_hook},
    sync::{Mutex, MutexGuard, PoisonError},
};

use afd_backend::device::{self, Cause};
use afd_train::TrainConfig;

use crate::{
    config::{Config, PolicyConfig},
    error::Error,
};

/// A panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({place})")]
pub(crate) struct Fault {
    message: String,
    /// The line of code it came from.
    place: String,
}

/// Every panic of this process so far, those of devices' own threads included: the one that is
/// caught in the end often says only that another thread is gone.
static SEEN: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

/// From here on panics are kept instead of printed, or both with `RUST_BACKTRACE` set.
pub(crate) fn keep() {
    let usual = take_hook();
    let print = env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("a panic");
        // One that reaches nobody, on a thread that nobody joins, would leave no trace else.
        tracing::debug!("a panic at {}: {message}", place.as_deref().unwrap_or("?"));
        seen().push(Fault {
            message: device::summary(message),
            place: place.unwrap_or_default(),
        });
        if print {
            usual(panic);
        }
    }));
}

/// Runs `work`; when it panics, the fault is what went wrong first.
pub(crate) fn watch<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    let before = seen().len();
    device::catch(work).map_err(|message| {
        let caught = Fault {
            message,
            place: "its place was not kept".into(),
        };
        root(&seen()[before..]).cloned().unwrap_or(caught)
    })
}

fn seen() -> MutexGuard<'static, Vec<Fault>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The panic that explains the others: one with a known cause, or else the first.
fn root(faults: &[Fault]) -> Option<&Fault> {
    let known = |fault: &&Fault| device::cause(&fault.message) != Cause::Unknown;
    faults.iter().find(known).or_else(|| faults.first())
}

impl Fault {
    /// The error for `task`, such as ``stage sft on `flex` ``, with what to do against it.
    pub(crate) fn error(self, task: String, lower: String) -> Error {
        let remedy = match device::cause(&self.message) {
            Cause::OutOfMemory => format!("ran out of memory: {lower}"),
            Cause::DeviceLost => {
                "lost its device: the driver has reset it, or it is gone; run again, which \
                 resumes, and lower the batch if it happens again"
                    .to_owned()
            }
            Cause::Unknown => "broke off, which is a bug of afd or of the device's backend; \
                               please report it with what RUST_BACKTRACE=1 prints"
                .to_owned(),
        };
        Error::Fault {
            task,
            remedy,
            source: self,
        }
    }
}

/// What to lower when `stage` needs more memory than there is.
pub(crate) fn lower(stage: &str, config: &Config) -> String {
    let parts: Vec<&str> = stage.split('/').collect();
    // The stages of a round are of the kinds that others are of.
    let group = match parts[..] {
        ["rounds", _, _, "fresh" | "discriminator"] => "reward",
        ["rounds", _, _, kind] => kind,
        _ => parts[0],
    };
    match group {
        "sft" | "sft-without" => lower_training("sft", &config.sft.1, config.sft.0.max_length),
        "reward" => lower_training("reward", &config.reward.1, config.reward.0.max_length),
        "policy" => {
            let policy = parts.get(1).copied().unwrap_or_default();
            match config
                .policies
                .iter()
                .find(|known| known.name == policy)
                .and_then(PolicyConfig::train)
            {
                Some(train) => {
                    let table = format!("policies.{policy}");
                    lower_training(&table, train, config.sample.max_completion_length)
                }
                None => NOTHING.to_owned(),
            }
        }
        "samples" | "shards" => format!(
            "lower sample.generation_batch_size (now {}) or sample.max_completion_length (now {})",
            config.sample.generation_batch_size, config.sample.max_completion_length
        ),
        "scores" | "stored" | "kl" | "proxy" | "embeddings" | "diagnostics" | "eval" => format!(
            "lower reward.per_device_eval_batch_size (now {})",
            config.reward.1.per_device_eval_batch_size
        ),
        _ => NOTHING.to_owned(),
    }
}

/// What is to be said of a stage that needs no device.
const NOTHING: &str = "it computes nothing on the device: lower the number of rows";

fn lower_training(table: &str, train: &TrainConfig, max_length: usize) -> String {
    let batch = train.per_device_train_batch_size;
    let steps = train.gradient_accumulation_steps;
    let mut text = format!(
        "lower {table}.per_device_train_batch_size (now {batch}; raise \
         {table}.gradient_accumulation_steps, now {steps}, by as much for the same steps), \
         {table}.per_device_eval_batch_size (now {}) or {table}.max_length (now {max_length})",
        train.per_device_eval_batch_size
    );
    if !train.gradient_checkpointing {
        text += &format!(", or set {table}.gradient_checkpointing = true");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Overrides;

    /// What libtorch said when it got no memory, and what its users saw next.
    const NO_MEMORY: &str = "DefaultCPUAllocator: can't allocate memory: you tried to allocate \
                             68719476736 bytes. Error code 12 (Cannot allocate memory)";

    fn fault(message: &str) -> Fault {
        Fault {
            message: message.into(),
            place: "lib.rs:1:1".into(),
        }
    }

    fn quickstart() -> Config {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let none = Overrides::new(std::iter::empty(), &[]).unwrap();
        Config::load(&root.join("configs/quickstart.toml"), &none).unwrap()
    }

    #[test]
    fn the_cause_is_looked_for_among_all_panics() {
        let (first, relay) = (fault("index out of bounds"), fault("RecvError"));
        let memory = fault(NO_MEMORY);
        assert_eq!(root(&[]), None);
        assert_eq!(root(&[first.clone(), relay.clone()]), Some(&first));
        assert_eq!(root(&[first, memory.clone(), relay]), Some(&memory));
    }

    #[test]
    fn what_is_watched_gives_its_result_or_its_fault() {
        assert_eq!(watch(|| 3), Ok(3));
        let told = watch(|| panic!("{NO_MEMORY}")).unwrap_err().to_string();
        assert!(told.contains("68719476736 bytes"), "{told}");
    }

    #[test]
    fn every_stage_is_told_its_own_keys() {
        let config = quickstart();
        let told = |stage: &str| {
            let error = fault(NO_MEMORY).error(format!("stage {stage}"), lower(stage, &config));
            error.to_string()
        };
        let sft = told("sft");
        assert!(sft.starts_with("stage sft ran out of memory: lower sft.per_device_train_batch"));
        assert!(sft.contains("sft.per_device_train_batch_size (now 16;"));
        assert!(
            sft.ends_with("or set sft.gradient_checkpointing = true"),
            "{sft}"
        );
        assert!(told("reward/init-sft").contains("reward.max_length (now 256)"));
        assert!(told("samples/init").contains("sample.generation_batch_size (now 128)"));
        for stage in ["scores/init-sft", "eval"] {
            assert!(told(stage).contains("reward.per_device_eval_batch_size (now 64)"));
        }
    }

    #[test]
    fn checkpointing_that_is_on_is_not_recommended() {
        let mut config = quickstart();
        config.sft.1.gradient_checkpointing = true;
        assert!(!lower("sft", &config).contains("gradient_checkpointing"));
    }

    #[test]
    fn other_panics_are_bugs() {
        let error = fault("index out of bounds").error("stage sft".into(), "…".into());
        assert!(
            error.to_string().starts_with("stage sft broke off"),
            "{error}"
        );
    }
}
