//! The special tokens of a decoder, gathered from the files that may name them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::file_error;
use crate::Error;

/// Ids with a meaning of their own.
#[derive(Clone, Debug)]
pub(super) struct SpecialIds {
    /// Never empty; the first one ends answers in training.
    pub(super) eos: Vec<u32>,
    pub(super) pad: Option<u32>,
}

impl SpecialIds {
    pub(super) fn read(dir: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<Self, Error> {
        let config = Keys::read(dir, "tokenizer_config.json")?;
        let map = Keys::read(dir, "special_tokens_map.json")?;
        let generation = Keys::read(dir, "generation_config.json")?;
        let model = Keys::read(dir, "config.json")?;

        let token = |key| -> Result<Option<u32>, Error> {
            match config.token(key, tokenizer)? {
                Some(id) => Ok(Some(id)),
                None => map.token(key, tokenizer),
            }
        };
        let ids = |key| -> Result<Vec<u32>, Error> {
            let ids = generation.ids(key, tokenizer)?;
            if ids.is_empty() {
                model.ids(key, tokenizer)
            } else {
                Ok(ids)
            }
        };

        let mut eos: Vec<u32> = token("eos_token")?.into_iter().collect();
        for id in ids("eos_token_id")? {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        if eos.is_empty() {
            return Err(Error::NoEndToken {
                dir: dir.to_owned(),
            });
        }
        let pad = match token("pad_token")? {
            Some(id) => Some(id),
            None => ids("pad_token_id")?.first().copied(),
        };
        Ok(Self { eos, pad })
    }
}

/// The settings that name one special token each.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Makes special what the settings name, even where `tokenizer.json` does not: it is found in
/// every text, whole, and left out when decoding. So it is in transformers.
///
/// What is no token yet stays none: there is no row for it in the model's embedding.
pub(super) fn mark(dir: &Path, tokenizer: &mut tokenizers::Tokenizer) -> Result<(), Error> {
    let mut tokens = Vec::new();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let settings = Keys::read(dir, name)?;
        let named = NAMED.iter().filter_map(|&key| settings.keys.get(key));
        tokens.extend(named.filter_map(text).map(str::to_owned));
    }
    let added = tokenizer.get_added_tokens_decoder();
    let known = tokens.into_iter().filter_map(|text| {
        let id = tokenizer.token_to_id(&text)?;
        let token = added.get(&id).cloned();
        let token = token.unwrap_or_else(|| AddedToken::from(text, true).normalized(false));
        Some(token.special(true))
    });
    let known: Vec<AddedToken> = known.collect();
    tokenizer
        .add_special_tokens(known)
        .map_err(|e| file_error(&dir.join("tokenizer_config.json"), &*e))?;
    Ok(())
}

/// The text of a token given as such or as `{"content": text}`.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// A JSON file of settings; without keys if it does not exist.
struct Keys {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl Keys {
    fn read(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(keys) => Ok(Self { path, keys }),
            Err(e) => Err(Error::TokenizerFile {
                path,
                message: e.to_string(),
            }),
        }
    }

    /// A token given as text or as `{"content": text}`.
    fn token(
        &self,
        key: &'static str,
        tokenizer: &tokenizers::Tokenizer,
    ) -> Result<Option<u32>, Error> {
        let value = match self.keys.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let Some(text) = text(value) else {
            return Err(self.error(key, "a text or an object with `content`", value));
        };
        match tokenizer.token_to_id(text) {
            Some(id) => Ok(Some(id)),
            None => Err(self.error(key, "a token of tokenizer.json", value)),
        }
    }

    /// Ids given as one number or a list.
    fn ids(&self, key: &'static str, tokenizer: &tokenizers::Tokenizer) -> Result<Vec<u32>, Error> {
        let value = match self.keys.get(key) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(value) => value,
        };
        let list = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let known = |value: &Value| {
            let id = u32::try_from(value.as_u64()?).ok()?;
            tokenizer.id_to_token(id).map(|_| id)
        };
        let ids: Option<Vec<u32>> = list.iter().map(known).collect();
        ids.ok_or_else(|| self.error(key, "an id of tokenizer.json or a list of them", value))
    }

    fn error(&self, key: &'static str, expected: &'static str, got: &Value) -> Error {
        Error::TokenizerKey {
            path: self.path.clone(),
            key,
            expected,
            got: got.to_string(),
        }
    }
}
