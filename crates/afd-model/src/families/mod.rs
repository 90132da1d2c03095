//! Model families: what Hugging Face's `config.json` says, and what checkpoints call their tensors.
//!
//! Each family is a file with three functions: `from_json` reads its keys into a
//! [`DecoderConfig`], `to_json` writes them, and `place`, where its tensors have other names than
//! Llama's, tells where a parameter stands. The model itself is the same for all.

mod gemma;
mod gpt2;
mod gpt_neox;
mod hf;
mod llama;
mod mistral;
mod phi3;
mod qwen;

use std::path::Path;

use afd_backend::Dtype;
use serde_json::{Map, Value, json};

use crate::{DecoderConfig, Error, Family, Head, place::Place};
use hf::HfConfig;

/// A family by the names that transformers has for it.
struct Names {
    family: Family,
    model_type: &'static str,
    language_model: &'static str,
    classifier: &'static str,
}

const fn names(
    family: Family,
    model_type: &'static str,
    language_model: &'static str,
    classifier: &'static str,
) -> Names {
    Names {
        family,
        model_type,
        language_model,
        classifier,
    }
}

const NAMES: [Names; 10] = [
    names(
        Family::Gpt2,
        "gpt2",
        "GPT2LMHeadModel",
        "GPT2ForSequenceClassification",
    ),
    names(
        Family::Llama,
        "llama",
        "LlamaForCausalLM",
        "LlamaForSequenceClassification",
    ),
    names(
        Family::Mistral,
        "mistral",
        "MistralForCausalLM",
        "MistralForSequenceClassification",
    ),
    names(
        Family::Qwen2,
        "qwen2",
        "Qwen2ForCausalLM",
        "Qwen2ForSequenceClassification",
    ),
    names(
        Family::Qwen3,
        "qwen3",
        "Qwen3ForCausalLM",
        "Qwen3ForSequenceClassification",
    ),
    names(
        Family::Gemma,
        "gemma",
        "GemmaForCausalLM",
        "GemmaForSequenceClassification",
    ),
    names(
        Family::Gemma2,
        "gemma2",
        "Gemma2ForCausalLM",
        "Gemma2ForSequenceClassification",
    ),
    names(
        Family::Gemma3,
        "gemma3_text",
        "Gemma3ForCausalLM",
        "Gemma3TextForSequenceClassification",
    ),
    names(
        Family::GptNeoX,
        "gpt_neox",
        "GPTNeoXForCausalLM",
        "GPTNeoXForSequenceClassification",
    ),
    names(
        Family::Phi3,
        "phi3",
        "Phi3ForCausalLM",
        "Phi3ForSequenceClassification",
    ),
];

/// A decoder and what stands on it, by the content of the `config.json` at `path`.
pub(crate) fn from_json(
    json: &Map<String, Value>,
    path: &Path,
) -> Result<(DecoderConfig, Head), Error> {
    let hf = HfConfig { json, path };
    let architecture = hf
        .get("architectures")
        .and_then(|names| names.get(0))
        .and_then(Value::as_str)
        .unwrap_or("(none)");
    let known = NAMES.iter().find_map(|names| match architecture {
        name if name == names.language_model => Some((names.family, Head::LanguageModel)),
        name if name == names.classifier => Some((names.family, Head::Score)),
        _ => None,
    });
    let Some((family, head)) = known else {
        return Err(Error::Architecture {
            path: path.into(),
            architecture: architecture.into(),
            known: NAMES.map(|names| names.language_model).join(", "),
        });
    };
    for key in ["quantization_config", "per_layer_config"] {
        hf.refuse_unless(key, &Value::Null, "null")?;
    }
    let read = match family {
        Family::Gpt2 => gpt2::from_json,
        Family::Llama => llama::from_json,
        Family::Mistral => mistral::from_json,
        Family::Qwen2 => qwen::from_json_2,
        Family::Qwen3 => qwen::from_json_3,
        Family::Gemma => gemma::from_json_1,
        Family::Gemma2 => gemma::from_json_2,
        Family::Gemma3 => gemma::from_json_3,
        Family::GptNeoX => gpt_neox::from_json,
        Family::Phi3 => phi3::from_json,
    };
    Ok((read(&hf)?, head))
}

/// The `config.json` of a model, in the dialect of transformers 4.
pub(crate) fn to_json(config: &DecoderConfig, head: Head, dtype: Dtype) -> Value {
    let names = NAMES.iter().find(|names| names.family == config.family);
    let (model_type, architecture) = match (names, head) {
        (Some(names), Head::LanguageModel) => (names.model_type, names.language_model),
        (Some(names), Head::Score) => (names.model_type, names.classifier),
        (None, _) => ("", ""),
    };
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let mut json = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "pad_token_id": config.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
        "torch_dtype": match dtype {
            Dtype::F32 => "float32",
            Dtype::Bf16 => "bfloat16",
            Dtype::F16 => "float16",
        },
        "use_cache": true,
    });
    if head == Head::Score {
        json["num_labels"] = json!(1);
        json["id2label"] = json!({ "0": "LABEL_0" });
        json["label2id"] = json!({ "LABEL_0": 0 });
    }
    let own = match config.family {
        Family::Gpt2 => gpt2::to_json(config),
        Family::Llama => llama::to_json(config),
        Family::Mistral => mistral::to_json(config),
        Family::Qwen2 | Family::Qwen3 => qwen::to_json(config),
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => gemma::to_json(config),
        Family::GptNeoX => gpt_neox::to_json(config),
        Family::Phi3 => phi3::to_json(config),
    };
    if let (Value::Object(json), Value::Object(own)) = (&mut json, own) {
        json.extend(own);
    }
    json
}

/// Where the parameter `name`, a tensor of `rank` dimensions in memory, stands in a checkpoint of
/// this family.
pub(crate) fn place(config: &DecoderConfig, name: &str, rank: usize) -> Place {
    match config.family {
        Family::Gpt2 => gpt2::place(config, name, rank),
        Family::GptNeoX => gpt_neox::place(config, name, rank),
        Family::Phi3 => phi3::place(config, name, rank),
        _ => same(name, rank),
    }
}

/// The place of a parameter under the name it has here.
fn same(name: &str, rank: usize) -> Place {
    Place::whole(name, rank, name.contains(".embed_"))
}

/// `(2, "self_attn.q_proj", "weight")` of `model.layers.2.self_attn.q_proj.weight`; none for what
/// is in no layer.
fn in_layer(name: &str) -> Option<(&str, &str, &str)> {
    let (index, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    Some((index, part, kind))
}
