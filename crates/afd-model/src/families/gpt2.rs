//! GPT-2: learned positions, LayerNorm, biases everywhere, one tensor for query, key and value.
//!
//! Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Its linear
//! layers are stored `[in, out]`.

use serde_json::{Value, json};

use super::{hf::HfConfig, in_layer};
use crate::{
    Activation, DecoderConfig, Error, Family, NormKind,
    place::{Layout, Part, Place},
};

pub(super) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    for key in [
        "scale_attn_by_inverse_layer_idx",
        "reorder_and_upcast_attn",
        "add_cross_attention",
    ] {
        hf.refuse(key)?;
    }
    let (hidden_size, heads) = (hf.size("n_embd")?, hf.size("n_head")?);
    let head_dim = hf.head_dim("n_head", hidden_size)?;
    let scaled = hf.flag("scale_attn_weights", true)?;
    let config = DecoderConfig {
        family: Family::Gpt2,
        vocab_size: hf.size("vocab_size")?,
        hidden_size,
        intermediate_size: hf.optional("n_inner")?.unwrap_or(4 * hidden_size),
        num_hidden_layers: hf.size("n_layer")?,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        norm: NormKind::Layer,
        norm_eps: hf.float("layer_norm_epsilon", 1e-5)?,
        activation: hf.activation("activation_function", Activation::GeluTanh)?,
        gated_mlp: false,
        qkv_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        rope: None,
        query_pre_attn_scalar: if scaled { head_dim as f64 } else { 1.0 },
        max_position_embeddings: hf.size("n_positions")?,
        tie_word_embeddings: true,
        ..DecoderConfig::llama(head_dim)
    };
    hf.tokens(config)
}

pub(super) fn to_json(config: &DecoderConfig) -> Value {
    json!({
        "n_embd": config.hidden_size,
        "n_head": config.num_attention_heads,
        "n_layer": config.num_hidden_layers,
        "n_inner": config.intermediate_size,
        "n_positions": config.max_position_embeddings,
        "n_ctx": config.max_position_embeddings,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": match config.activation {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
        },
        "scale_attn_weights": config.query_pre_attn_scalar != 1.0,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    })
}

pub(super) fn place(config: &DecoderConfig, name: &str, rank: usize) -> Place {
    let Some((index, part, kind)) = in_layer(name) else {
        let name = match name {
            "model.embed_tokens.weight" => "transformer.wte.weight",
            "model.embed_positions.weight" => "transformer.wpe.weight",
            "model.norm.weight" => "transformer.ln_f.weight",
            "model.norm.bias" => "transformer.ln_f.bias",
            other => other,
        };
        return Place::whole(name, rank, name.starts_with("transformer."));
    };
    let (own, third) = match part {
        "input_layernorm" => ("ln_1", None),
        "post_attention_layernorm" => ("ln_2", None),
        "self_attn.q_proj" => ("attn.c_attn", Some(0)),
        "self_attn.k_proj" => ("attn.c_attn", Some(1)),
        "self_attn.v_proj" => ("attn.c_attn", Some(2)),
        "self_attn.o_proj" => ("attn.c_proj", None),
        "mlp.up_proj" => ("mlp.c_fc", None),
        "mlp.down_proj" => ("mlp.c_proj", None),
        other => (other, None),
    };
    let width = config.hidden_size;
    Place {
        name: format!("transformer.h.{index}.{own}.{kind}"),
        layout: match rank {
            2 => Layout::InOut,
            _ => Layout::Same,
        },
        part: third.map(|third| Part {
            of: 3 * width,
            outputs: std::iter::once(third * width..(third + 1) * width).collect(),
        }),
    }
}
