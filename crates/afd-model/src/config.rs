//! A decoder's typed options, and the way from and to Hugging Face's `config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, llama};

/// Which Hugging Face family a checkpoint belongs to: decides weight names and `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 and 2 style decoders; RMSNorm, rotary positions, SwiGLU.
    Llama,
}

/// The shape of a decoder, whatever its family.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// The family the checkpoint came from and will be written as.
    pub family: Family,
    /// `V`: rows of the embedding.
    pub vocab_size: usize,
    /// `D`: width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// `H`: query heads.
    pub num_attention_heads: usize,
    /// `K`: key/value heads; divides `H`.
    pub num_key_value_heads: usize,
    /// `d`: width of a head.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// Padding token, if the checkpoint names one.
    pub pad_token_id: Option<u32>,
    /// First token of a sequence, if the checkpoint names one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

/// What stands on top of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Next-token logits: `…ForCausalLM`.
    LanguageModel,
    /// One score per sequence: `…ForSequenceClassification` with `num_labels = 1`.
    Score,
}

impl DecoderConfig {
    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// When the file is missing or malformed, the architecture is unknown, or it asks for
    /// something this decoder does not do: never silently ignored.
    pub fn load(dir: &Path) -> Result<(Self, Head), Error> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let json: Map<String, Value> =
            serde_json::from_str(&text).map_err(|source| Error::Json {
                path: path.clone(),
                source,
            })?;
        let architecture = json
            .get("architectures")
            .and_then(|names| names.get(0))
            .and_then(Value::as_str)
            .unwrap_or("(none)");
        let head = match architecture {
            "LlamaForCausalLM" => Head::LanguageModel,
            "LlamaForSequenceClassification" => Head::Score,
            _ => {
                return Err(Error::Architecture {
                    path,
                    architecture: architecture.into(),
                });
            }
        };
        let config = llama::from_json(&HfConfig {
            json: &json,
            path: &path,
        })?;
        config.check(&path)?;
        Ok((config, head))
    }

    /// The `config.json` of a model with this decoder and `head`.
    pub fn to_json(&self, head: Head) -> Value {
        match self.family {
            Family::Llama => llama::to_json(self, head),
        }
    }

    /// Refuses a tokenizer with more ids than the embedding has rows.
    ///
    /// # Errors
    /// [`Error::Vocabulary`].
    pub fn check_vocabulary(&self, tokens: usize) -> Result<(), Error> {
        match tokens > self.vocab_size {
            true => Err(Error::Vocabulary {
                tokens,
                vocab_size: self.vocab_size,
            }),
            false => Ok(()),
        }
    }

    /// Refuses shapes no model can have; `path` is named in the complaint.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Error> {
        let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
        let rules = [
            (
                kv > 0 && heads.is_multiple_of(kv),
                "num_key_value_heads",
                format!("is {kv}, which does not divide num_attention_heads = {heads}"),
            ),
            (
                self.head_dim > 0 && self.head_dim.is_multiple_of(2),
                "head_dim",
                format!("is {}; rotary positions need an even width", self.head_dim),
            ),
            (
                (1..=MAX_CONTEXT).contains(&self.max_position_embeddings),
                "max_position_embeddings",
                format!(
                    "is {}; it must be between 1 and {MAX_CONTEXT}",
                    self.max_position_embeddings
                ),
            ),
        ];
        match rules.into_iter().find(|(fits, ..)| !fits) {
            Some((_, key, problem)) => Err(Error::Key {
                path: path.into(),
                key,
                problem,
            }),
            None => Ok(()),
        }
    }
}

/// Longest context, in tokens: the rotary tables are computed for all of it.
const MAX_CONTEXT: usize = 1 << 20;

/// A `config.json` with its path, so that every complaint names the file and the key.
pub(crate) struct HfConfig<'a> {
    pub(crate) json: &'a Map<String, Value>,
    pub(crate) path: &'a Path,
}

impl HfConfig<'_> {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn required(&self, key: &'static str) -> Result<usize, Error> {
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => Err(self.problem(key, "is missing".into())),
        }
    }

    pub(crate) fn optional(&self, key: &'static str) -> Result<Option<usize>, Error> {
        self.get(key)
            .map(|value| {
                let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                number
                    .map(|n| n as usize)
                    .ok_or_else(|| self.problem(key, format!("is {value}, not a whole number")))
            })
            .transpose()
    }

    pub(crate) fn float(&self, key: &'static str, default: f64) -> Result<f64, Error> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_f64()
                .ok_or_else(|| self.problem(key, format!("is {value}, not a number")))
        })
    }

    pub(crate) fn flag(&self, key: &'static str, default: bool) -> Result<bool, Error> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| self.problem(key, format!("is {value}, not true or false")))
        })
    }

    /// Refuses `key` unless it is absent or equal to `only`.
    pub(crate) fn refuse_unless(
        &self,
        key: &'static str,
        only: &Value,
        supported: &'static str,
    ) -> Result<(), Error> {
        match self.get(key) {
            Some(found) if found != only => Err(Error::Option {
                path: self.path.into(),
                key,
                found: found.to_string(),
                supported,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn problem(&self, key: &'static str, problem: String) -> Error {
        Error::Key {
            path: self.path.into(),
            key,
            problem,
        }
    }
}
