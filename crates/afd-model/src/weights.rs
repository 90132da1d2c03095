//! Parameters by Hugging Face name: drawn from a seed, read from and written to safetensors.

use std::{
    cell::RefCell,
    collections::HashSet,
    fs::File,
    io::{BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::{FloatDType, TensorData},
};
use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{
    SafeTensorError,
    tensor::{Dtype, Metadata},
};
use serde_json::{Map, Value, json};

use crate::Error;

/// Tensors a checkpoint may hold without our reading them: angles we compute ourselves, and an
/// output head that is tied or not wanted.
const UNREAD: [&str; 2] = ["rotary_emb.inv_freq", "lm_head.weight"];

/// How a parameter looks when nobody has trained it yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// Gaussian with mean 0 and this standard deviation.
    Normal(f64),
    /// All ones.
    Ones,
}

/// Where a model's parameters come from.
pub(crate) enum Source {
    /// Drawn afresh, each from `seed` and its own name.
    Seed(u64),
    /// Read from a checkpoint; a parameter it lacks is drawn if `fallback` names it.
    File {
        file: Box<SafetensorsFile>,
        fallback: Option<(&'static str, u64)>,
    },
}

/// Builds parameters one at a time, straight into the buffer that becomes the tensor.
pub(crate) struct Weights<'a> {
    pub(crate) source: Source,
    pub(crate) placement: &'a Placement,
}

impl Weights<'_> {
    /// The matrix of a linear layer called `name` (Hugging Face's name), `[in, out]`; on disk
    /// it is `[out, in]`.
    pub(crate) fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Param<Tensor<2>>, Error> {
        self.held_in(self.placement.linear_weights(), name, shape, init)
    }

    /// The matrix of a reward model's head, like [`Self::matrix`] but always in f32: in 16 bits
    /// close scores are ties.
    pub(crate) fn score_head(
        &self,
        name: &str,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Param<Tensor<2>>, Error> {
        self.held_in(FloatDType::F32, name, shape, init)
    }

    /// Any other parameter called `name`.
    pub(crate) fn param<const R: usize>(
        &self,
        name: &str,
        shape: [usize; R],
        init: Init,
    ) -> Result<Param<Tensor<R>>, Error> {
        self.held_in(self.placement.weights(), name, shape, init)
    }

    fn held_in<const R: usize>(
        &self,
        dtype: FloatDType,
        name: &str,
        shape: [usize; R],
        init: Init,
    ) -> Result<Param<Tensor<R>>, Error> {
        let values = match &self.source {
            Source::Seed(seed) => draw(*seed, name, shape.iter().product(), init),
            Source::File { file, fallback } => match fallback {
                Some((fresh, seed)) if *fresh == name && !file.has(name) => {
                    draw(*seed, name, shape.iter().product(), init)
                }
                _ => file.read(name, &shape)?,
            },
        };
        let device = &self.placement.device;
        let tensor = Tensor::<R>::from_data(TensorData::new(values, shape), device).cast(dtype);
        Ok(Param::initialized(param_id(name), tensor).set_require_grad(true))
    }
}

impl Weights<'_> {
    /// To be called when all parameters are built: a checkpoint with more of them than
    /// `config.json` asks for would load, and write nonsense.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let Source::File { file, .. } = &self.source else {
            return Ok(());
        };
        let read = file.read.borrow();
        let mut names = file.metadata.offset_keys().into_iter();
        let unexpected = names
            .find(|name| !read.contains(name) && !UNREAD.iter().any(|known| name.ends_with(known)));
        match unexpected {
            Some(name) => Err(Error::UnexpectedTensor {
                path: file.path.clone(),
                name,
            }),
            None => Ok(()),
        }
    }
}

/// The identity of a parameter: a hash of its name, so that an optimiser's record finds
/// it again in another process.
fn param_id(name: &str) -> ParamId {
    ParamId::from(name_hash(name))
}

fn name_hash(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

fn draw(seed: u64, name: &str, count: usize, init: Init) -> Vec<f32> {
    let Init::Normal(std) = init else {
        return vec![1.0; count];
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ name_hash(name));
    // Box–Muller, a pair at a time.
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * std;
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(count);
    values
}

/// Whether `name` is a linear layer's matrix, which disk and memory hold transposed.
fn is_linear(name: &str, rank: usize) -> bool {
    rank == 2 && !name.ends_with("embed_tokens.weight")
}

/// An open `model.safetensors`: the header in memory, tensors read one at a time.
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
    /// Names of the tensors read so far.
    read: RefCell<HashSet<String>>,
}

