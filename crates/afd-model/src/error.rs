//! What can go wrong between a checkpoint on disk and a model in memory.

use std::path::PathBuf;

/// Errors of this crate; every message names the file, the key or tensor, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not valid JSON: {source}")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{path}: architecture `{architecture}` is not supported; this build reads {known}, and the …ForSequenceClassification of each"
    )]
    Architecture {
        path: PathBuf,
        architecture: String,
        known: String,
    },
    #[error("{path}: key `{key}` is {found}, but only {supported} is supported")]
    Option {
        path: PathBuf,
        key: &'static str,
        found: String,
        supported: &'static str,
    },
    #[error("{path}: key `{key}` {problem}")]
    Key {
        path: PathBuf,
        key: &'static str,
        problem: String,
    },
    #[error(
        "{path} is not a readable safetensors file ({source}); it may be truncated: copy or train the checkpoint again"
    )]
    Safetensors {
        path: PathBuf,
        source: safetensors::SafeTensorError,
    },
    #[error("{path} holds no tensor `{name}`; the checkpoint does not fit its config.json")]
    MissingTensor { path: PathBuf, name: String },
    #[error(
        "{path}: tensor `{name}` has shape {found:?}, config.json asks for {expected:?}; the checkpoint does not fit its config.json"
    )]
    Shape {
        path: PathBuf,
        name: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error(
        "{path} also holds `{name}`, for which config.json has no place; the checkpoint does not fit its config.json"
    )]
    UnexpectedTensor { path: PathBuf, name: String },
    #[error("{path}: {problem}")]
    ScoreHead { path: PathBuf, problem: String },
    #[error(
        "{path} names the file `{shard}`; the files of a checkpoint stand beside its index, and nothing else is read"
    )]
    ShardPath { path: PathBuf, shard: String },
    #[error(
        "{path} holds its weights as pickles (pytorch_model.bin), which run code when they are read; convert them, in transformers by AutoModel.from_pretrained(dir).save_pretrained(dir), which writes model.safetensors"
    )]
    Pickled { path: PathBuf },
    #[error(
        "the tokenizer has {tokens} ids, the model's embedding only {vocab_size} rows; take the tokenizer the checkpoint was made with"
    )]
    Vocabulary { tokens: usize, vocab_size: usize },
    #[error("{path}: tensor `{name}` is stored as {dtype}; F32, F16 and BF16 are read")]
    Dtype {
        path: PathBuf,
        name: String,
        dtype: String,
    },
    #[error(
        "a prompt of {prompt} tokens and {new} new ones exceed the model's context of {context}; shorten the prompt or lower max_new_tokens"
    )]
    ContextLength {
        prompt: usize,
        new: usize,
        context: usize,
    },
    #[error("a prompt holds no tokens; the model needs at least one to continue from")]
    EmptyPrompt,
    #[error(
        "token id {id} is not below the model's vocabulary of {vocab_size}; the tokenizer belongs to another model"
    )]
    TokenId { id: u32, vocab_size: usize },
    #[error("the logits are not finite; the checkpoint is damaged or its training diverged")]
    NonFinite,
    #[error("the machine's own memory cannot be computed in: {0}")]
    Host(Box<afd_backend::DeviceError>),
    #[error("the adapter's `{key}` {problem}")]
    Lora { key: &'static str, problem: String },
    #[error(
        "{path}: `{key}` is {value}, which is not supported; merge the adapter with PEFT (merge_and_unload) and load the whole model"
    )]
    AdapterOption {
        path: PathBuf,
        key: String,
        value: String,
    },
    #[error(
        "one model knows {own} tokens and the other {other}; two models can be set against each other if their checkpoints have one vocabulary"
    )]
    Vocabularies { own: usize, other: usize },
    #[error(
        "one model has `{key}` {own} and the other {other}; weights can be set against each other if they are of one shape"
    )]
    Shapes {
        key: String,
        own: String,
        other: String,
    },
    #[error("sampling key `{key}` is {found}; it must be {expected}")]
    Sampling {
        key: &'static str,
        found: String,
        expected: &'static str,
    },
}
