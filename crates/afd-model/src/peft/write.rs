//! Adapters on a decoder to PEFT's files.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

use afd_backend::Dtype;
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
};
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use super::{CONFIG, PREFIX, WEIGHTS};
use crate::pretrained::GENERATION;
use crate::{
    Decoder, DecoderConfig, Error, Family, Head, LoraConfig, families,
    lora::{ends_in, module_name},
    place::Part,
    save::{encode, in_adapter, to_f32},
};

/// Whom adapters are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// PEFT, which has one adapter for the layers that share a tensor.
    Peft,
    /// A training that goes on: one adapter for each layer, under the names that layers have here,
    /// so that the optimiser's state still fits.
    Training,
}

/// Writes the adapters on `decoder`, and what of `module` is trained in full, into `dir`.
pub(crate) fn save<M: Module>(
    module: &M,
    decoder: &Decoder,
    head: Head,
    (lora, base): (&LoraConfig, &str),
    dir: &Path,
    whom: For,
) -> Result<(), Error> {
    let config = decoder.config();
    let path = dir.join(WEIGHTS);
    let failed = |source| Error::Write {
        path: path.clone(),
        source,
    };
    let adapters = gather(decoder, whom).map_err(failed)?;
    let mut whole = TrainedWhole {
        config,
        lora,
        path: Vec::new(),
        tensors: BTreeMap::new(),
        result: Ok(()),
    };
    module.visit(&mut whole);
    whole.result.map_err(failed)?;
    let joined: BTreeMap<String, Joined> = adapters
        .iter()
        .map(|(name, parts)| (name.clone(), join(parts)))
        .collect();
    let linear = decoder.linears();
    let linear: Vec<String> = linear
        .map(|(name, _)| stored_as(config, &name, whom).0)
        .collect();
    let mut json = describe(config, head, lora, base, &joined, &linear);
    if whom == For::Training {
        // As they were given: they are of the names that checkpoints of the family have.
        json["rank_pattern"] = json!(lora.rank_pattern);
        json["alpha_pattern"] = json!(lora.alpha_pattern);
    }
    let mut tensors = whole.tensors;
    for (name, Joined { rank, a, b, .. }) in joined {
        let shapes = (vec![rank, a.len() / rank], vec![b.len() / rank, rank]);
        tensors.insert(format!("{name}.lora_A.weight"), (shapes.0, a));
        tensors.insert(format!("{name}.lora_B.weight"), (shapes.1, b));
    }
    write(&tensors, &path).map_err(failed)?;
    crate::write_json(&dir.join(CONFIG), &json)
}

/// Copies the adapter in `from` into `to`. It then names `base`, if that is given.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_adapter(from: &Path, to: &Path, base: Option<&str>) -> Result<(), Error> {
    for name in [WEIGHTS, GENERATION] {
        let source = from.join(name);
        if name == WEIGHTS || source.exists() {
            let copied = std::fs::copy(&source, to.join(name));
            copied.map_err(|error| Error::Read {
                path: source,
                source: error,
            })?;
        }
    }
    let mut json: Map<String, Value> = crate::read_json(&from.join(CONFIG))?;
    if let Some(base) = base {
        json.insert("base_model_name_or_path".into(), json!(base));
        json.insert("revision".into(), Value::Null);
    }
    crate::write_json(&to.join(CONFIG), &Value::Object(json))
}

/// The module that the adapter on the parameter `name` is written for, and which of its outputs
/// the parameter's are.
fn stored_as(config: &DecoderConfig, name: &str, whom: For) -> (String, Option<Part>) {
    match whom {
        For::Peft => (
            module_name(config, name, 2),
            families::place(config, name, 2).part,
        ),
        For::Training => (name.trim_end_matches(".weight").to_owned(), None),
    }
}

fn write(tensors: &BTreeMap<String, Whole>, path: &Path) -> io::Result<()> {
    let bytes = tensors.iter().map(|(name, (shape, values))| {
        let mut bytes = Vec::new();
        encode(values, Dtype::F32, &mut bytes);
        (format!("{PREFIX}{name}"), shape.clone(), bytes)
    });
    let bytes: Vec<_> = bytes.collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
    });
    let views = views
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let temporary = path.with_extension("partial");
    let written = safetensors::serialize_to_file(views, Some(metadata), &temporary);
    written.map_err(io::Error::other)?;
    std::fs::rename(&temporary, path)
}

