//! Gemma: scaled embeddings, norms with an offset, GeGLU. Gemma 2: norms around each block, soft
//! caps, a window on every other layer. Gemma 3 (text): norms on queries and keys instead of soft
//! caps, and another base of positions in the layers with a window.
//!
//! Papers: arXiv 2403.08295, 2408.00118, 2503.19786. Departure: transformers rounds the scale of
//! the embeddings to the type of the weights, which in bf16 is another number by up to 0.4 %.

use serde_json::{Value, json};

use super::hf::{HfConfig, RopeDefaults, layer_types, llama_like_json, plain_number};
use crate::{Activation, DecoderConfig, Error, Family, NormKind, Residual, Rope, RopeScaling};

/// Gemma 3's base in the layers with a window.
const LOCAL_THETA: f64 = 10_000.0;

pub(super) fn from_json_1(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = gemma(hf, Family::Gemma)?;
    let bias = hf.flag("attention_bias", false)?;
    // "gelu" means its approximation here. The other key is read by nobody, but may say the same.
    let activation = match hf.activation("hidden_act", Activation::GeluTanh)? {
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    if let Some(found) = hf.get("hidden_activation")
        && hf.activation("hidden_activation", activation)? != activation
    {
        return Err(hf.unsupported("hidden_activation", found, "what hidden_act says"));
    }
    Ok(DecoderConfig {
        activation,
        qkv_bias: bias,
        attention_output_bias: bias,
        rope: Some(hf.rope(&RopeDefaults::new(hf, &config, 10_000.0)?)?),
        ..config
    })
}

pub(super) fn from_json_2(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = gemma_2(hf, Family::Gemma2, 2)?;
    Ok(DecoderConfig {
        rope: Some(hf.rope(&RopeDefaults::new(hf, &config, 10_000.0)?)?),
        ..config
    })
}

pub(super) fn from_json_3(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let unused = "null, for Gemma 3 has no soft cap there";
    hf.refuse_unless("attn_logit_softcapping", &Value::Null, unused)?;
    let pattern = match hf.optional("sliding_window_pattern")? {
        None => hf.optional("_sliding_window_pattern")?.unwrap_or(6),
        Some(pattern) => pattern,
    };
    let config = gemma_2(hf, Family::Gemma3, pattern)?;
    let silent = RopeDefaults::new(hf, &config, 1_000_000.0)?;
    let silent_local = RopeDefaults {
        theta: hf.positive("rope_local_base_freq", LOCAL_THETA)?,
        ..RopeDefaults::new(hf, &config, LOCAL_THETA)?
    };
    let parameters = hf.get("rope_parameters");
    let of_kind = |kind: &str| parameters.and_then(|parameters| parameters.get(kind));
    let (rope, local) = match (of_kind("full_attention"), of_kind("sliding_attention")) {
        (None, None) => (
            hf.rope(&silent)?,
            Rope::plain(config.head_dim, silent_local.theta),
        ),
        (full, local) => {
            hf.refuse_unless("rope_scaling", &Value::Null, "null beside rope_parameters")?;
            let by = |found: Option<&Value>, silent| {
                hf.rope_by("rope_parameters", found.unwrap_or(&Value::Null), silent)
            };
            (by(full, &silent)?, by(local, &silent_local)?)
        }
    };
    if let (false, Some(found)) = (local.scaling == RopeScaling::Default, parameters) {
        let plain = "\"default\" for sliding_attention";
        return Err(hf.unsupported("rope_parameters", found, plain));
    }
    Ok(DecoderConfig {
        qk_norm: true,
        rope: Some(rope),
        local_rope: Some(local),
        ..config
    })
}

/// What all of them share.
fn gemma(hf: &HfConfig<'_>, family: Family) -> Result<DecoderConfig, Error> {
    hf.refuse("use_bidirectional_attention")?;
    let config = hf.llama_like(family)?;
    let head_dim = hf.optional("head_dim")?.unwrap_or(256);
    Ok(DecoderConfig {
        num_key_value_heads: hf.kv_heads(
            config.num_attention_heads,
            if family == Family::Gemma { 16 } else { 4 },
        )?,
        head_dim,
        query_pre_attn_scalar: head_dim as f64,
        norm: NormKind::RmsOffset,
        activation: Activation::GeluTanh,
        embedding_scale: (config.hidden_size as f64).sqrt(),
        tie_word_embeddings: hf.flag("tie_word_embeddings", true)?,
        ..config
    })
}

/// What Gemma 2 and 3 share; without a list every layer slides but each `pattern`th.
fn gemma_2(hf: &HfConfig<'_>, family: Family, pattern: usize) -> Result<DecoderConfig, Error> {
    let config = gemma(hf, family)?;
    let layers = config.num_hidden_layers;
    let bias = hf.flag("attention_bias", false)?;
    let listed = hf.sliding_layers(layers)?;
    let sliding = || (1..=layers).map(|n| !n.is_multiple_of(pattern)).collect();
    let cap = |key: &'static str, default| match hf.json.get(key) {
        // Here `null` is a word of its own: no cap.
        Some(Value::Null) => Ok(None),
        None => Ok(default),
        Some(_) => hf.optional_float(key),
    };
    let second = family == Family::Gemma2;
    Ok(DecoderConfig {
        residual: Residual::Sandwich,
        activation: hf.activation("hidden_activation", Activation::GeluTanh)?,
        qkv_bias: bias,
        attention_output_bias: bias,
        query_pre_attn_scalar: hf.positive("query_pre_attn_scalar", 256.0)?,
        attn_logit_softcapping: cap("attn_logit_softcapping", second.then_some(50.0))?,
        final_logit_softcapping: cap("final_logit_softcapping", second.then_some(30.0))?,
        sliding_window: match hf.unless_null("sliding_window", Some(4096))? {
            None => return Err(hf.problem("sliding_window", "is null".into())),
            window => window,
        },
        sliding_layers: listed.unwrap_or_else(sliding),
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let mut json = llama_like_json(config);
    json["hidden_activation"] = json["hidden_act"].clone();
    json["attention_bias"] = json!(config.qkv_bias);
    if config.family == Family::Gemma {
        return json;
    }
    json["query_pre_attn_scalar"] = plain_number(config.query_pre_attn_scalar);
    json["attn_logit_softcapping"] = json!(config.attn_logit_softcapping);
    json["final_logit_softcapping"] = json!(config.final_logit_softcapping);
    json["sliding_window"] = json!(config.sliding_window);
    json["layer_types"] = layer_types(config);
    if let Some(local) = &config.local_rope {
        json["rope_local_base_freq"] = json!(local.theta);
    }
    json
}
