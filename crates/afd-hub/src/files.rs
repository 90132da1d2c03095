//! Which files of a repository a model needs, and whether a directory has them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path};

use serde::Deserialize;

use crate::Error;

/// The weights in one file.
const SINGLE: &str = "model.safetensors";

/// What tells the files of weights in several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const CONFIG: &str = "config.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";

/// Settings and tokenizers: text, read by us and by others.
const SMALL: [&str; 12] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    ADAPTER_CONFIG,
];

/// Endings of weights that are pickles.
const PICKLED: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What is fetched of a repository with these `files`, in order: a file of weights comes last, so
/// that a snapshot which has its weights has everything. Shards follow their [`INDEX`].
///
/// # Errors
/// [`Error::Pickled`] or [`Error::NotAModel`] when there is nothing to load.
pub(crate) fn wanted(id: &str, files: &BTreeSet<String>) -> Result<Vec<&'static str>, Error> {
    let has = |name: &str| files.contains(name);
    let missing = |missing| Error::NotAModel {
        id: id.to_owned(),
        missing,
    };
    let adapter = has(ADAPTER_CONFIG) && has(ADAPTER);
    if !has(SINGLE) && !has(INDEX) && !adapter {
        let pickled = |file: &String| PICKLED.iter().any(|end| file.ends_with(end));
        return Err(match files.iter().any(pickled) {
            true => Error::Pickled { id: id.to_owned() },
            false => missing(SINGLE),
        });
    }
    if !has(CONFIG) && !adapter {
        return Err(missing(CONFIG));
    }
    // Who has both means the file in one piece, as transformers does.
    let weights = match has(SINGLE) {
        true => SINGLE,
        false => INDEX,
    };
    let all = SMALL.into_iter().chain([weights, ADAPTER]);
    // Half an adapter is none.
    let use_of = |name| adapter || ![ADAPTER_CONFIG, ADAPTER].contains(&name);
    Ok(all.filter(|name| has(name) && use_of(name)).collect())
}

/// The files that the index at `path` names.
///
/// # Errors
/// [`Error::Index`] when it is no index, or names something that is no safetensors file beside it.
pub(crate) fn shards(id: &str, path: &Path) -> Result<Vec<String>, Error> {
    let refuse = |problem| Error::Index {
        id: id.to_owned(),
        problem,
    };
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let Index { weight_map } = serde_json::from_slice(&text)
        .map_err(|error| refuse(format!("cannot be understood: {error}")))?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(refuse("names no file".to_owned()));
    }
    match shards.iter().find(|shard| !is_plain_safetensors(shard)) {
        Some(shard) => Err(refuse(format!(
            "names `{}`, which is no safetensors file beside it",
            shard.escape_debug()
        ))),
        None => Ok(shards.into_iter().collect()),
    }
}

fn is_plain_safetensors(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(only)), None) if only == name
    );
    let fits = |c: char| c.is_ascii_graphic() && !"\\:/".contains(c);
    plain && name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(fits)
}

