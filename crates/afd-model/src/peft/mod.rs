//! Adapters on disk, as PEFT has them: `adapter_config.json` and `adapter_model.safetensors`.

mod read;
mod write;

pub(crate) use read::load;
pub use read::{AdapterInfo, find_adapter, is_adapter};
pub use write::copy_adapter;
pub(crate) use write::{For, save};

/// Where the adapter is of a trained model that has it merged, within the model's directory.
pub(crate) const BESIDE_MODEL: &str = "adapter";
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
/// What PEFT's wrapping puts before the names of a model.
const PREFIX: &str = "base_model.model.";
