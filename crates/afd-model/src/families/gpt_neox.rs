//! GPT-NeoX and Pythia: LayerNorm, positions of a part of each head turned, attention and
//! feed-forward block side by side.
//!
//! Paper: Black et al., arXiv 2204.06745. Query, key and value of a head stand together in one
//! tensor.

use serde_json::{Value, json};

use super::{
    hf::{HfConfig, RopeDefaults, rope_scaling, share},
    in_layer,
};
use crate::{
    Activation, DecoderConfig, Error, Family, NormKind, Residual, Rope,
    place::{Part, Place},
};

pub(super) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    let config = hf.llama_like(Family::GptNeoX)?;
    let head_dim = hf.head_dim("num_attention_heads", config.hidden_size)?;
    let bias = hf.flag("attention_bias", true)?;
    let rope = hf.rope(&RopeDefaults {
        head_dim,
        share: Some(hf.positive("rotary_pct", 0.25)?),
        theta: hf.positive("rotary_emb_base", 10_000.0)?,
        positions: config.max_position_embeddings,
    })?;
    Ok(DecoderConfig {
        num_key_value_heads: config.num_attention_heads,
        head_dim,
        query_pre_attn_scalar: head_dim as f64,
        norm: NormKind::Layer,
        norm_eps: hf.float("layer_norm_eps", 1e-5)?,
        residual: match hf.flag("use_parallel_residual", true)? {
            true => Residual::Parallel,
            false => Residual::Sequential,
        },
        activation: hf.activation("hidden_act", Activation::Gelu)?,
        gated_mlp: false,
        qkv_bias: bias,
        attention_output_bias: bias,
        mlp_bias: true,
        rope: Some(rope),
        ..config
    })
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    let plain = Rope::plain(config.head_dim, 10_000.0);
    let rope = config.rope.as_ref().unwrap_or(&plain);
    json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "hidden_act": match config.activation {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
        },
        "max_position_embeddings": config.max_position_embeddings,
        "layer_norm_eps": config.norm_eps,
        "use_parallel_residual": config.residual == Residual::Parallel,
        "attention_bias": config.qkv_bias,
        "rotary_pct": share(rope.dim, config.head_dim),
        "rotary_emb_base": rope.theta,
        "rope_theta": rope.theta,
        "partial_rotary_factor": share(rope.dim, config.head_dim),
        "rope_scaling": rope_scaling(rope),
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
    })
}

pub(super) fn place(config: &DecoderConfig, name: &str, rank: usize) -> Place {
    let Some((index, part, kind)) = in_layer(name) else {
        let (name, table) = match name {
            "model.embed_tokens.weight" => ("gpt_neox.embed_in.weight", true),
            "model.norm.weight" => ("gpt_neox.final_layer_norm.weight", false),
            "model.norm.bias" => ("gpt_neox.final_layer_norm.bias", false),
            "lm_head.weight" => ("embed_out.weight", false),
            other => (other, false),
        };
        return Place::whole(name, rank, table);
    };
    let (own, third) = match part {
        "self_attn.q_proj" => ("attention.query_key_value", Some(0)),
        "self_attn.k_proj" => ("attention.query_key_value", Some(1)),
        "self_attn.v_proj" => ("attention.query_key_value", Some(2)),
        "self_attn.o_proj" => ("attention.dense", None),
        "mlp.up_proj" => ("mlp.dense_h_to_4h", None),
        "mlp.down_proj" => ("mlp.dense_4h_to_h", None),
        other => (other, None),
    };
    let (heads, d) = (config.num_attention_heads, config.head_dim);
    let outputs = |third: usize| {
        let start = move |head: usize| (3 * head + third) * d;
        (0..heads).map(move |head| start(head)..start(head) + d)
    };
    Place {
        part: third.map(|third| Part {
            of: 3 * heads * d,
            outputs: outputs(third).collect(),
        }),
        ..Place::whole(format!("gpt_neox.layers.{index}.{own}.{kind}"), rank, false)
    }
}
