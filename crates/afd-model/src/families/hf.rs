//! A `config.json` of Hugging Face's, read key by key, so that every complaint names file and key.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    Activation, DecoderConfig, Error, Family, NormKind, Rope, RopeScaling, config::MAX_SIZE,
};

/// The content of a `config.json`, and where it was read.
pub(super) struct HfConfig<'a> {
    pub(super) json: &'a Map<String, Value>,
    pub(super) path: &'a Path,
}

impl HfConfig<'_> {
    /// A key's value; `null` counts as none.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// A size that has to be told, and that a model can have.
    pub(super) fn size(&self, key: &'static str) -> Result<usize, Error> {
        match self.optional(key)? {
            None => Err(self.problem(key, "is missing".into())),
            Some(size) if (1..=MAX_SIZE).contains(&size) => Ok(size),
            Some(size) => Err(self.problem(
                key,
                format!("is {size}; it must be between 1 and {MAX_SIZE}"),
            )),
        }
    }

    /// A number above 0.
    pub(super) fn positive(&self, key: &'static str, default: f64) -> Result<f64, Error> {
        match self.float(key, default)? {
            number if number > 0.0 => Ok(number),
            number => Err(self.problem(key, format!("is {number}; it must be above 0"))),
        }
    }

    /// A key for which silence means `default`, and `null` none.
    pub(super) fn unless_null(
        &self,
        key: &'static str,
        default: Option<usize>,
    ) -> Result<Option<usize>, Error> {
        match self.json.contains_key(key) {
            true => self.optional(key),
            false => Ok(default),
        }
    }

    pub(super) fn optional(&self, key: &'static str) -> Result<Option<usize>, Error> {
        self.get(key)
            .map(|value| {
                let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                number
                    .map(|n| n as usize)
                    .ok_or_else(|| self.problem(key, format!("is {value}, not a whole number")))
            })
            .transpose()
    }

    pub(super) fn float(&self, key: &'static str, default: f64) -> Result<f64, Error> {
        Ok(self.optional_float(key)?.unwrap_or(default))
    }

    pub(super) fn optional_float(&self, key: &'static str) -> Result<Option<f64>, Error> {
        self.get(key)
            .map(|value| {
                let problem = || self.problem(key, format!("is {value}, not a number"));
                value.as_f64().ok_or_else(problem)
            })
            .transpose()
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool, Error> {
        self.get(key).map_or(Ok(default), |value| {
            let problem = || self.problem(key, format!("is {value}, not true or false"));
            value.as_bool().ok_or_else(problem)
        })
    }

    /// Refuses `key` unless it is absent or equal to `only`.
    pub(super) fn refuse_unless(
        &self,
        key: &'static str,
        only: &Value,
        supported: &'static str,
    ) -> Result<(), Error> {
        match self.get(key) {
            Some(found) if found != only => Err(self.unsupported(key, found, supported)),
            _ => Ok(()),
        }
    }

    /// Refuses `key` unless it is absent or false.
    pub(super) fn refuse(&self, key: &'static str) -> Result<(), Error> {
        self.refuse_unless(key, &json!(false), "false")
    }

    pub(super) fn unsupported(
        &self,
        key: &'static str,
        found: &Value,
        supported: &'static str,
    ) -> Error {
        Error::Option {
            path: self.path.into(),
            key,
            found: found.to_string(),
            supported,
        }
    }

    pub(super) fn problem(&self, key: &'static str, problem: String) -> Error {
        Error::Key {
            path: self.path.into(),
            key,
            problem,
        }
    }

    /// The activation that `key` names, or `default`.
    pub(super) fn activation(
        &self,
        key: &'static str,
        default: Activation,
    ) -> Result<Activation, Error> {
        let Some(found) = self.get(key) else {
            return Ok(default);
        };
        match found.as_str() {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            _ => Err(self.unsupported(
                key,
                found,
                "\"silu\", \"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"",
            )),
        }
    }

    /// The shape that most families spell alike, over Llama's choices and its values for what is
    /// not said.
    pub(super) fn llama_like(&self, family: Family) -> Result<DecoderConfig, Error> {
        let hidden_size = self.size("hidden_size")?;
        let num_attention_heads = self.size("num_attention_heads")?;
        let head_dim = self.optional("head_dim")?;
        let head_dim = head_dim.unwrap_or(hidden_size / num_attention_heads);
        let plain = DecoderConfig::llama(head_dim);
        let config = DecoderConfig {
            family,
            vocab_size: self.size("vocab_size")?,
            hidden_size,
            intermediate_size: self.size("intermediate_size")?,
            num_hidden_layers: self.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: self
                .optional("num_key_value_heads")?
                .unwrap_or(num_attention_heads),
            norm_eps: self.float("rms_norm_eps", 1e-6)?,
            max_position_embeddings: self.size("max_position_embeddings")?,
            ..plain
        };
        self.tokens(config)
    }

    /// The width of a head where heads share the model's width, by the key that counts them.
    pub(super) fn head_dim(&self, key: &'static str, hidden_size: usize) -> Result<usize, Error> {
        match self.size(key)? {
            heads if hidden_size.is_multiple_of(heads) => Ok(hidden_size / heads),
            heads => Err(self.problem(
                key,
                format!("is {heads}, which does not divide the width of {hidden_size}"),
            )),
        }
    }

    /// How many heads keys and values have; what families mean by silence differs.
    pub(super) fn kv_heads(&self, heads: usize, default: usize) -> Result<usize, Error> {
        let told = self.unless_null("num_key_value_heads", Some(default))?;
        Ok(told.unwrap_or(heads))
    }

    /// `config` with what every family spells alike: special tokens, tied heads, initialisation.
    pub(super) fn tokens(&self, config: DecoderConfig) -> Result<DecoderConfig, Error> {
        Ok(DecoderConfig {
            tie_word_embeddings: self.flag("tie_word_embeddings", config.tie_word_embeddings)?,
            initializer_range: self.float("initializer_range", 0.02)?,
            // Old conversions say −1 for none.
            pad_token_id: match self.get("pad_token_id").and_then(Value::as_i64) {
                Some(-1) => None,
                _ => self.optional("pad_token_id")?.map(|id| id as u32),
            },
            bos_token_id: self.optional("bos_token_id")?.map(|id| id as u32),
            eos_token_ids: match self.get("eos_token_id") {
                Some(Value::Array(ids)) => ids
                    .iter()
                    .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                    .collect::<Option<_>>()
                    .ok_or_else(|| self.problem("eos_token_id", "is not a list of ids".into()))?,
                _ => self
                    .optional("eos_token_id")?
                    .map(|id| id as u32)
                    .into_iter()
                    .collect(),
            },
            ..config
        })
    }

    /// Which layers have a window, where `config.json` lists the kinds of layers; none where it
    /// does not.
    pub(super) fn sliding_layers(&self, layers: usize) -> Result<Option<Vec<bool>>, Error> {
        const KEY: &str = "layer_types";
        let Some(list) = self.get(KEY) else {
            return Ok(None);
        };
        let kinds = list.as_array().into_iter().flatten();
        let kinds: Option<Vec<bool>> = kinds
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            })
            .collect();
        match kinds {
            Some(kinds) if kinds.len() == layers => Ok(Some(kinds)),
            _ => Err(self.unsupported(
                KEY,
                list,
                "a list of \"full_attention\" and \"sliding_attention\", one for each layer",
            )),
        }
    }

    /// How positions are turned, in either dialect: `rope_theta` and `rope_scaling` (transformers
    /// 4), or `rope_parameters` (5).
    pub(super) fn rope(&self, silent: &RopeDefaults) -> Result<Rope, Error> {
        if silent.share.is_none() {
            self.refuse_unless("partial_rotary_factor", &json!(1.0), "1.0")?;
        }
        let scaling = self.get("rope_scaling");
        match self.get("rope_parameters") {
            Some(_) if scaling.is_some() => Err(self.problem(
                "rope_scaling",
                "stands beside rope_parameters, which says the same: remove one of them".into(),
            )),
            Some(found) => self.rope_by("rope_parameters", found, silent),
            None => self.rope_by("rope_scaling", scaling.unwrap_or(&Value::Null), silent),
        }
    }

    /// The same by one object, `found` under `key`.
    pub(super) fn rope_by(
        &self,
        key: &'static str,
        found: &Value,
        silent: &RopeDefaults,
    ) -> Result<Rope, Error> {
        let refused = || {
            let kinds = "null, or an object with a rope_type of \"default\", \"linear\", \
                         \"dynamic\" or \"llama3\" and the numbers that belong to it,";
            self.unsupported(key, found, kinds)
        };
        let none = Map::new();
        let object = match found {
            Value::Null => &none,
            Value::Object(object) => object,
            _ => return Err(refused()),
        };
        let kind = object.get("rope_type").or_else(|| object.get("type"));
        let kind = kind.map_or(Some("default"), Value::as_str);
        let own: &[&str] = match kind {
            Some("default") => &[],
            Some("linear") => &["factor"],
            Some("dynamic") => &["factor", "original_max_position_embeddings"],
            Some("llama3") => &[
                "factor",
                "low_freq_factor",
                "high_freq_factor",
                "original_max_position_embeddings",
            ],
            _ => return Err(refused()),
        };
        let shared = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let known = |name: &String| shared.contains(&name.as_str()) || own.contains(&name.as_str());
        if !object.keys().all(known) {
            return Err(refused());
        }

        let number = |name: &str, fits: &dyn Fn(f64) -> bool| match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_f64().filter(|number| fits(*number));
                number.map(Some).ok_or_else(refused)
            }
        };
        let factor = || number("factor", &|factor| factor >= 1.0)?.ok_or_else(refused);
        let positive = |name| number(name, &|number| number > 0.0);
        let original = || {
            let name = "original_max_position_embeddings";
            let whole = |tokens: f64| tokens >= 1.0 && tokens.fract() == 0.0 && tokens < 1e9;
            Ok::<_, Error>(number(name, &whole)?.map_or(silent.positions, |n| n as usize))
        };
        let scaling = match kind {
            Some("linear") => RopeScaling::Linear { factor: factor()? },
            // transformers knows no other original length than the model's.
            Some("dynamic") if original()? != silent.positions => return Err(refused()),
            Some("dynamic") => RopeScaling::Dynamic {
                factor: factor()?,
                original: silent.positions,
            },
            Some("llama3") => {
                let low = positive("low_freq_factor")?.ok_or_else(refused)?;
                let high = number("high_freq_factor", &|high| high > low)?;
                RopeScaling::Llama3 {
                    factor: factor()?,
                    low_freq_factor: low,
                    high_freq_factor: high.ok_or_else(refused)?,
                    original: original()?,
                }
            }
            _ => RopeScaling::Default,
        };
        let share = number("partial_rotary_factor", &|share| {
            share == 1.0 || silent.share.is_some() && share > 0.0 && share < 1.0
        })?;
        let share = share.or(silent.share).unwrap_or(1.0);
        Ok(Rope {
            dim: (silent.head_dim as f64 * share) as usize,
            theta: positive("rope_theta")?.unwrap_or(silent.theta),
            scaling,
        })
    }
}

