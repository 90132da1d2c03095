//! Writing a checkpoint under Hugging Face's names, in f32.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
};
use serde_json::{Map, Value, json};

use crate::{DecoderConfig, Error, families};

/// Writes every parameter of `module`, whose decoder is `config`, to `path`, one tensor at a time.
///
/// The file appears whole or not at all.
pub(crate) fn save<M: Module>(
    module: &M,
    config: &DecoderConfig,
    path: &Path,
) -> Result<(), Error> {
    let temporary = path.with_extension("partial");
    let written =
        write(module, config, &temporary).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| {
        // What is left of a failed write helps nobody; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        Error::Write {
            path: path.into(),
            source,
        }
    })
}

fn write<M: Module>(module: &M, config: &DecoderConfig, path: &Path) -> io::Result<()> {
    let mut plan = Plan {
        config,
        path: Vec::new(),
        end: 0,
        tensors: Vec::new(),
    };
    module.visit(&mut plan);
    // transformers refuses a file whose metadata does not say who laid the tensors out.
    let mut entries = Map::from_iter([("__metadata__".into(), json!({ "format": "pt" }))]);
    entries.extend(plan.tensors.iter().map(OnDisk::entry));
    let mut json = serde_json::to_vec(&Value::Object(entries))?;
    json.resize(json.len().next_multiple_of(8), b' ');

    let mut file = File::create(path)?;
    file.write_all(&(json.len() as u64).to_le_bytes())?;
    file.write_all(&json)?;
    let mut data = Data {
        config,
        path: Vec::new(),
        start: 8 + json.len() as u64,
        file: &file,
        tensors: plan
            .tensors
            .into_iter()
            .map(|t| (t.name.clone(), t))
            .collect(),
        unfinished: HashMap::new(),
        result: Ok(()),
    };
    module.visit(&mut data);
    data.result?;
    file.sync_all()
}

/// The names of all parameters of `module`, in module order: Llama's, whatever the family calls
/// them on disk.
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
        self.names.push(self.path.join("."));
    }
}

/// A tensor of the file.
struct OnDisk {
    name: String,
    shape: Vec<usize>,
    /// Where it begins, in bytes of the data.
    offset: usize,
    /// How many parameters are parts of it.
    parts: usize,
}

impl OnDisk {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// What the header says of it.
    fn entry(&self) -> (String, Value) {
        let offsets = [self.offset, self.offset + 4 * self.count()];
        let entry = json!({ "dtype": "F32", "shape": self.shape, "data_offsets": offsets });
        (self.name.clone(), entry)
    }
}

/// First visit: where each tensor will stand.
struct Plan<'a> {
    config: &'a DecoderConfig,
    path: Vec<String>,
    end: usize,
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
        let place = families::place(self.config, &self.path.join("."), R);
        if let Some(known) = self.tensors.iter_mut().rev().find(|t| t.name == place.name) {
            known.parts += 1;
            return;
        }
        let tensor = OnDisk {
            shape: place.disk_shape(&param.base().dims()),
            name: place.name,
            offset: self.end,
            parts: 1,
        };
        self.end += 4 * tensor.count();
        self.tensors.push(tensor);
    }
}

/// Second visit: the values.
struct Data<'a> {
    config: &'a DecoderConfig,
    path: Vec<String>,
    /// Where the data begin in the file.
    start: u64,
    file: &'a File,
    tensors: HashMap<String, OnDisk>,
    /// Tensors of which parts are still to come, and how many.
    unfinished: HashMap<String, (Vec<f32>, usize)>,
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
        if self.result.is_ok() {
            self.result = self.write(param.base());
        }
    }
}

impl Data<'_> {
    fn write<const R: usize>(&mut self, tensor: Tensor<R>) -> io::Result<()> {
        let place = families::place(self.config, &self.path.join("."), R);
        let Some(on_disk) = self.tensors.get(&place.name) else {
            return Err(io::Error::other(format!("{} was not planned", place.name)));
        };
        let shape = tensor.dims();
        let data = tensor.into_data().convert::<f32>();
        let values: Vec<f32> = data
            .try_into_vec()
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let begun = self.unfinished.remove(&place.name);
        let (mut whole, left) =
            begun.unwrap_or_else(|| (vec![0.0; on_disk.count()], on_disk.parts));
        place.put(&values, &shape, &mut whole);
        if left > 1 {
            self.unfinished.insert(place.name, (whole, left - 1));
            return Ok(());
        }
        let bytes: Vec<u8> = whole.iter().flat_map(|value| value.to_le_bytes()).collect();
        let at = self.start + on_disk.offset as u64;
        self.file.write_all_at(&bytes, at)
    }
}
