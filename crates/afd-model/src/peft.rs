//! Adapters on disk, as PEFT reads and writes them: `adapter_config.json` and
//! `adapter_model.safetensors`.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

use afd_backend::Dtype;
use burn::{
    Tensor,
    module::{LoraAdapter, Module, ModuleVisitor, Param, Reparameterizer},
    tensor::{DType, TensorData},
};
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    Decoder, DecoderConfig, Error, Family, Head, LoraConfig, TargetModules,
    checkpoint::Checkpoint,
    families,
    lora::{ends_in, factor, is_linear, module_name, trained_whole},
    place::{Layout, Part, Place},
    save::{encode, in_adapter, to_f32},
};

const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
/// What PEFT's wrapping puts before the names of a model.
const PREFIX: &str = "base_model.model.";

/// What is read of `adapter_config.json`. Which layers have adapters, and of which rank, the
/// tensors tell.
#[derive(Deserialize)]
struct AdapterConfig {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

/// Keys of PEFT's that are read, or change nothing of what the tensors say. Any other that is set
/// is refused.
const KNOWN: [&str; 20] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
];

/// The same, where only some values are harmless.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("bias", &["\"none\""]),
    // Others change the frozen weights when training begins.
    (
        "init_lora_weights",
        &["true", "\"gaussian\"", "\"orthogonal\"", "\"eva\""],
    ),
    ("task_type", &["\"CAUSAL_LM\"", "\"SEQ_CLS\""]),
    ("use_rslora", &["true"]),
];

/// Whether `dir` holds an adapter and no model.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG).exists() && !dir.join("config.json").exists()
}

/// The name of the model that the adapter in `dir` is on, if its files tell.
///
/// # Errors
/// When `adapter_config.json` is missing or malformed.
pub fn adapter_base(dir: &Path) -> Result<Option<String>, Error> {
    let json: Map<String, Value> = crate::read_json(&dir.join(CONFIG))?;
    let name = json.get("base_model_name_or_path").and_then(Value::as_str);
    Ok(name.filter(|name| !name.is_empty()).map(str::to_owned))
}

/// Hangs the adapters in `dir` on the frozen `module`.
pub(crate) fn load<M: Module>(
    module: M,
    config: &DecoderConfig,
    dir: &Path,
) -> Result<(M, LoraConfig, String), Error> {
    let path = dir.join(CONFIG);
    let json: Map<String, Value> = crate::read_json(&path)?;
    for (key, value) in &json {
        let allowed = ALLOWED.iter().find(|(allowed, _)| allowed == key);
        let allowed =
            allowed.is_some_and(|(_, values)| values.contains(&value.to_string().as_str()));
        if !is_unset(value) && !allowed && !KNOWN.contains(&key.as_str()) {
            return Err(Error::AdapterOption {
                path,
                key: key.clone(),
                value: value.to_string(),
            });
        }
    }
    let read: AdapterConfig =
        serde_json::from_value(Value::Object(json)).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
    if read.peft_type != "LORA" {
        return Err(Error::Key {
            path,
            key: "peft_type",
            problem: format!("is {}; LORA is read", read.peft_type),
        });
    }
    let mut lora = LoraConfig {
        r: read.r,
        lora_alpha: read.lora_alpha,
        lora_dropout: read.lora_dropout,
        target_modules: TargetModules::Named(Vec::new()),
        rank_pattern: read.rank_pattern,
        alpha_pattern: read.alpha_pattern,
        use_rslora: read.use_rslora,
        modules_to_save: Vec::new(),
    };
    if let Some((key, rule)) = lora
        .problems()
        .into_iter()
        .find(|(key, _)| *key != "target_modules")
    {
        return Err(Error::Key {
            path,
            key,
            problem: format!("must be {rule}"),
        });
    }
    let mut stored = Stored {
        config,
        checkpoint: Checkpoint::open_file(&dir.join(WEIGHTS))?,
        lora: &lora,
        targets: Vec::new(),
        whole: Vec::new(),
        error: None,
    };
    let module = module.apply_reparameterization(&mut stored);
    if let Some(error) = stored.error {
        return Err(error);
    }
    stored.checkpoint.finish()?;
    let (targets, whole) = (stored.targets, stored.whole);
    lora.target_modules = TargetModules::Named(targets);
    lora.modules_to_save = whole;
    Ok((
        module,
        lora,
        read.base_model_name_or_path.unwrap_or_default(),
    ))
}

/// Whether a value is that of an option nobody asked for.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    }
}

/// Reads adapters.
struct Stored<'a> {
    config: &'a DecoderConfig,
    checkpoint: Checkpoint,
    lora: &'a LoraConfig,
    targets: Vec<String>,
    whole: Vec<String>,
    error: Option<Error>,
}

