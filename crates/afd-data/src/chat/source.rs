//! Where a checkpoint keeps its chat template, and the special tokens it may name.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// The tokens that transformers hands to a template.
const TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

const JINJA: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const KEY: &str = "chat_template";

/// A template's text and what belongs to it.
#[derive(Debug)]
pub(super) struct Source {
    /// The file, and the key within it, for messages.
    pub(super) origin: String,
    pub(super) text: String,
    /// `bos_token` and the like, as far as they are named.
    pub(super) tokens: Map<String, Value>,
}

/// Finds the template of a checkpoint: `chat_template.jinja`, `chat_template.json`, then the key
/// `chat_template` of `tokenizer_config.json`.
///
/// `read` gives a file of the checkpoint, or nothing if it has none of that name.
pub(super) fn find(
    dir: &Path,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Option<Source>, Error> {
    let config = keys(dir, CONFIG, &read)?;
    let found = match read(JINJA)? {
        Some(bytes) => Some((JINJA, utf8(dir, JINJA, bytes)?)),
        None => match text(dir, JSON, &keys(dir, JSON, &read)?)? {
            Some(text) => Some((JSON, text)),
            None => text(dir, CONFIG, &config)?.map(|text| (CONFIG, text)),
        },
    };
    let Some((name, text)) = found else {
        return Ok(None);
    };
    let path = dir.join(name);
    let origin = match name {
        JINJA => path.display().to_string(),
        _ => format!("{} (`{KEY}`)", path.display()),
    };
    let special = keys(dir, SPECIAL, &read)?;
    let token = |key: &&str| {
        let value = token(config.get(*key)).or_else(|| token(special.get(*key)))?;
        Some(((*key).to_owned(), value))
    };
    Ok(Some(Source {
        origin,
        text,
        tokens: TOKENS.iter().filter_map(token).collect(),
    }))
}

fn utf8(dir: &Path, name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|e| Error::TokenizerFile {
        path: dir.join(name),
        message: format!("invalid UTF-8 after byte {}", e.utf8_error().valid_up_to()),
    })
}

fn keys(
    dir: &Path,
    name: &str,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Map<String, Value>, Error> {
    match read(name)? {
        None => Ok(Map::new()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::TokenizerFile {
            path: dir.join(name),
            message: e.to_string(),
        }),
    }
}

/// The template at the key: a text, or the one called `default` in a list.
fn text(dir: &Path, name: &str, keys: &Map<String, Value>) -> Result<Option<String>, Error> {
    let wrong = |got: &Value| Error::TokenizerKey {
        path: dir.join(name),
        key: KEY,
        expected: "a text, or a list of {name, template} with the name `default`",
        got: got.to_string().chars().take(200).collect(),
    };
    match keys.get(KEY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(list @ Value::Array(entries)) => {
            let default = entries.iter().find(|entry| entry["name"] == "default");
            let text = default.and_then(|entry| entry["template"].as_str());
            text.map(|text| Some(text.to_owned()))
                .ok_or_else(|| wrong(list))
        }
        Some(other) => Err(wrong(other)),
    }
}

/// A token given as text or as `{"content": text}`.
fn token(value: Option<&Value>) -> Option<Value> {
    let value = value?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str());
    text.map(Value::from)
}
