//! Token ids to logits or rewards: decoders, heads, cache, sampling, Hugging Face weights.
//!
//! - [`CausalLm`] writes ([`generate()`], [`generate_guided`]) and knows the log-probability of what is written.
//! - [`SequenceClassifier`] gives an answer a score.
//! - [`DecoderConfig`] is a model's shape, read from and written to `config.json`.
//! - [`Scorer`] is how stages meet anything that judges text.
//!
//! Ids in, ids out: this crate knows no text and no tokenizer.
//!
//! ```
//! use afd_model::{CausalLm, DecoderConfig, Sequence, Side};
//!
//! let config = DecoderConfig {
//!     vocab_size: 16,
//!     hidden_size: 8,
//!     intermediate_size: 16,
//!     num_attention_heads: 2,
//!     eos_token_ids: vec![0],
//!     ..DecoderConfig::llama(4)
//! };
//! let model = CausalLm::init(config, 1, &afd_backend::device::test_device().into())?;
//! let answer = Sequence { ids: &[3, 1, 4, 1, 0], prompt_len: 2 };
//! assert_eq!(model.log_probs(&[answer], Side::Right).dims(), [3]);
//! # Ok::<(), afd_model::Error>(())
//! ```

mod batch;
mod cache;
mod causal_lm;
mod checkpoint;
mod classifier;
mod config;
mod decoder;
#[cfg(test)]
mod decoding_tests;
mod error;
mod extrapolate;
mod families;
#[cfg(test)]
mod families_tests;
mod gaussian;
mod generate;
mod guide;
#[cfg(test)]
mod guide_tests;
mod hidden;
mod layer;
mod layers;
mod lora;
#[cfg(test)]
mod lora_faults_tests;
#[cfg(test)]
mod lora_frozen_tests;
#[cfg(test)]
mod lora_tests;
mod mlp;
mod number;
#[cfg(test)]
mod packing_tests;
#[cfg(test)]
mod parity_tests;
mod peft;
mod place;
mod portions;
#[cfg(test)]
mod precision_tests;
mod pretrained;
mod reader;
mod rope;
mod sampler;
mod save;
mod scorer;
mod selection;
mod sequences;
mod shared_prefix;
#[cfg(test)]
mod shared_prefix_tests;
#[cfg(test)]
mod tests;
mod tilt;
mod weights;

pub use batch::{Batch, Collator};
pub use cache::KvCache;
pub use causal_lm::CausalLm;
pub use classifier::SequenceClassifier;
pub use config::{Activation, DecoderConfig, Family, Head, NormKind, Residual};
pub use decoder::Decoder;
pub use error::Error;
pub use extrapolate::extrapolate_weights;
pub use generate::{
    FinishReason, Generation, GenerationRequest, Stop, generate, generate_guided, never,
};
pub use guide::Guide;
pub use lora::{AllLinear, LoraConfig, TargetModules};
pub use mlp::Mlp;
pub use peft::{AdapterInfo, copy_adapter, find_adapter, is_adapter};
pub use portions::{Portion, by_request, plan_batches};
pub use pretrained::Pretrained;
pub use rope::{Rope, RopeScaling};
pub use sampler::SamplingParams;
pub use save::{SaveOptions, parameter_names};
pub use scorer::Scorer;
pub use selection::{best_of_n_kl_bound, best_of_n_weights, best_of_n_win_rate};
pub use sequences::{Padded, Sequence, Side};
pub use tilt::{acceptance_rate, beta_at_kl, selection_kl, soft_best_of_n_weights, tilted_weights};

/// Writes pretty JSON; the file appears whole or not at all.
fn write_json(path: &std::path::Path, json: &serde_json::Value) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.into(),
        source,
    };
    let temporary = path.with_extension("partial");
    std::fs::write(&temporary, format!("{json:#}\n")).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// Reads a JSON file.
fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.into(),
        source,
    })
}