impl Reparameterizer for &mut Stored<'_> {
    type Reparam = LoraAdapter;

    fn reparameterize<const R: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<R>>,
    ) -> (Param<Tensor<R>>, Option<LoraAdapter>) {
        let param = param.set_require_grad(false);
        let read = match self.whole(path, &param) {
            Ok(Some(whole)) => return (whole, None),
            Ok(None) if is_linear(path, R) => self.adapter(path, &param),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match read {
            Ok(adapter) => (param, adapter),
            Err(error) => {
                self.error.get_or_insert(error);
                (param, None)
            }
        }
    }
}

impl Stored<'_> {
    /// The parameter itself, where the adapter brings its own.
    fn whole<const R: usize>(
        &mut self,
        path: &str,
        param: &Param<Tensor<R>>,
    ) -> Result<Option<Param<Tensor<R>>>, Error> {
        let mut place = families::place(self.config, path, R);
        place.name = format!("{PREFIX}{}", place.name);
        if !self.checkpoint.has(&place.name) {
            return Ok(None);
        }
        let shape = param.base().dims();
        let values: Vec<f32> = self.checkpoint.read(&place, &shape)?;
        let data = TensorData::new(values, shape);
        let options = (&param.base().device(), DType::F32);
        self.whole.push(module_name(self.config, path, R));
        let value = Tensor::<R>::from_data(data, options);
        Ok(Some(trained_whole(Param::initialized(param.id, value))))
    }

    fn adapter<const R: usize>(
        &mut self,
        path: &str,
        param: &Param<Tensor<R>>,
    ) -> Result<Option<LoraAdapter>, Error> {
        let place = families::place(self.config, path, R);
        let module = module_name(self.config, path, R);
        let [a, b] = ["A", "B"].map(|which| format!("{PREFIX}{module}.lora_{which}.weight"));
        if !self.checkpoint.has(&a) && !self.checkpoint.has(&b) {
            return Ok(None);
        }
        let rank = self.checkpoint.rows_of(&a)?;
        let (base, device) = (param.base().dims(), param.base().device());
        let factor = |which: &str, name: String, shape: [usize; 2], part: Option<Part>| {
            let place = Place {
                name,
                layout: Layout::OutIn,
                part,
            };
            let values = self.checkpoint.read(&place, &shape)?;
            Ok::<_, Error>(factor(path, which, values, shape, &device))
        };
        let adapter = LoraAdapter {
            a: factor("a", a, [base[0], rank], None)?,
            b: factor("b", b, [rank, base[1]], place.part)?,
            scale: self.lora.scale(&module, rank),
        };
        self.targets.push(module);
        Ok(Some(adapter))
    }
}

/// Writes the adapters on `decoder`, and what of `module` is trained in full, into `dir`.
pub(crate) fn save<M: Module>(
    module: &M,
    decoder: &Decoder,
    head: Head,
    (lora, base): (&LoraConfig, &str),
    dir: &Path,
) -> Result<(), Error> {
    let config = decoder.config();
    let path = dir.join(WEIGHTS);
    let failed = |source| Error::Write {
        path: path.clone(),
        source,
    };
    let adapters = gather(decoder).map_err(failed)?;
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
    let mut tensors = whole.tensors;
    for (name, adapter) in &joined {
        let (a, b, rank) = (&adapter.a, &adapter.b, adapter.rank);
        let mut put = |which: &str, shape, values: &Vec<f32>| {
            tensors.insert(
                format!("{name}.lora_{which}.weight"),
                (shape, values.clone()),
            )
        };
        put("A", vec![rank, a.len() / rank], a);
        put("B", vec![b.len() / rank, rank], b);
    }
    write(&tensors, &path).map_err(failed)?;
    let linear = decoder.linears();
    let linear: Vec<String> = linear
        .map(|(name, _)| module_name(config, &name, 2))
        .collect();
    let json = describe(config, head, lora, base, &joined, &linear);
    crate::write_json(&dir.join(CONFIG), &json)
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
    json!({
        "peft_type": "LORA",
        "task_type": match head {
            Head::LanguageModel => "CAUSAL_LM",
            Head::Score => "SEQ_CLS",
        },
        "base_model_name_or_path": base,
        "revision": null,
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
fn gather(decoder: &Decoder) -> io::Result<BTreeMap<String, Vec<Adapter>>> {
    let mut modules: BTreeMap<String, Vec<Adapter>> = BTreeMap::new();
    for (name, linear) in decoder.linears() {
        let Some(adapter) = linear.weight.adapter() else {
            continue;
        };
        let [a, b] = [&adapter.a, &adapter.b].map(|factor| to_f32(factor.base().transpose()));
        let adapter = Adapter {
            rank: adapter.a.base().dims()[1],
            a: a?,
            b: b?,
            scale: adapter.scale,
            part: families::place(decoder.config(), &name, 2).part,
        };
        let module = module_name(decoder.config(), &name, 2);
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
