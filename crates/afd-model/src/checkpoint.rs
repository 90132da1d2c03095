//! Reading a checkpoint: one safetensors file, or several with an index.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    SafeTensorError,
    tensor::{Dtype, Metadata, TensorInfo},
};
use serde::Deserialize;

use crate::{Error, place::Place};

/// The file of a checkpoint in one piece.
const SINGLE: &str = "model.safetensors";

/// What tells the files of one in several.
const INDEX: &str = "model.safetensors.index.json";

/// Weights by way of pickles, which run what they hold.
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What decoders are called within a model.
const BASES: [&str; 3] = ["model.", "transformer.", "gpt_neox."];

/// The longest header that is read, in bytes, as the safetensors crate has it.
const MAX_HEADER: u64 = 100_000_000;

/// Tensors a checkpoint may hold without our reading them, by the end of their names: angles and
/// masks we compute ourselves, and an output head that is tied or not wanted.
const UNREAD: [&str; 7] = [
    "rotary_emb.inv_freq",
    "lm_head.weight",
    "embed_out.weight",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
];

/// An open checkpoint; tensors are read one at a time.
pub(crate) struct Checkpoint {
    /// What is named in complaints: the file, or the index.
    path: PathBuf,
    files: Vec<SafetensorsFile>,
    /// The file of each tensor.
    tensors: BTreeMap<String, usize>,
    /// Names of the tensors read so far.
    read: RefCell<HashSet<String>>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the checkpoint in `dir`.
    ///
    /// # Errors
    /// When there is none, or one of its files is missing, damaged, outside of `dir`, or lacks a
    /// tensor that the index says it holds.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        if single.exists() || !index.exists() {
            if !single.exists() && PICKLED.iter().any(|name| dir.join(name).exists()) {
                return Err(Error::Pickled { path: dir.into() });
            }
            let file = SafetensorsFile::open(&single)?;
            let names = file.metadata.offset_keys().into_iter();
            return Ok(Self {
                path: single,
                tensors: names.map(|name| (name, 0)).collect(),
                files: vec![file],
                read: RefCell::default(),
            });
        }
        Self::open_shards(dir, index)
    }

    fn open_shards(dir: &Path, index: PathBuf) -> Result<Self, Error> {
        let text = std::fs::read_to_string(&index).map_err(|source| Error::Read {
            path: index.clone(),
            source,
        })?;
        let Index { weight_map } = serde_json::from_str(&text).map_err(|source| Error::Json {
            path: index.clone(),
            source,
        })?;
        let names: Vec<&String> = BTreeMap::from_iter(weight_map.values().map(|file| (file, ())))
            .into_keys()
            .collect();
        let mut files = Vec::new();
        for name in &names {
            let mut parts = Path::new(name.as_str()).components();
            let plain = matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            );
            if !plain {
                return Err(Error::ShardPath {
                    path: index,
                    shard: (*name).clone(),
                });
            }
            files.push(SafetensorsFile::open(&dir.join(name.as_str()))?);
        }
        let mut tensors = BTreeMap::new();
        for (tensor, shard) in &weight_map {
            let file = names.binary_search(&shard).unwrap_or_default();
            if files[file].metadata.info(tensor).is_none() {
                return Err(Error::MissingTensor {
                    path: files[file].path.clone(),
                    name: tensor.clone(),
                });
            }
            tensors.insert(tensor.clone(), file);
        }
        Ok(Self {
            path: index,
            files,
            tensors,
            read: RefCell::default(),
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The name and the file of a tensor. A checkpoint of the decoder alone leaves out the first
    /// word of its names, as GPT-2's own does.
    fn find<'a>(&self, name: &'a str) -> Option<(&'a str, &SafetensorsFile)> {
        let short = BASES.iter().find_map(|base| name.strip_prefix(base));
        let mut names = std::iter::once(name).chain(short);
        names.find_map(|name| Some((name, &self.files[*self.tensors.get(name)?])))
    }

    /// The parameter of `shape` at `place`.
    pub(crate) fn read(&self, place: &Place, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let Some((name, file)) = self.find(&place.name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                name: place.name.clone(),
            });
        };
        self.read.borrow_mut().insert(name.to_owned());
        Ok(place.take(file.read(name, place.disk_shape(shape))?, shape))
    }

    /// Whether two tensors hold the same bytes.
    pub(crate) fn same(&self, first: &str, second: &str) -> Result<bool, Error> {
        let bytes = |name: &str| -> Result<Option<Vec<u8>>, Error> {
            let found = self.find(name);
            let info = found.and_then(|(name, file)| Some((name, file, file.metadata.info(name)?)));
            info.map(|(name, file, info)| file.bytes(name, info))
                .transpose()
        };
        Ok(bytes(first)? == bytes(second)?)
    }

    /// To be called when everything was read.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] when the checkpoint holds more.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let read = self.read.borrow();
        let unexpected = self
            .tensors
            .keys()
            .find(|name| !read.contains(*name) && !UNREAD.iter().any(|end| name.ends_with(end)));
        match unexpected {
            Some(name) => Err(self.unexpected(name.clone())),
            None => Ok(()),
        }
    }

    /// The complaint about a tensor there is no place for.
    pub(crate) fn unexpected(&self, name: String) -> Error {
        Error::UnexpectedTensor {
            path: self.path.clone(),
            name,
        }
    }
}

/// An open safetensors file: the header in memory, tensors read one at a time.
struct SafetensorsFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
}

impl SafetensorsFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.into(),
            source,
        };
        let corrupt = |source| Error::Safetensors {
            path: path.into(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| corrupt(SafeTensorError::HeaderTooSmall))?;
        let header_length = u64::from_le_bytes(length);
        if header_length > size.saturating_sub(8).min(MAX_HEADER) {
            return Err(corrupt(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = length.to_vec();
        header.resize(8 + header_length as usize, 0);
        file.read_exact(&mut header[8..]).map_err(read)?;
        // The crate's own `read_metadata` wants the whole file in memory.
        let metadata: Metadata = serde_json::from_slice(&header[8..])
            .map_err(|error| corrupt(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        let data_start = 8 + header_length;
        let end = data_start.checked_add(metadata.data_len() as u64);
        if end.is_none_or(|end| size < end) {
            return Err(corrupt(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self {
            path: path.into(),
            file,
            data_start,
            metadata,
        })
    }

    fn read(&self, name: &str, expected: Vec<usize>) -> Result<Vec<f32>, Error> {
        let Some(info) = self.metadata.info(name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            });
        };
        if info.shape != expected {
            return Err(Error::Shape {
                path: self.path.clone(),
                name: name.into(),
                expected,
                found: info.shape.clone(),
            });
        }
        let bytes = self.bytes(name, info)?;
        to_f32(&bytes, info.dtype).ok_or_else(|| Error::Dtype {
            path: self.path.clone(),
            name: name.into(),
            dtype: format!("{:?}", info.dtype),
        })
    }

    fn bytes(&self, name: &str, info: &TensorInfo) -> Result<Vec<u8>, Error> {
        let (start, end) = info.data_offsets;
        let length = info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
        if end.checked_sub(start) != Some(length) {
            return Err(Error::Safetensors {
                path: self.path.clone(),
                source: SafeTensorError::InvalidOffset(name.into()),
            });
        }
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, self.data_start + start as u64)
            .map_err(|source| Error::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(bytes)
    }
}

fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => Some(
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        ),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read() {
        let bytes: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        assert_eq!(to_f32(&bytes, Dtype::BF16), Some(vec![1.5, -2.0]));
    }
}
