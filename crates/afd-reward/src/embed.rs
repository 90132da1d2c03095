//! Embeddings of answers by the initial policy, computed once and kept.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::{
    DialogueForm, TokenRow, Tokenizer, encode_all,
    records::{JsonlReader, PreferenceRow},
};
use afd_model::CausalLm;
use afd_stage::{StageContext, source_files};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Error, objective::sequence};

/// The file of embeddings in the stage's directory.
pub const EMBEDDINGS: &str = "embeddings.safetensors";

/// Answers embedded between two progress reports.
const AT_A_TIME: usize = 1024;

/// Which text an embedding is of: a hash of prompt and answer.
type Key = [u8; 16];

fn key(prompt: &str, answer: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(prompt.len() as u64).to_le_bytes());
    hasher.update(prompt.as_bytes());
    hasher.update(answer.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

/// A hash of what embeddings depend on of a model's directory: its weights, shape, tokenizer and
/// template. What stages write beside them does not count.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprint(model: &Path) -> Result<String, Error> {
    let io = |source| afd_data::Error::io("read", model)(source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(model).map_err(io)? {
        let name = entry
            .map_err(io)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let ours = ["manifest.json", "summary.json"].contains(&&name[..]);
        let ends = [".safetensors", ".json", ".jinja"];
        if !ours && ends.iter().any(|end| name.ends_with(end)) {
            files.push(name);
        }
    }
    let artifact = source_files("model", model, &files)?;
    Ok(artifact.fingerprint().to_owned())
}

/// Embeds every answer of some files of pairs, each text once, as the reward model reads it: prompt,
/// answer, end token; the hidden state of the last one. Answers over `max_length` tokens are left
/// out. The file knows the texts by a hash of their content, and the model by its [`fingerprint`],
/// so that it cannot be taken for another's.
///
/// # Errors
/// On unreadable inputs, or when the model answers NaN.
pub fn run(
    model: &Path,
    pairs: &[PathBuf],
    max_length: usize,
    batch_size: usize,
    form: DialogueForm,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(model, form)?;
    let lm = CausalLm::load(model, placement)?;
    let max_length = max_length.min(lm.config().context());
    let mut texts: BTreeMap<Key, (String, String)> = BTreeMap::new();
    for path in pairs {
        for row in JsonlReader::<PreferenceRow>::open(path)? {
            let row = row?;
            let rejected_prompt = row.rejected_prompt().to_owned();
            for (prompt, answer) in [(row.prompt, row.chosen), (rejected_prompt, row.rejected)] {
                texts
                    .entry(key(&prompt, &answer))
                    .or_insert((prompt, answer));
            }
        }
    }
    let (mut keys, mut values, mut width) = (Vec::new(), Vec::new(), 0);
    let texts: Vec<_> = texts.into_iter().collect();
    let mut done = 0;
    for chunk in texts.chunks(AT_A_TIME) {
        let read = encode_all(chunk, |(_, (prompt, answer))| {
            TokenRow::joined(&tokenizer, prompt, answer, max_length)
        })?;
        let mut rows = Vec::new();
        for ((key, _), row) in chunk.iter().zip(read) {
            if let Some(row) = row {
                keys.extend(key);
                rows.push(row);
            }
        }
        let sequences: Vec<_> = rows.iter().map(sequence).collect();
        for embedding in lm.model.embed_all(&sequences, batch_size)? {
            width = embedding.len();
            values.extend(embedding.into_iter().flat_map(f32::to_le_bytes));
        }
        ctx.add_tokens(rows.iter().map(|row| row.ids.len() as u64).sum());
        done += chunk.len() as u64;
        ctx.progress(done, texts.len() as u64, "answer", "");
    }
    let count = keys.len() / size_of::<Key>();
    let path = ctx.dir().join(EMBEDDINGS);
    let damaged = |source| afd_model::Error::Safetensors {
        path: path.clone(),
        source,
    };
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(damaged);
    let tensors = [
        (
            "keys",
            view(Dtype::U8, vec![count, size_of::<Key>()], &keys)?,
        ),
        ("embeddings", view(Dtype::F32, vec![count, width], &values)?),
    ];
    let metadata = HashMap::from([(MODEL.to_owned(), fingerprint(model)?)]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(damaged)?;
    ctx.write(EMBEDDINGS, &bytes)?;
    let left_out = texts.len() - count;
    let summary = serde_json::json!({ "answers": count, "dropped_too_long": left_out });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// Where the file says which model it is of.
const MODEL: &str = "model";

/// Embeddings by text.
pub(crate) struct Embeddings {
    by_text: HashMap<Key, Vec<f32>>,
}

impl Embeddings {
    /// Reads what [`run`] wrote with the model whose [`fingerprint`] is given.
    ///
    /// # Errors
    /// [`Error::OtherEmbeddings`] when they are of another model; when the file is missing or
    /// damaged.
    pub(crate) fn open(path: &Path, model: &str) -> Result<Self, Error> {
        let damaged = |source| afd_model::Error::Safetensors {
            path: path.into(),
            source,
        };
        let bytes = std::fs::read(path).map_err(afd_data::Error::io("read", path))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let found = metadata.metadata().as_ref().and_then(|all| all.get(MODEL));
        if found.map(String::as_str) != Some(model) {
            return Err(Error::OtherEmbeddings { path: path.into() });
        }
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let keys = file.tensor("keys").map_err(damaged)?;
        let values = file.tensor("embeddings").map_err(damaged)?;
        let width = values.shape().last().copied().unwrap_or(0).max(1);
        let numbers = |bytes: &[u8]| {
            let four = bytes.chunks_exact(size_of::<f32>());
            four.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        let keys = keys.data().as_chunks::<{ size_of::<Key>() }>().0;
        let rows = values.data().chunks(width * size_of::<f32>()).map(numbers);
        Ok(Self {
            by_text: keys.iter().copied().zip(rows).collect(),
        })
    }

    /// The embedding of an answer; none if it was left out as too long.
    pub(crate) fn get(&self, prompt: &str, answer: &str) -> Option<&[f32]> {
        self.by_text.get(&key(prompt, answer)).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_of_one_model_and_may_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EMBEDDINGS);
        let metadata = HashMap::from([(MODEL.to_owned(), "this".to_owned())]);
        let write = |count: usize, keys: &[u8], values: &[u8]| {
            let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
            let width = if count == 0 { 0 } else { 2 };
            let tensors = [
                ("keys", view(Dtype::U8, vec![count, 16], keys)),
                ("embeddings", view(Dtype::F32, vec![count, width], values)),
            ];
            let bytes = safetensors::serialize(tensors, Some(metadata.clone())).unwrap();
            std::fs::write(&path, bytes).unwrap();
        };
        let values: Vec<u8> = [0.5f32, -2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        write(1, &key("p", " a"), &values);
        let embeddings = Embeddings::open(&path, "this").unwrap();
        assert_eq!(embeddings.get("p", " a"), Some(&[0.5, -2.0][..]));
        assert_eq!(embeddings.get("p a", ""), None);
        let error = Embeddings::open(&path, "another")
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("by another model") && error.contains("delete it"),
            "{error}"
        );
        // Every answer was too long.
        write(0, &[], &[]);
        assert_eq!(
            Embeddings::open(&path, "this").unwrap().get("p", " a"),
            None
        );
    }
}
