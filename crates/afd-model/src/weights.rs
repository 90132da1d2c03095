//! Parameters by Hugging Face name: drawn from a seed, read from and written to safetensors.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::{Device, TensorData},
};
use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, Metadata, TensorView};

use crate::Error;

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
        file: SafetensorsFile,
        fallback: Option<(&'static str, u64)>,
    },
}

/// Builds parameters one at a time, straight into the buffer that becomes the tensor.
pub(crate) struct Weights<'a> {
    pub(crate) source: Source,
    pub(crate) device: &'a Device,
}

impl Weights<'_> {
    /// The parameter called `name` (Hugging Face's name) with our `shape`.
    ///
    /// Matrices of linear layers are stored `[out, in]` on disk and held `[in, out]`.
    pub(crate) fn param<const R: usize>(
        &self,
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
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        Ok(Param::initialized(param_id(name), tensor).set_require_grad(true))
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
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| corrupt(safetensors::SafeTensorError::HeaderTooSmall))?;
        let header_length = u64::from_le_bytes(length);
        if header_length > size.saturating_sub(8) {
            return Err(corrupt(safetensors::SafeTensorError::InvalidHeaderLength));
        }
        let mut header = length.to_vec();
        header.resize(8 + header_length as usize, 0);
        file.read_exact(&mut header[8..]).map_err(read)?;
        let (_, metadata) =
            safetensors::SafeTensors::read_metadata(&header).map_err(|source| corrupt(source))?;
        let data_start = 8 + header_length;
        if size < data_start + metadata.data_len() as u64 {
            return Err(corrupt(
                safetensors::SafeTensorError::MetadataIncompleteBuffer,
            ));
        }
        Ok(Self {
            path: path.into(),
            file,
            data_start,
            metadata,
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
        let mut bytes = vec![0; end - start];
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

/// Writes every parameter of `module` to `path` under its Hugging Face name, in f32.
///
/// The file appears whole or not at all.
pub(crate) fn save<M: Module>(module: &M, path: &Path) -> Result<(), Error> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    let views = collector
        .tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>();
    let temporary = path.with_extension("partial");
    // transformers refuses a file whose metadata does not say who laid the tensors out.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = views
        .and_then(|views| safetensors::serialize_to_file(views, Some(metadata), &temporary))
        .map_err(|source| match source {
            safetensors::SafeTensorError::IoError(source) => Error::Write {
                path: path.into(),
                source,
            },
            source => Error::Safetensors {
                path: path.into(),
                source,
            },
        });
    let published = written.and_then(|()| {
        File::open(&temporary)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(|source| Error::Write {
                path: path.into(),
                source,
            })
    });
    if published.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    published
}

/// The names of all parameters of `module`, in module order.
pub fn parameter_names<M: Module>(module: &M) -> Vec<String> {
    let mut collector = Collector {
        names_only: true,
        ..Collector::default()
    };
    module.visit(&mut collector);
    collector
        .tensors
        .into_iter()
        .map(|(name, ..)| name)
        .collect()
}

#[derive(Default)]
struct Collector {
    path: Vec<String>,
    names_only: bool,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let name = self.path.join(".");
        if self.names_only {
            self.tensors.push((name, Vec::new(), Vec::new()));
            return;
        }
        let tensor = param.base();
        let mut shape = tensor.dims().to_vec();
        let data = tensor.into_data().convert::<f32>();
        // Were this ever to fail, `TensorView::new` would refuse the empty buffer by name.
        let mut values: Vec<f32> = data.try_into_vec().unwrap_or_default();
        if is_linear(&name, R) {
            values = transpose(&values, shape[0], shape[1]);
            shape.reverse();
        }
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.push((name, shape, bytes));
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
