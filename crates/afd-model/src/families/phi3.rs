//! Phi-3: Llama with one tensor for query, key and value and one for both halves of the gate.
//!
//! Paper: Abdin et al., arXiv 2404.14219. Its long-context scaling ("longrope") is refused.

use std::ops::Range;

use serde_json::{Value, json};

use super::{
    hf::{HfConfig, RopeDefaults, llama_like_json, share},
    in_layer, same,
};
use crate::{
    Activation, DecoderConfig, Error, Family, RopeScaling,
    place::{Part, Place},
};

pub(super) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::Phi3)?;
    let window = hf.optional("sliding_window")?;
    let rope = hf.rope(&RopeDefaults {
        share: Some(hf.positive("partial_rotary_factor", 1.0)?),
        ..RopeDefaults::new(hf, &config, 10_000.0)?
    })?;
    if rope.scaling != RopeScaling::Default {
        let key = match hf.get("rope_parameters") {
            Some(_) => "rope_parameters",
            None => "rope_scaling",
        };
        let found = hf.get(key).unwrap_or(&Value::Null);
        return Err(hf.unsupported(key, found, "no scaling of Phi-3's positions"));
    }
    Ok(DecoderConfig {
        activation: hf.activation("hidden_act", Activation::Silu)?,
        norm_eps: hf.float("rms_norm_eps", 1e-5)?,
        rope: Some(rope),
        sliding_window: window,
        sliding_layers: vec![window.is_some(); config.num_hidden_layers],
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let mut json = llama_like_json(config);
    let turned = config
        .rope
        .as_ref()
        .map_or(config.head_dim, |rope| rope.dim);
    json["partial_rotary_factor"] = json!(share(turned, config.head_dim));
    json["original_max_position_embeddings"] = json!(config.max_position_embeddings);
    json["sliding_window"] = json!(config.sliding_window);
    json["embd_pdrop"] = json!(0.0);
    json["resid_pdrop"] = json!(0.0);
    json
}

pub(super) fn place(config: &DecoderConfig, name: &str, rank: usize) -> Place {
    let q = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let wide = config.intermediate_size;
    let Some((index, part, kind)) = in_layer(name) else {
        return same(name, rank);
    };
    let (own, of, outputs): (_, _, Range<usize>) = match part {
        "self_attn.q_proj" => ("self_attn.qkv_proj", q + 2 * kv, 0..q),
        "self_attn.k_proj" => ("self_attn.qkv_proj", q + 2 * kv, q..q + kv),
        "self_attn.v_proj" => ("self_attn.qkv_proj", q + 2 * kv, q + kv..q + 2 * kv),
        "mlp.gate_proj" => ("mlp.gate_up_proj", 2 * wide, 0..wide),
        "mlp.up_proj" => ("mlp.gate_up_proj", 2 * wide, wide..2 * wide),
        _ => return same(name, rank),
    };
    let part = Some(Part {
        of,
        outputs: vec![outputs],
    });
    Place {
        part,
        ..Place::whole(format!("model.layers.{index}.{own}.{kind}"), rank, false)
    }
}
