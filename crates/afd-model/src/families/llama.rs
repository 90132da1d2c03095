//! Llama 1 to 3: RMSNorm, rotary positions, grouped queries, SwiGLU.
//!
//! Paper: Touvron et al., arXiv 2302.13971. Our modules carry this family's weight names.

use serde_json::{Value, json};

use super::hf::{HfConfig, RopeDefaults, llama_like_json};
use crate::{Activation, DecoderConfig, Error, Family};

pub(super) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::Llama)?;
    let attention_bias = hf.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        activation: hf.activation("hidden_act", Activation::Silu)?,
        qkv_bias: attention_bias,
        attention_output_bias: attention_bias,
        mlp_bias: hf.flag("mlp_bias", false)?,
        rope: Some(hf.rope(&RopeDefaults::new(hf, &config, 10_000.0)?)?),
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let mut json = llama_like_json(config);
    json["attention_bias"] = json!(config.qkv_bias);
    json["mlp_bias"] = json!(config.mlp_bias);
    json
}