/// The files of the model in `dir`, sorted, if all that it takes is there.
pub(crate) fn complete(id: &str, dir: &Path) -> Option<Vec<String>> {
    let has = |name: &str| dir.join(name).is_file();
    let mut files: Vec<String> = SMALL
        .into_iter()
        .filter(|name| has(name))
        .map(str::to_owned)
        .collect();
    let (adapter, config) = (has(ADAPTER_CONFIG), has(CONFIG));
    if has(SINGLE) {
        files.push(SINGLE.to_owned());
    } else if has(INDEX) {
        files.push(INDEX.to_owned());
        files.extend(shards(id, &dir.join(INDEX)).ok()?);
    } else if !adapter {
        return None;
    }
    if adapter {
        files.push(ADAPTER.to_owned());
    }
    files.sort();
    ((config || adapter) && files.iter().all(|name| has(name))).then_some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[&str]) -> BTreeSet<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    const SHARDED: &str = r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors"}}"#;

    #[test]
    fn a_model_is_its_settings_its_tokenizer_and_its_weights() {
        let files = [
            "README.md",
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "modeling_custom.py",
            "onnx/model.onnx",
            "tokenizer.json",
            "config.json",
        ];
        let wanted = wanted("o/n", &set(&files)).unwrap();
        assert_eq!(
            wanted,
            ["config.json", "tokenizer.json", "model.safetensors"]
        );
    }

    #[test]
    fn adapters_and_shards_come_after_the_settings() {
        let files = set(&[ADAPTER, ADAPTER_CONFIG, "tokenizer.json"]);
        let expected = ["tokenizer.json", ADAPTER_CONFIG, ADAPTER];
        assert_eq!(wanted("o/n", &files).unwrap(), expected);
        let half = set(&[CONFIG, SINGLE, ADAPTER_CONFIG, "adapter_model.bin"]);
        assert_eq!(wanted("o/n", &half).unwrap(), [CONFIG, SINGLE]);
        let files = set(&[INDEX, CONFIG, "m-1.safetensors"]);
        assert_eq!(wanted("o/n", &files).unwrap(), [CONFIG, INDEX]);
    }

    #[test]
    fn nothing_to_load_is_told() {
        let error = |files: &[&str]| wanted("o/n", &set(files)).unwrap_err().to_string();
        let pickled = error(&[CONFIG, "pytorch_model.bin"]);
        assert!(pickled.contains("save_pretrained"), "{pickled}");
        let adapter = error(&[CONFIG, ADAPTER_CONFIG, "adapter_model.bin"]);
        assert!(adapter.contains("pickles"), "{adapter}");
        let gguf = error(&[CONFIG, "model.gguf"]);
        assert!(gguf.contains("has no `model.safetensors`"), "{gguf}");
        let bare = error(&["model.safetensors"]);
        assert!(bare.contains("has no `config.json`"), "{bare}");
    }

    #[test]
    fn an_index_names_safetensors_beside_it_and_nothing_else() {
        let shards = |text: &str| {
            let dir = dir(&[(INDEX, text)]);
            shards("o/n", &dir.path().join(INDEX))
        };
        assert_eq!(
            shards(SHARDED).unwrap(),
            ["m-1.safetensors", "m-2.safetensors"]
        );
        for shard in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/x.safetensors",
            "./x.safetensors",
            ".x.safetensors",
            "..",
            "",
            "x.bin",
            "C:x.safetensors",
            "a\\\\x.safetensors",
            "x\\n.safetensors",
            "model.safetensors/",
        ] {
            let text = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
            let error = shards(&text).unwrap_err().to_string();
            assert!(error.contains("no safetensors file beside it"), "{error}");
        }
        for text in ["", "[]", "{}", r#"{"weight_map": {}}"#] {
            assert!(shards(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_is_complete_with_all_its_weights() {
        let complete = |files: &[(&str, &str)]| complete("o/n", dir(files).path());
        assert_eq!(complete(&[]), None);
        assert_eq!(complete(&[(CONFIG, "")]), None);
        assert_eq!(complete(&[(SINGLE, "")]), None);
        let single = complete(&[(SINGLE, ""), (CONFIG, ""), ("README.md", "")]);
        assert_eq!(single.unwrap(), [CONFIG, SINGLE]);

        let config = (CONFIG, "");
        let index = (INDEX, SHARDED);
        let (one, two) = (("m-1.safetensors", ""), ("m-2.safetensors", ""));
        assert_eq!(complete(&[config, index, one]), None);
        assert_eq!(complete(&[config, index, one, two]).unwrap().len(), 4);

        let adapter = (ADAPTER_CONFIG, "");
        assert_eq!(complete(&[config, adapter]), None);
        assert_eq!(complete(&[config, adapter, (SINGLE, "")]), None);
        assert_eq!(complete(&[adapter, (ADAPTER, "")]).unwrap().len(), 2);
    }
}
