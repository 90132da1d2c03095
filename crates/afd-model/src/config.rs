//! A decoder's shape, whatever the family it belongs to.

use std::path::Path;

use afd_backend::Dtype;
use serde_json::Value;

use crate::{Error, Rope, families};

/// Which Hugging Face family a checkpoint belongs to: decides weight names and `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is told in its file below `families/`")]
pub enum Family {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    GptNeoX,
    Phi3,
}

/// The shape of a decoder: all that its layers can be made of, and what its family chose.
///
/// [`DecoderConfig::llama`] is a plain one to change.
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
    /// How rows are normalised.
    pub norm: NormKind,
    /// Added to the mean square, or to the variance.
    pub norm_eps: f64,
    /// Where a layer adds to the residual stream.
    pub residual: Residual,
    /// Between the two halves of the feed-forward block.
    pub activation: Activation,
    /// Whether the activation multiplies a second projection (SwiGLU, GeGLU).
    pub gated_mlp: bool,
    /// Biases of query, key and value.
    pub qkv_bias: bool,
    /// Bias of attention's output.
    pub attention_output_bias: bool,
    /// Biases of the feed-forward block.
    pub mlp_bias: bool,
    /// Whether the heads of queries and keys are normalised before they are turned.
    pub qk_norm: bool,
    /// Turned positions; `None`: learned ones, added to the embeddings.
    pub rope: Option<Rope>,
    /// What layers with a window turn by, where that is something else.
    pub local_rope: Option<Rope>,
    /// How many keys, its own among them, a query of a layer with a window sees.
    pub sliding_window: Option<usize>,
    /// Which layers have the window; layers beyond its end have none.
    pub sliding_layers: Vec<bool>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f64,
    /// Attention's scores are products divided by the root of this, most often the head's width.
    pub query_pre_attn_scalar: f64,
    /// Soft cap of attention's scores.
    pub attn_logit_softcapping: Option<f64>,
    /// Soft cap of the logits.
    pub final_logit_softcapping: Option<f64>,
    /// Longest sequence, in tokens, before any scaling of positions.
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

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// By their root mean square, times a weight.
    Rms,
    /// The same times one more than the weight.
    RmsOffset,
    /// By mean and standard deviation, times a weight, plus a bias.
    Layer,
}

/// Where a layer adds to the residual stream `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// `x += attention(norm(x))`, then `x += mlp(norm(x))`.
    Sequential,
    /// The same with a norm after attention and after the feed-forward block too.
    Sandwich,
    /// `x += attention(norm(x)) + mlp(norm(x))`, each with a norm of its own.
    Parallel,
}

/// What stands between the two halves of the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·sigmoid(x)`.
    Silu,
    /// `x·Φ(x)`.
    Gelu,
    /// The same by its approximation with tanh.
    GeluTanh,
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
    /// A plain decoder as Llama has it, of one layer, one head and no size to speak of.
    pub fn llama(head_dim: usize) -> Self {
        Self {
            family: Family::Llama,
            vocab_size: 1,
            hidden_size: head_dim,
            intermediate_size: head_dim,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim,
            norm: NormKind::Rms,
            norm_eps: 1e-6,
            residual: Residual::Sequential,
            activation: Activation::Silu,
            gated_mlp: true,
            qkv_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope: Some(Rope::plain(head_dim, 10_000.0)),
            local_rope: None,
            sliding_window: None,
            sliding_layers: Vec::new(),
            embedding_scale: 1.0,
            query_pre_attn_scalar: head_dim as f64,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            pad_token_id: None,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
        }
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// When the file is missing or malformed, the architecture is unknown, or it sets an option of
    /// its family that this decoder does not have.
    pub fn load(dir: &Path) -> Result<(Self, Head), Error> {
        Self::load_file(&dir.join("config.json"))
    }

    pub(crate) fn load_file(path: &Path) -> Result<(Self, Head), Error> {
        let json = crate::read_json(path)?;
        let (config, head) = families::from_json(&json, path)?;
        config.check(path)?;
        Ok((config, head))
    }

    /// The `config.json` of a model with this decoder and `head`, stored in `dtype`, in the
    /// dialect of transformers 4, which version 5 reads as well.
    pub fn to_json(&self, head: Head, dtype: Dtype) -> Value {
        families::to_json(self, head, dtype)
    }

    /// The `generation_config.json` of a policy.
    pub(crate) fn generation_json(&self) -> Value {
        serde_json::json!({
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids,
            "pad_token_id": self.pad_token_id,
            // Without these transformers would cut the distribution to its 50 likeliest tokens.
            "do_sample": true,
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
        })
    }

    /// Longest sequence, in tokens.
    pub fn context(&self) -> usize {
        let scaled = self.rope.as_ref().and_then(Rope::context);
        scaled.unwrap_or(self.max_position_embeddings)
    }

    /// The length up to which the numbers of a text's beginning do not depend on how long the text is,
    /// or the longest beside it; `None` where they never do.
    pub(crate) fn fixed_until(&self) -> Option<usize> {
        let ropes = self.rope.iter().chain(&self.local_rope);
        ropes.filter_map(Rope::fixed_until).min()
    }

    /// How many numbers a layer makes of a token, about: queries, keys, values and what attention makes
    /// of them; gate, up and their product.
    pub(crate) fn kept_by_a_layer(&self) -> usize {
        4 * self.hidden_size + 3 * self.intermediate_size
    }

    /// The window of layer `index`.
    pub(crate) fn window(&self, index: usize) -> Option<usize> {
        let slides = self.sliding_layers.get(index).copied().unwrap_or(false);
        self.sliding_window.filter(|_| slides)
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
        let ropes = self.rope.iter().chain(&self.local_rope);
        let ropes: Vec<usize> = ropes.map(|rope| rope.dim).collect();
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        let wrong = sizes
            .into_iter()
            .find(|(_, size)| !(1..=MAX_SIZE).contains(size));
        if let Some((key, size)) = wrong {
            return Err(Error::Key {
                path: path.into(),
                key,
                problem: format!("is {size}; it must be between 1 and {MAX_SIZE}"),
            });
        }
        let caps = [self.attn_logit_softcapping, self.final_logit_softcapping];
        let rules = [
            (
                heads.is_multiple_of(kv),
                "num_key_value_heads",
                format!("is {kv}, which does not divide num_attention_heads = {heads}"),
            ),
            (
                caps.iter().flatten().all(|cap| *cap > 0.0),
                "attn_logit_softcapping, final_logit_softcapping",
                format!("are {caps:?}; a soft cap is above 0"),
            ),
            (
                ropes
                    .iter()
                    .all(|d| *d > 0 && d.is_multiple_of(2) && *d <= self.head_dim),
                "head_dim",
                format!(
                    "is {}, of which {ropes:?} numbers are turned; they are turned in pairs",
                    self.head_dim
                ),
            ),
            (
                self.sliding_window != Some(0),
                "sliding_window",
                "is 0; a token sees itself at least".to_owned(),
            ),
            (
                self.context() <= MAX_SIZE,
                "max_position_embeddings",
                format!(
                    "is {} and its scaling makes a context of {}; the longest is {MAX_SIZE}",
                    self.max_position_embeddings,
                    self.context()
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

/// The largest size of anything: beyond it a file is damaged or means harm. Tables of angles are
/// computed for all of a context.
pub(crate) const MAX_SIZE: usize = 1 << 20;