/// `adapter_config.json`.
fn describe(
    config: &DecoderConfig,
    head: Head,
    lora: &LoraConfig,
    base: &str,
    joined: &BTreeMap<String, Joined>,
    linear: &[String],
) -> Value {
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    let settings = |name: &String| {
        let adapter = joined.get(name)?;
        let alpha = adapter.scale * lora.divisor(adapter.rank);
        Some((adapter.rank, (alpha * 1e9).round() / 1e9))
    };
    // A word stands for all modules whose names end in it, if they are alike; else each is named.
    let word = |name: &String| {
        let word = name.rsplit('.').next().unwrap_or(name).to_owned();
        let mut others = linear.iter().filter(|other| ends_in(other, &word));
        match others.all(|other| settings(other) == settings(name)) {
            true => word,
            false => name.clone(),
        }
    };
    let mut targets = Vec::new();
    for name in joined.keys() {
        let (word, Some((rank, alpha))) = (word(name), settings(name)) else {
            continue;
        };
        if rank != lora.r {
            ranks.insert(word.clone(), json!(rank));
        }
        if alpha != lora.lora_alpha {
            alphas.insert(word.clone(), number(alpha));
        }
        if !targets.contains(&word) {
            targets.push(word);
        }
    }
    let mut whole: Vec<&str> = lora.modules_to_save.iter().map(String::as_str).collect();
    if head == Head::Score && !whole.contains(&"score") {
        whole.push("score");
    }
    let (base, revision) = match base.split_once('@') {
        Some((name, revision)) if !Path::new(base).is_absolute() => (name, Some(revision)),
        _ => (base, None),
    };
    json!({
        "peft_type": "LORA",
        "task_type": match head {
            Head::LanguageModel => "CAUSAL_LM",
            Head::Score => "SEQ_CLS",
        },
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": true,
        "r": lora.r,
        "lora_alpha": number(lora.lora_alpha),
        "lora_dropout": lora.lora_dropout,
        "target_modules": targets,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "modules_to_save": (!whole.is_empty()).then_some(whole),
        "bias": "none",
        // GPT-2 alone keeps its matrices the other way round.
        "fan_in_fan_out": config.family == Family::Gpt2,
        "init_lora_weights": true,
        "use_rslora": lora.use_rslora,
        "use_dora": false,
    })
}

/// A whole number without the point, as PEFT has `lora_alpha`.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// The adapter of a tensor on disk.
struct Joined {
    rank: usize,
    /// `[r, in]`.
    a: Vec<f32>,
    /// `[out, r]`.
    b: Vec<f32>,
    scale: f64,
}

/// The adapters on the layers that share a tensor, as one.
///
/// Each part's outputs see its own factors only: `A` holds the rows of all of them, and `B` is
/// zero where outputs and factors belong to different parts. Where all have the same `A`, as what
/// PEFT trained has, it is not repeated.
fn join(parts: &[Adapter]) -> Joined {
    let (first, scale) = (&parts[0], parts[0].scale);
    let shared = parts
        .iter()
        .all(|part| part.scale == scale && part.a == first.a);
    let rank = match shared {
        true => first.rank,
        false => parts.iter().map(|part| part.rank).sum(),
    };
    let outputs = match &first.part {
        Some(part) => part.of,
        None => first.b.len() / first.rank,
    };
    let mut joined = Joined {
        rank,
        a: match shared {
            true => first.a.clone(),
            false => parts.iter().flat_map(|part| &part.a).copied().collect(),
        },
        b: vec![0.0; outputs * rank],
        scale,
    };
    let mut column = 0;
    for part in parts {
        let everything = std::iter::once(0..outputs).collect();
        let ranges = part.part.as_ref().map_or(everything, |p| p.outputs.clone());
        let factor = (part.scale / scale) as f32;
        for (output, row) in ranges.into_iter().flatten().zip(part.b.chunks(part.rank)) {
            let start = output * rank + column;
            for (to, from) in joined.b[start..start + part.rank].iter_mut().zip(row) {
                *to = from * factor;
            }
        }
        if !shared {
            column += part.rank;
        }
    }
    joined
}

/// A matrix on the host with its shape on disk.
type Whole = (Vec<usize>, Vec<f32>);

/// An adapter on the host, factors row by row as they lie on disk.
struct Adapter {
    rank: usize,
    /// `[r, in]`.
    a: Vec<f32>,
    /// `[out, r]`.
    b: Vec<f32>,
    scale: f64,
    part: Option<Part>,
}

/// The adapters by the module they stand in on disk, which may be that of several layers.
fn gather(decoder: &Decoder, whom: For) -> io::Result<BTreeMap<String, Vec<Adapter>>> {
    let mut modules: BTreeMap<String, Vec<Adapter>> = BTreeMap::new();
    for (name, linear) in decoder.linears() {
        let Some(adapter) = linear.weight.adapter() else {
            continue;
        };
        let [a, b] = [&adapter.a, &adapter.b].map(|factor| to_f32(factor.base().transpose()));
        let (module, part) = stored_as(decoder.config(), &name, whom);
        let adapter = Adapter {
            rank: adapter.a.base().dims()[1],
            a: a?,
            b: b?,
            scale: adapter.scale,
            part,
        };
        modules.entry(module).or_default().push(adapter);
    }
    Ok(modules)
}

/// Collects what is trained in full, by name on disk.
struct TrainedWhole<'a> {
    config: &'a DecoderConfig,
    lora: &'a LoraConfig,
    path: Vec<String>,
    tensors: BTreeMap<String, Whole>,
    result: io::Result<()>,
}

impl ModuleVisitor for TrainedWhole<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if self.result.is_ok() && !in_adapter(&self.path) {
            self.result = self.take(param);
        }
    }
}

impl TrainedWhole<'_> {
    fn take<const R: usize>(&mut self, param: &Param<Tensor<R>>) -> io::Result<()> {
        let name = self.path.join(".");
        let module = module_name(self.config, &name, R);
        if !self.lora.trains_whole(&name, &module) {
            return Ok(());
        }
        let (place, shape) = (families::place(self.config, &name, R), param.base().dims());
        let disk = place.disk_shape(&shape);
        let count = disk.iter().product();
        let entry = self.tensors.entry(place.name.clone());
        let (_, whole) = entry.or_insert_with(|| (disk, vec![0.0; count]));
        place.pack(&to_f32(param.base())?, &shape, |start, values| {
            whole[start..start + values.len()].copy_from_slice(values);
            Ok(())
        })
    }
}
