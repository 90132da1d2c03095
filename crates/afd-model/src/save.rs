//! Writing a checkpoint under Hugging Face's names: one safetensors file, or several with an index.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use afd_backend::Dtype;
use burn::{
    Tensor,
    module::{LoraAdapter, Module, ModuleVisitor, Param, Reparameterization as _},
};
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use crate::{
    Decoder, DecoderConfig, Error,
    checkpoint::{INDEX, SINGLE},
    families,
    layers::Linear,
};

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// The type numbers are stored in, whatever they are held in.
    pub dtype: Dtype,
    /// Largest size of a file's tensors, in bytes; what needs more becomes several files. A
    /// tensor is never divided.
    pub max_shard_size: u64,
}

/// f32, in files of 5 GB as transformers has them.
impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            dtype: Dtype::F32,
            max_shard_size: 5_000_000_000,
        }
    }
}

/// Writes every parameter of `module` into `dir`, one tensor at a time, the adapters on its
/// `decoder` merged.
///
/// Files appear whole or not at all, the index last.
pub(crate) fn save<M: Module>(
    module: &M,
    decoder: &Decoder,
    dir: &Path,
    options: SaveOptions,
) -> Result<(), Error> {
    let config = decoder.config();
    let mut plan = Plan {
        config,
        path: Vec::new(),
        tensors: Vec::new(),
    };
    module.visit(&mut plan);
    let shards = shards(&plan.tensors, options);
    let count = shards.len();
    let files: Vec<PathBuf> = (1..=count)
        .map(|index| match count {
            1 => dir.join(SINGLE),
            _ => dir.join(format!("model-{index:05}-of-{count:05}.safetensors")),
        })
        .collect();
    let partial: Vec<PathBuf> = files
        .iter()
        .map(|file| file.with_extension("partial"))
        .collect();
    let written = write(module, decoder, &plan.tensors, &shards, &partial, options)
        .and_then(|()| publish(dir, &partial, &files, &plan.tensors, &shards, options));
    written.map_err(|source| {
        // What is left of a failed write helps nobody; the first error is the one to tell.
        for path in &partial {
            let _ = std::fs::remove_file(path);
        }
        Error::Write {
            path: files[0].clone(),
            source,
        }
    })
}

/// Gives the written files their names, and removes those of an earlier save into `dir`: a reader
/// might take them for the weights.
fn publish(
    dir: &Path,
    partial: &[PathBuf],
    files: &[PathBuf],
    tensors: &[OnDisk],
    shards: &[Range<usize>],
    options: SaveOptions,
) -> io::Result<()> {
    for (partial, file) in partial.iter().zip(files) {
        std::fs::rename(partial, file)?;
    }
    let index = dir.join(INDEX);
    if files.len() == 1 {
        remove_if_there(&index)?;
        return remove_others(dir, files);
    }
    let mut weight_map = Map::new();
    for (shard, file) in shards.iter().zip(files) {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        for tensor in &tensors[shard.clone()] {
            weight_map.insert(tensor.name.clone(), json!(file));
        }
    }
    let count: usize = tensors.iter().map(OnDisk::count).sum();
    let json = json!({
        "metadata": { "total_parameters": count, "total_size": count * options.dtype.size() },
        "weight_map": weight_map,
    });
    let temporary = index.with_extension("partial");
    std::fs::write(&temporary, format!("{json:#}\n"))?;
    std::fs::rename(&temporary, &index)?;
    remove_others(dir, files)
}

/// Removes files of weights in `dir` that are not among `files`.
fn remove_others(dir: &Path, files: &[PathBuf]) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_shard = name.starts_with("model-") && name.contains("-of-");
        let is_weights = name == SINGLE || (is_shard && name.ends_with(".safetensors"));
        if is_weights && !files.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Which of the tensors go into which file: in order, as many as fit.
fn shards(tensors: &[OnDisk], options: SaveOptions) -> Vec<Range<usize>> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, tensor) in tensors.iter().enumerate() {
        let bytes = (tensor.count() * options.dtype.size()) as u64;
        if index > start && size + bytes > options.max_shard_size {
            shards.push(start..index);
            (start, size) = (index, 0);
        }
        size += bytes;
    }
    shards.push(start..tensors.len());
    shards
}

