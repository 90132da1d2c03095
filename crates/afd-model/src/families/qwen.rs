//! Qwen 2 and 2.5: Llama with biases on query, key and value. Qwen 3: without them, and with norms
//! on the heads of queries and keys.
//!
//! Papers: Yang et al., arXiv 2407.10671 and 2505.09388.

use serde_json::{Value, json};

use super::hf::{HfConfig, RopeDefaults, layer_types, llama_like_json};
use crate::{Activation, DecoderConfig, Error, Family};

pub(super) fn from_json_2(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::Qwen2)?;
    qwen(
        hf,
        DecoderConfig {
            qkv_bias: true,
            ..config
        },
    )
}

pub(super) fn from_json_3(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::Qwen3)?;
    let bias = hf.flag("attention_bias", false)?;
    let head_dim = hf.optional("head_dim")?.unwrap_or(128);
    qwen(
        hf,
        DecoderConfig {
            head_dim,
            query_pre_attn_scalar: head_dim as f64,
            qkv_bias: bias,
            attention_output_bias: bias,
            qk_norm: true,
            ..config
        },
    )
}

/// What both share.
fn qwen(hf: &HfConfig<'_>, config: DecoderConfig) -> Result<DecoderConfig, Error> {
    let layers = config.num_hidden_layers;
    let slides = hf.flag("use_sliding_window", false)?;
    let window = hf.unless_null("sliding_window", Some(4096))?;
    let window = window.filter(|_| slides);
    // The first layers see everything, where no list says otherwise.
    let full = hf.optional("max_window_layers")?.unwrap_or(28);
    let listed = hf.sliding_layers(layers)?;
    let sliding = listed.unwrap_or_else(|| (0..layers).map(|index| index >= full).collect());
    Ok(DecoderConfig {
        num_key_value_heads: hf.kv_heads(config.num_attention_heads, 32)?,
        activation: hf.activation("hidden_act", Activation::Silu)?,
        rope: Some(hf.rope(&RopeDefaults::new(hf, &config, 10_000.0)?)?),
        sliding_window: window,
        sliding_layers: match window {
            Some(_) => sliding,
            None => Vec::new(),
        },
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let mut json = llama_like_json(config);
    if config.family == Family::Qwen3 {
        json["attention_bias"] = json!(config.qkv_bias);
    }
    json["use_sliding_window"] = json!(config.sliding_window.is_some());
    json["sliding_window"] = json!(config.sliding_window);
    let first = config.sliding_layers.iter().position(|slides| *slides);
    json["max_window_layers"] = json!(first.unwrap_or(config.num_hidden_layers));
    json["layer_types"] = layer_types(config);
    json
}
