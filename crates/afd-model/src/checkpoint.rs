//! Reading a checkpoint: one safetensors file, or several with an index.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fs::File,
    io::Read,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    SafeTensorError,
    tensor::{Dtype, Metadata, TensorInfo},
};
use serde::Deserialize;

use crate::{Error, number::Number, place::Place};

/// The file of a checkpoint in one piece.
pub(crate) const SINGLE: &str = "model.safetensors";

/// What tells the files of one in several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Weights by way of pickles, which run what they hold.
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What decoders are called within a model.
const BASES: [&str; 3] = ["model.", "transformer.", "gpt_neox."];

/// The longest header that is read, in bytes, as the safetensors crate has it.
const MAX_HEADER: u64 = 100_000_000;

/// How many bytes are read at a time.
const BLOCK: usize = 4 << 20;

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
            return Self::open_file(&single);
        }
        Self::open_shards(dir, index)
    }

    /// Opens a single file.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub(crate) fn open_file(path: &Path) -> Result<Self, Error> {
        let file = SafetensorsFile::open(path)?;
        let names = file.metadata.offset_keys().into_iter();
        Ok(Self {
            path: path.into(),
            tensors: names.map(|name| (name, 0)).collect(),
            files: vec![file],
            read: RefCell::default(),
        })
    }

    fn open_shards(dir: &Path, index: PathBuf) -> Result<Self, Error> {
        let Index { weight_map } = crate::read_json(&index)?;
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

    /// The parameter of `shape` at `place`, converted to `E`.
    ///
    /// The file is read in blocks, so that little more is held at any time than the result.
    pub(crate) fn read<E: Number>(&self, place: &Place, shape: &[usize]) -> Result<Vec<E>, Error> {
        let Some((name, file)) = self.find(&place.name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                name: place.name.clone(),
            });
        };
        self.read.borrow_mut().insert(name.to_owned());
        let tensor = file.tensor(name)?;
        let expected = place.disk_shape(shape);
        if tensor.info.shape != expected {
            return Err(Error::Shape {
                path: file.path.clone(),
                name: name.into(),
                expected,
                found: tensor.info.shape.clone(),
            });
        }
        let mut out = vec![E::default(); shape.iter().product()];
        let mut done = 0;
        for rows in place.rows(shape) {
            tensor.read_rows(rows, |values| {
                place.unpack(values, done, shape, &mut out);
                done += values.len() / tensor.width();
            })?;
        }
        Ok(out)
    }

    /// The first dimension of a matrix.
    pub(crate) fn rows_of(&self, name: &str) -> Result<usize, Error> {
        let info = self.find(name);
        let info = info.and_then(|(name, file)| file.metadata.info(name));
        match info.map(|info| info.shape.as_slice()) {
            Some([rows, _]) if *rows > 0 => Ok(*rows),
            Some(shape) => Err(Error::Shape {
                path: self.path.clone(),
                name: name.into(),
                expected: vec![1, 1],
                found: shape.to_vec(),
            }),
            None => Err(Error::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            }),
        }
    }

    /// Whether two tensors hold the same bytes.
    pub(crate) fn same(&self, first: &str, second: &str) -> Result<bool, Error> {
        let (Some((first, a)), Some((second, b))) = (self.find(first), self.find(second)) else {
            return Ok(false);
        };
        let (a, b) = (a.tensor(first)?, b.tensor(second)?);
        if (&a.info.shape, a.info.dtype) != (&b.info.shape, b.info.dtype) {
            return Ok(false);
        }
        let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
        for start in (0..a.length).step_by(BLOCK) {
            let length = BLOCK.min(a.length - start);
            a.read_at(start, &mut left[..length])?;
            b.read_at(start, &mut right[..length])?;
            if left[..length] != right[..length] {
                return Ok(false);
            }
        }
        Ok(true)
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

    /// [`Self::finish`] without exceptions: an adapter holds what was trained and nothing else.
    pub(crate) fn finish_all(&self) -> Result<(), Error> {
        let read = self.read.borrow();
        match self.tensors.keys().find(|name| !read.contains(*name)) {
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

    fn tensor<'a>(&'a self, name: &str) -> Result<StoredTensor<'a>, Error> {
        let Some(info) = self.metadata.info(name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            });
        };
        let Some(decode) = decoder(info.dtype) else {
            return Err(Error::Dtype {
                path: self.path.clone(),
                name: name.into(),
                dtype: format!("{:?}", info.dtype),
            });
        };
        let (start, end) = info.data_offsets;
        let length = info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
        if end.checked_sub(start) != Some(length) {
            return Err(Error::Safetensors {
                path: self.path.clone(),
                source: SafeTensorError::InvalidOffset(name.into()),
            });
        }
        Ok(StoredTensor {
            file: self,
            info,
            start: self.data_start + start as u64,
            length,
            decode,
        })
    }
}

/// A tensor of a file, not read yet.
struct StoredTensor<'a> {
    file: &'a SafetensorsFile,
    info: &'a TensorInfo,
    /// Where its bytes begin in the file.
    start: u64,
    /// How many bytes it has.
    length: usize,
    decode: Decode,
}

impl StoredTensor<'_> {
    /// Numbers in a row: in all that belongs to one index of the first dimension.
    fn width(&self) -> usize {
        self.info.shape.iter().skip(1).product()
    }

    /// Hands the rows to `take`, a block of whole rows at a time.
    fn read_rows(&self, rows: Range<usize>, mut take: impl FnMut(&[f32])) -> Result<(), Error> {
        let row = self.width() * self.info.dtype.bitsize() / 8;
        let at_a_time = (BLOCK / row.max(1)).max(1);
        let mut bytes = vec![0; row * at_a_time.min(rows.len())];
        let mut values = Vec::new();
        for first in rows.clone().step_by(at_a_time) {
            let count = at_a_time.min(rows.end - first);
            let bytes = &mut bytes[..row * count];
            self.read_at(row * first, bytes)?;
            values.clear();
            (self.decode)(bytes, &mut values);
            take(&values);
        }
        Ok(())
    }

    fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let read = self
            .file
            .file
            .read_exact_at(bytes, self.start + offset as u64);
        read.map_err(|source| Error::Read {
            path: self.file.path.clone(),
            source,
        })
    }
}

/// Appends the numbers that bytes stand for.
type Decode = fn(&[u8], &mut Vec<f32>);

fn decoder(dtype: Dtype) -> Option<Decode> {
    match dtype {
        Dtype::F32 => Some(|bytes, out| {
            let (quads, _) = bytes.as_chunks();
            out.extend(quads.iter().map(|b| f32::from_le_bytes(*b)));
        }),
        Dtype::F16 => Some(|bytes, out| {
            let (pairs, _) = bytes.as_chunks();
            out.extend(pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
        }),
        Dtype::BF16 => Some(|bytes, out| {
            let (pairs, _) = bytes.as_chunks();
            out.extend(pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32()));
        }),
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
        let mut values = Vec::new();
        decoder(Dtype::BF16).unwrap()(&bytes, &mut values);
        assert_eq!(values, [1.5, -2.0]);
    }
}