fn write<M: Module>(
    module: &M,
    decoder: &Decoder,
    tensors: &[OnDisk],
    shards: &[Range<usize>],
    paths: &[PathBuf],
    options: SaveOptions,
) -> io::Result<()> {
    let mut files = Vec::new();
    let mut places = HashMap::new();
    for (index, (shard, path)) in shards.iter().zip(paths).enumerate() {
        let tensors = &tensors[shard.clone()];
        let (header, offsets) = header(tensors, options.dtype)?;
        let mut file = File::create(path)?;
        file.write_all(&header)?;
        files.push(file);
        for (tensor, offset) in tensors.iter().zip(offsets) {
            places.insert(
                tensor.name.as_str(),
                (index, (header.len() + offset) as u64),
            );
        }
    }
    let mut data = Data {
        config: decoder.config(),
        adapted: decoder
            .linears()
            .filter(|(_, linear)| linear.is_adapted())
            .collect(),
        dtype: options.dtype,
        path: Vec::new(),
        files: &files,
        places,
        bytes: Vec::new(),
        result: Ok(()),
    };
    module.visit(&mut data);
    data.result?;
    files.iter().try_for_each(File::sync_all)
}

/// The first bytes of a file, and where each tensor begins after them.
fn header(tensors: &[OnDisk], dtype: Dtype) -> io::Result<(Vec<u8>, Vec<usize>)> {
    // transformers refuses a file whose metadata does not say who laid the tensors out.
    let mut entries = Map::from_iter([("__metadata__".into(), json!({ "format": "pt" }))]);
    let (mut end, mut offsets) = (0, Vec::new());
    for tensor in tensors {
        let start = end;
        end += tensor.count() * dtype.size();
        offsets.push(start);
        entries.insert(
            tensor.name.clone(),
            json!({
                "dtype": dtype.name().to_uppercase(),
                "shape": tensor.shape,
                "data_offsets": [start, end],
            }),
        );
    }
    let mut json = serde_json::to_vec(&Value::Object(entries))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    Ok((header, offsets))
}

/// The names of all parameters of `module`, in module order: Llama's, whatever the family calls
/// them on disk. Those of adapters are left out.
pub fn parameter_names<M: Module>(module: &M) -> Vec<String> {
    let mut names = Names {
        path: Vec::new(),
        names: Vec::new(),
    };
    module.visit(&mut names);
    names.names
}

struct Names {
    path: Vec<String>,
    names: Vec<String>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, _param: &Param<Tensor<R>>) {
        if !in_adapter(&self.path) {
            self.names.push(self.path.join("."));
        }
    }
}

/// Whether a visitor stands within an adapter, which hangs on the parameter it adapts.
pub(crate) fn in_adapter(path: &[String]) -> bool {
    path.iter().any(|name| name == LoraAdapter::NAME)
}

/// A tensor on disk.
struct OnDisk {
    name: String,
    shape: Vec<usize>,
}

impl OnDisk {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// First visit: which tensors there will be.
struct Plan<'a> {
    config: &'a DecoderConfig,
    path: Vec<String>,
    tensors: Vec<OnDisk>,
}

impl ModuleVisitor for Plan<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if in_adapter(&self.path) {
            return;
        }
        let place = families::place(self.config, &self.path.join("."), R);
        // A tensor of several parameters is there once.
        if self.tensors.iter().all(|tensor| tensor.name != place.name) {
            self.tensors.push(OnDisk {
                shape: place.disk_shape(&param.base().dims()),
                name: place.name,
            });
        }
    }
}

/// Second visit: the values.
struct Data<'a> {
    config: &'a DecoderConfig,
    /// The layers with adapters, by the names of their matrices.
    adapted: HashMap<String, &'a Linear>,
    dtype: Dtype,
    path: Vec<String>,
    files: &'a [File],
    /// By the name of a tensor: its file, and where it begins there.
    places: HashMap<&'a str, (usize, u64)>,
    /// What is on its way to a file.
    bytes: Vec<u8>,
    result: io::Result<()>,
}

impl ModuleVisitor for Data<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if self.result.is_ok() && !in_adapter(&self.path) {
            self.result = self.write(param.base());
        }
    }
}

impl Data<'_> {
    fn write<const R: usize>(&mut self, tensor: Tensor<R>) -> io::Result<()> {
        let name = self.path.join(".");
        let tensor = match self.adapted.get(&name) {
            Some(linear) => linear.merged().reshape(tensor.dims()),
            None => tensor,
        };
        let place = families::place(self.config, &name, R);
        let Some(&(file, start)) = self.places.get(place.name.as_str()) else {
            return Err(io::Error::other(format!("{} was not planned", place.name)));
        };
        let shape = tensor.dims();
        let values = to_f32(tensor)?;
        let (file, dtype, bytes) = (&self.files[file], self.dtype, &mut self.bytes);
        place.pack(&values, &shape, |first, values| {
            bytes.clear();
            encode(values, dtype, bytes);
            file.write_all_at(bytes, start + (first * dtype.size()) as u64)
        })
    }
}

/// A tensor's numbers on the host.
pub(crate) fn to_f32<const R: usize>(tensor: Tensor<R>) -> io::Result<Vec<f32>> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec()
        .map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Appends numbers as they lie on disk.
pub(crate) fn encode(values: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        Dtype::Bf16 => bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
        Dtype::F16 => bytes.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
    }
}