impl SafetensorsFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.into(),
            source,
        };
        let corrupt = |source| Error::Safetensors {
            path: path.into(),
            source,
        };
        if !path.exists() && path.with_extension("safetensors.index.json").exists() {
            return Err(Error::Sharded { path: path.into() });
        }
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| corrupt(SafeTensorError::HeaderTooSmall))?;
        let header_length = u64::from_le_bytes(length);
        if header_length > size.saturating_sub(8) {
            return Err(corrupt(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = length.to_vec();
        header.resize(8 + header_length as usize, 0);
        file.read_exact(&mut header[8..]).map_err(read)?;
        // The crate's own `read_metadata` wants the whole file in memory.
        let metadata: Metadata = serde_json::from_slice(&header[8..])
            .map_err(|error| corrupt(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        let data_start = 8 + header_length;
        if size < data_start + metadata.data_len() as u64 {
            return Err(corrupt(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self {
            path: path.into(),
            file,
            data_start,
            metadata,
            read: RefCell::default(),
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| Error::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            })?;
        self.read.borrow_mut().insert(name.to_owned());
        let transposed = is_linear(name, shape.len());
        let mut expected = shape.to_vec();
        if transposed {
            expected.reverse();
        }
        if info.shape != expected {
            return Err(Error::Shape {
                path: self.path.clone(),
                name: name.into(),
                expected,
                found: info.shape.clone(),
            });
        }
        let (start, end) = info.data_offsets;
        let length = shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
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
        let values = to_f32(&bytes, info.dtype).ok_or_else(|| Error::Dtype {
            path: self.path.clone(),
            name: name.into(),
            dtype: format!("{:?}", info.dtype),
        })?;
        Ok(if transposed {
            transpose(&values, expected[0], expected[1])
        } else {
            values
        })
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

/// Side of the square blocks in which a matrix is transposed, so both sides stay in cache.
const BLOCK: usize = 32;

/// A `[rows, columns]` matrix as `[columns, rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for row0 in (0..rows).step_by(BLOCK) {
        for column0 in (0..columns).step_by(BLOCK) {
            for row in row0..(row0 + BLOCK).min(rows) {
                for column in column0..(column0 + BLOCK).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// Writes every parameter of `module` to `path` under its Hugging Face name, in f32, one
/// tensor at a time.
///
/// The file appears whole or not at all.
pub(crate) fn save<M: Module>(module: &M, path: &Path) -> Result<(), Error> {
    let temporary = path.with_extension("partial");
    let written = write(module, &temporary).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| {
        // What is left of a failed write helps nobody; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        Error::Write {
            path: path.into(),
            source,
        }
    })
}

fn write<M: Module>(module: &M, path: &Path) -> std::io::Result<()> {
    let mut header = Header::default();
    module.visit(&mut header);
    // transformers refuses a file whose metadata does not say who laid the tensors out.
    let mut entries = Map::from_iter([("__metadata__".into(), json!({ "format": "pt" }))]);
    entries.extend(header.entries);
    let mut json = serde_json::to_vec(&Value::Object(entries))?;
    json.resize(json.len().next_multiple_of(8), b' ');

    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(json.len() as u64).to_le_bytes())?;
    file.write_all(&json)?;
    let mut data = Data {
        path: Vec::new(),
        file: &mut file,
        result: Ok(()),
    };
    module.visit(&mut data);
    data.result?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// The names of all parameters of `module`, in module order.
pub fn parameter_names<M: Module>(module: &M) -> Vec<String> {
    let mut header = Header::default();
    module.visit(&mut header);
    header.entries.into_iter().map(|(name, _)| name).collect()
}

/// First visit: where each tensor will stand.
#[derive(Default)]
struct Header {
    path: Vec<String>,
    end: usize,
    entries: Vec<(String, Value)>,
}

impl ModuleVisitor for Header {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let name = self.path.join(".");
        let mut shape = param.base().dims().to_vec();
        if is_linear(&name, R) {
            shape.reverse();
        }
        let start = self.end;
        self.end += 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, self.end] });
        self.entries.push((name, entry));
    }
}

/// Second visit: the values, in the same order.
struct Data<'a> {
    path: Vec<String>,
    file: &'a mut BufWriter<File>,
    result: std::io::Result<()>,
}

impl ModuleVisitor for Data<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if self.result.is_ok() {
            self.result = self.write(param.base());
        }
    }
}

impl Data<'_> {
    fn write<const R: usize>(&mut self, tensor: Tensor<R>) -> std::io::Result<()> {
        let shape = tensor.dims();
        let data = tensor.into_data().convert::<f32>();
        let mut values: Vec<f32> = data
            .try_into_vec()
            .map_err(|error| std::io::Error::other(format!("{error:?}")))?;
        if is_linear(&self.path.join("."), R) {
            values = transpose(&values, shape[0], shape[1]);
        }
        for value in values {
            self.file.write_all(&value.to_le_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_the_identity() {
        let (rows, columns) = (BLOCK + 5, 2 * BLOCK + 1);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let there = transpose(&values, rows, columns);
        assert_eq!(there[1], values[columns]);
        assert_eq!(transpose(&there, columns, rows), values);
    }

    #[test]
    fn half_precision_is_read() {
        let bytes: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        assert_eq!(to_f32(&bytes, Dtype::BF16), Some(vec![1.5, -2.0]));
    }

    #[test]
    fn drawn_weights_depend_on_seed_and_name_and_have_the_asked_spread() {
        let a = draw(1, "a", 20_001, Init::Normal(0.5));
        assert_eq!(a, draw(1, "a", 20_001, Init::Normal(0.5)));
        assert_ne!(a, draw(2, "a", 20_001, Init::Normal(0.5)));
        assert_ne!(a, draw(1, "b", 20_001, Init::Normal(0.5)));
        let n = a.len() as f64;
        let mean = a.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let var = a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        // Standard errors: 0.5/√n = 0.0035 and 0.25·√(2/n) = 0.0025; bounds are five of each.
        assert!(mean.abs() < 0.018, "{mean}");
        assert!((var - 0.25).abs() < 0.0125, "{var}");
    }
}