/// What holds for turned positions where `config.json` does not tell.
pub(super) struct RopeDefaults {
    pub(super) head_dim: usize,
    /// How much of a head is turned, in families that turn a part of it.
    pub(super) share: Option<f64>,
    pub(super) theta: f64,
    pub(super) positions: usize,
}

impl RopeDefaults {
    /// Whole heads, turned by `rope_theta` or this base.
    pub(super) fn new(
        hf: &HfConfig<'_>,
        config: &DecoderConfig,
        theta: f64,
    ) -> Result<Self, Error> {
        Ok(Self {
            head_dim: config.head_dim,
            share: None,
            theta: hf.positive("rope_theta", theta)?,
            positions: config.max_position_embeddings,
        })
    }
}

/// The share of a head that is turned, so that `head_dim` times it is not just below `dim`.
pub(super) fn share(dim: usize, head_dim: usize) -> f64 {
    let share = dim as f64 / head_dim as f64;
    match (share * head_dim as f64) as usize {
        found if found < dim => share.next_up(),
        _ => share,
    }
}

/// A number as JSON, without a point where it needs none.
pub(super) fn plain_number(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => json!(number as i64),
        false => json!(number),
    }
}

/// What most families spell alike, over what all do.
pub(super) fn llama_like_json(config: &DecoderConfig) -> Value {
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let mut json = json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": activation,
        "max_position_embeddings": config.max_position_embeddings,
        "attention_dropout": 0.0,
    });
    if config.norm != NormKind::Layer {
        json["rms_norm_eps"] = json!(config.norm_eps);
    }
    if let Some(rope) = &config.rope {
        json["rope_theta"] = json!(rope.theta);
        json["rope_scaling"] = rope_scaling(rope);
    }
    json
}

/// `rope_scaling` of transformers 4.
pub(super) fn rope_scaling(rope: &Rope) -> Value {
    match rope.scaling {
        RopeScaling::Default => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor, .. } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original,
        }),
    }
}

/// `layer_types`, one for each layer.
pub(super) fn layer_types(config: &DecoderConfig) -> Value {
    let kinds = (0..config.num_hidden_layers).map(|index| match config.window(index) {
        Some(_) => "sliding_attention",
        None => "full_attention",
    });
    json!(kinds.collect::<Vec<_>>())
}
