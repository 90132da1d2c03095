//! Adapters on disk, as PEFT has them: `adapter_config.json` and `adapter_model.safetensors`.

mod read;
mod write;

pub(crate) use read::load;
pub use read::{adapter_base, is_adapter};
pub(crate) use write::{For, save};

const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
/// What PEFT's wrapping puts before the names of a model.
const PREFIX: &str = "base_model.model.";
