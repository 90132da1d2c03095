//! Mistral: Llama with a window on every layer.
//!
//! Paper: Jiang et al., arXiv 2310.06825.

use serde_json::{Value, json};

use super::hf::{HfConfig, RopeDefaults, llama_like_json};
use crate::{Activation, DecoderConfig, Error, Family};

pub(super) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::Mistral)?;
    // `null` means none; nothing said means this many.
    let window = hf.unless_null("sliding_window", Some(4096))?;
    hf.refuse_unless("layer_types", &Value::Null, "null")?;
    Ok(DecoderConfig {
        num_key_value_heads: hf.kv_heads(config.num_attention_heads, 8)?,
        activation: hf.activation("hidden_act", Activation::Silu)?,
        rope: Some(hf.rope(&RopeDefaults::new(hf, &config, 10_000.0)?)?),
        sliding_window: window,
        sliding_layers: vec![window.is_some(); config.num_hidden_layers],
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let mut json = llama_like_json(config);
    json["sliding_window"] = json!(config.sliding_window);
    json
}
