//! PEFT's files to adapters on a decoder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    Tensor,
    module::{LoraAdapter, Module, Param, Reparameterizer},
    tensor::{DType, TensorData},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{BESIDE_MODEL, CONFIG, PREFIX, WEIGHTS};
use crate::{
    DecoderConfig, Error, Head, LoraConfig, TargetModules,
    checkpoint::Checkpoint,
    families,
    lora::{factor, is_linear, module_name, refuse_tied, trained_whole, unclear},
    place::{Layout, Part, Place},
};

/// What is read of `adapter_config.json`. Which layers have adapters, and of which rank, the
/// tensors tell.
#[derive(Deserialize)]
struct AdapterConfig {
    peft_type: String,
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

/// The adapter that a directory is, or holds beside the model it was merged into.
pub fn find_adapter(dir: &Path) -> Option<PathBuf> {
    let dirs = [dir.to_owned(), dir.join(BESIDE_MODEL)];
    dirs.into_iter().find(|dir| is_adapter(dir))
}

/// What an adapter says of the model it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its name, with `@` and the revision if there is one; none if the files do not tell.
    pub base: Option<String>,
    /// What stands on the decoder.
    pub head: Head,
}

impl AdapterInfo {
    /// Reads `dir/adapter_config.json`.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let json: Map<String, Value> = crate::read_json(&dir.join(CONFIG))?;
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let name = text("base_model_name_or_path").filter(|name| !name.is_empty());
        Ok(Self {
            base: name.map(|name| match text("revision") {
                Some(revision) => format!("{name}@{revision}"),
                None => name.to_owned(),
            }),
            head: match text("task_type") {
                Some("SEQ_CLS") => Head::Score,
                _ => Head::LanguageModel,
            },
        })
    }
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
    stored.checkpoint.finish_all()?;
    let (targets, whole) = (stored.targets, stored.whole);
    lora.target_modules = TargetModules::Named(targets);
    lora.modules_to_save = whole;
    check_patterns(&lora, &path)?;
    let base = AdapterInfo::read(dir)?.base.unwrap_or_default();
    Ok((module, lora, base))
}

/// Refuses patterns that PEFT would read otherwise: as expressions, or the first of several.
fn check_patterns(lora: &LoraConfig, path: &Path) -> Result<(), Error> {
    let TargetModules::Named(targets) = &lora.target_modules else {
        return Ok(());
    };
    let problems = [
        ("rank_pattern", unclear(&lora.rank_pattern, targets)),
        ("alpha_pattern", unclear(&lora.alpha_pattern, targets)),
    ];
    match problems.into_iter().find_map(|(key, p)| Some((key, p?))) {
        None => Ok(()),
        Some((key, problem)) => Err(Error::Key {
            path: path.into(),
            key,
            problem,
        }),
    }
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
        refuse_tied(self.config, path)?;
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
        let module = module_name(self.config, path, R);
        let names =
            |module: &str| ["A", "B"].map(|which| format!("{PREFIX}{module}.lora_{which}.weight"));
        let here = |names: &[String; 2]| names.iter().any(|name| self.checkpoint.has(name));
        // A layer of its own, or one of those that share a tensor.
        let (own, shared) = (names(path.trim_end_matches(".weight")), names(&module));
        let ([a, b], part) = match (here(&own), here(&shared)) {
            (true, _) => (own, None),
            (false, true) => (shared, families::place(self.config, path, R).part),
            (false, false) => return Ok(None),
        };
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
            b: factor("b", b, [rank, base[1]], part)?,
            scale: self.lora.scale(&module, rank),
        };
        self.targets.push(module);
        Ok(Some(adapter))
    }
}
