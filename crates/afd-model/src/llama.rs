//! The Llama family: RMSNorm, rotary positions, grouped queries, SwiGLU.
//!
//! Paper: Touvron et al., arXiv 2302.13971. Our modules carry this family's weight names,
//! so that its name table is the identity.

use serde_json::{Value, json};

use crate::{DecoderConfig, Error, Family, Head, config::HfConfig};

/// Reads both dialects: `rope_theta` (transformers 4) and `rope_parameters` (5).
pub(crate) fn from_json(hf: &HfConfig<'_>) -> Result<DecoderConfig, Error> {
    hf.refuse_unless("hidden_act", &json!("silu"), "\"silu\"")?;
    hf.refuse_unless("attention_bias", &json!(false), "false")?;
    hf.refuse_unless("mlp_bias", &json!(false), "false")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = hf.get(key) else { continue };
        let kind = rope.get("rope_type").or_else(|| rope.get("type"));
        let is_default = kind.is_none_or(|kind| kind == "default");
        if !is_default || !rope.is_object() {
            return Err(Error::Option {
                path: hf.path.into(),
                key,
                found: rope.to_string(),
                supported: "null or the rope_type \"default\"",
            });
        }
    }
    let hidden_size = hf.required("hidden_size")?;
    let num_attention_heads = hf.required("num_attention_heads")?;
    if num_attention_heads == 0 {
        return Err(hf.problem("num_attention_heads", "is 0".into()));
    }
    Ok(DecoderConfig {
        family: Family::Llama,
        vocab_size: hf.required("vocab_size")?,
        hidden_size,
        intermediate_size: hf.required("intermediate_size")?,
        num_hidden_layers: hf.required("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: hf
            .optional("num_key_value_heads")?
            .unwrap_or(num_attention_heads),
        head_dim: hf
            .optional("head_dim")?
            .unwrap_or(hidden_size / num_attention_heads),
        rms_norm_eps: hf.float("rms_norm_eps", 1e-6)?,
        rope_theta: match hf.get("rope_parameters").and_then(|r| r.get("rope_theta")) {
            Some(theta) => theta.as_f64().ok_or_else(|| {
                hf.problem(
                    "rope_parameters.rope_theta",
                    format!("is {theta}, not a number"),
                )
            })?,
            None => hf.float("rope_theta", 10_000.0)?,
        },
        max_position_embeddings: hf.optional("max_position_embeddings")?.unwrap_or(2048),
        tie_word_embeddings: hf.flag("tie_word_embeddings", false)?,
        initializer_range: hf.float("initializer_range", 0.02)?,
        // Old conversions say −1 for none.
        pad_token_id: match hf.get("pad_token_id").and_then(Value::as_i64) {
            Some(-1) => None,
            _ => hf.optional("pad_token_id")?.map(|id| id as u32),
        },
        bos_token_id: hf.optional("bos_token_id")?.map(|id| id as u32),
        eos_token_ids: match hf.get("eos_token_id") {
            Some(Value::Array(ids)) => ids
                .iter()
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect::<Option<_>>()
                .ok_or_else(|| hf.problem("eos_token_id", "is not a list of ids".into()))?,
            _ => hf
                .optional("eos_token_id")?
                .map(|id| id as u32)
                .into_iter()
                .collect(),
        },
    })
}

/// Writes the transformers 4 dialect, which version 5 reads as well.
pub(crate) fn to_json(config: &DecoderConfig, head: Head) -> Value {
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let mut json = json!({
        "architectures": [match head {
            Head::LanguageModel => "LlamaForCausalLM",
            Head::Score => "LlamaForSequenceClassification",
        }],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "mlp_bias": false,
        "pad_token_id": config.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
        "torch_dtype": "float32",
        "use_cache": true,
    });
    if head == Head::Score {
        json["num_labels"] = json!(1);
        json["id2label"] = json!({ "0": "LABEL_0" });
        json["label2id"] = json!({ "LABEL_0": 0 });
    }
    json
}
