//! LoRA: low-rank adapters on the linear layers of a frozen decoder, as PEFT has them.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{LoraAdapter, Module, Param, Reparameterizer},
    tensor::{DType, Device, FloatDType, TensorData},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    Decoder, DecoderConfig, Error, families,
    weights::{name_hash, param_id},
};

/// Which adapters a model gets; names as in PEFT's `LoraConfig`.
///
/// A layer computes `x·W + s·dropout(x)·A·B` with `s = lora_alpha / r`, `W` and everything else
/// frozen. Source: Hu et al., arXiv 2106.09685. `A` is drawn from `U(−1/√in, 1/√in)` and `B` is 0,
/// as PEFT does by default, so that a fresh adapter changes nothing.
///
/// Departure: where a family keeps several layers in one tensor (`c_attn` of GPT-2,
/// `query_key_value` of GPT-NeoX, `qkv_proj` and `gate_up_proj` of Phi-3) each of them gets an
/// adapter of its own, of rank `r`. Written for PEFT they become one, exactly, of the sum of their
/// ranks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the adapters.
    pub r: usize,
    /// What the product of the factors is multiplied by, times the rank.
    pub lora_alpha: f64,
    /// Share of a layer's input that its adapter does not see in a training step.
    pub lora_dropout: f64,
    /// The layers with adapters.
    pub target_modules: TargetModules,
    /// Other ranks for some layers: by the end of the layer's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other values of `lora_alpha`, likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Divide by `√r` instead of `r` (Kalajdzievski, arXiv 2312.03732).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub use_rslora: bool,
    /// Modules trained in full beside the adapters, by the end of their names. The `score` of a
    /// reward model always is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

/// The layers that get adapters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// `"all-linear"`: every linear layer of the decoder.
    All(AllLinear),
    /// Layers by name, or the end of it from a dot on, as the family's checkpoints have it:
    /// `["q_proj", "v_proj"]`, `["c_attn"]`.
    Named(Vec<String>),
}

/// The word for every linear layer of the decoder, the output head left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllLinear {
    /// PEFT's word.
    #[serde(rename = "all-linear")]
    AllLinear,
}

impl TargetModules {
    /// Every linear layer.
    pub fn all_linear() -> Self {
        Self::All(AllLinear::AllLinear)
    }

    fn covers(&self, module: &str) -> bool {
        match self {
            Self::All(_) => true,
            Self::Named(names) => names.iter().any(|name| ends_in(module, name)),
        }
    }
}

impl LoraConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let named = match &self.target_modules {
            TargetModules::All(_) => true,
            TargetModules::Named(names) => !names.is_empty(),
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        [
            ("r", self.r > 0, "1 or more"),
            ("lora_alpha", positive(self.lora_alpha), "above 0"),
            (
                "lora_dropout",
                (0.0..1.0).contains(&self.lora_dropout),
                "in [0, 1)",
            ),
            (
                "target_modules",
                named,
                "\"all-linear\" or a list of layers' names",
            ),
            (
                "rank_pattern",
                self.rank_pattern.values().all(|rank| *rank > 0),
                "ranks of 1 or more",
            ),
            (
                "alpha_pattern",
                self.alpha_pattern.values().all(|alpha| positive(*alpha)),
                "values above 0",
            ),
        ]
        .into_iter()
        .filter(|(_, fits, _)| !fits)
        .map(|(key, _, rule)| (key, rule))
        .collect()
    }

    fn rank(&self, module: &str) -> usize {
        pattern(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// Whether the parameter `name` of `module` is trained in full.
    pub(crate) fn trains_whole(&self, name: &str, module: &str) -> bool {
        let mut named = self.modules_to_save.iter();
        name == "score.weight" || named.any(|name| ends_in(module, name))
    }

    /// What the product of the factors, of `rank`, is multiplied by.
    pub(crate) fn scale(&self, module: &str, rank: usize) -> f64 {
        let alpha = pattern(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        alpha / self.divisor(rank)
    }

    pub(crate) fn divisor(&self, rank: usize) -> f64 {
        match self.use_rslora {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        }
    }
}

/// The value of the first key that the module's name ends in.
fn pattern<V: Copy>(pattern: &BTreeMap<String, V>, module: &str) -> Option<V> {
    let mut found = pattern.iter().filter(|(name, _)| ends_in(module, name));
    found.next().map(|(_, value)| *value)
}

/// What is wrong with the first key of a pattern that fits none of `modules`, or of which another
/// key says otherwise: PEFT reads keys as expressions, and takes the first that fits.
pub(crate) fn unclear<V: PartialEq>(
    pattern: &BTreeMap<String, V>,
    modules: &[String],
) -> Option<String> {
    pattern.iter().find_map(|(name, value)| {
        let mut covered = modules
            .iter()
            .filter(|module| ends_in(module, name))
            .peekable();
        if covered.peek().is_none() {
            return Some(unknown(name));
        }
        let other = covered.find_map(|module| {
            let mut fitting = pattern.iter().filter(|(name, _)| ends_in(module, name));
            fitting.find(|(_, other)| *other != value)
        });
        other.map(|(other, _)| format!("says one thing by `{name}` and another by `{other}`"))
    })
}

fn unknown(name: &str) -> String {
    format!("names `{name}`, which is the end of no layer's name")
}

/// The table of the tokens.
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Refuses to train the embedding of a model whose output head it is too: PEFT would train one and
/// leave the other.
pub(crate) fn refuse_tied(config: &DecoderConfig, name: &str) -> Result<(), Error> {
    match config.tie_word_embeddings && name == EMBEDDING {
        false => Ok(()),
        true => Err(Error::Lora {
            key: "modules_to_save",
            problem: "names the embedding, which is the output head too in this model: PEFT does \
                      not train the two as one"
                .into(),
        }),
    }
}

/// Whether `module` is `name`, or ends in it after a dot.
pub(crate) fn ends_in(module: &str, name: &str) -> bool {
    let before = module.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The name that a checkpoint of the family has for the module of the parameter `name`.
pub(crate) fn module_name(config: &DecoderConfig, name: &str, rank: usize) -> String {
    let place = families::place(config, name, rank).name;
    let end = place.rfind('.').unwrap_or(place.len());
    place[..end].to_owned()
}

/// Whether a parameter called `name`, with `rank` dimensions, is the matrix of a linear layer of
/// the decoder.
pub(crate) fn is_linear(name: &str, rank: usize) -> bool {
    rank == 2 && name.starts_with("model.layers.") && name.ends_with(".weight")
}

/// How the adapters of a linear layer are used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AdapterUse {
    pub(crate) on: AdaptersOn,
    /// Share of the input that the learned one does not see, and what the draw depends on.
    pub(crate) dropout: Option<(f64, u64)>,
}

/// Which of a layer's adapters take part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AdaptersOn {
    #[default]
    All,
    /// The frozen one: the layer is as it was before something was learned.
    Frozen,
    /// The layer is as it was before it had any.
    None,
}

/// `x·A·B·s`, for `x` `[N, in]`, in the type of `x`.
pub(crate) fn low_rank(
    adapter: &LoraAdapter,
    x: Tensor<2>,
    dropout: Option<(f64, u64)>,
) -> Tensor<2> {
    let x = match dropout {
        Some((share, seed)) => {
            let [rows, width] = x.dims();
            let kept = kept(rows * width, share, seed);
            let device = x.device().inner();
            let kept = Tensor::<2>::from_data(TensorData::new(kept, [rows, width]), &device);
            let kept = kept.cast(x.dtype());
            x * kept
        }
        None => x,
    };
    let [a, b] = [&adapter.a, &adapter.b].map(|factor| factor.base().cast(x.dtype()));
    x.matmul(a).matmul(b).mul_scalar(adapter.scale)
}

/// `count` numbers, each 0 with probability `share` and otherwise what makes their mean 1.
fn kept(count: usize, share: f64, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bound = (share * f64::from(u32::MAX)) as u32;
    let scale = (1.0 / (1.0 - share)) as f32;
    let draw = || {
        if rng.random::<u32>() < bound {
            0.0
        } else {
            scale
        }
    };
    std::iter::repeat_with(draw).take(count).collect()
}

/// Freezes `module` and hangs fresh adapters on it. Each depends on `seed` and its name alone.
pub(crate) fn attach<M: Module>(
    module: M,
    config: &DecoderConfig,
    lora: &LoraConfig,
    seed: u64,
) -> Result<M, Error> {
    if let Some((key, rule)) = lora.problems().into_iter().next() {
        return Err(Error::Lora {
            key,
            problem: format!("must be {rule}"),
        });
    }
    let mut fresh = Fresh {
        config,
        lora,
        seed,
        modules: Vec::new(),
    };
    let module = module.apply_reparameterization(&mut fresh);
    let modules = fresh.modules;
    if lora.trains_whole(EMBEDDING, &module_name(config, EMBEDDING, 2)) {
        refuse_tied(config, EMBEDDING)?;
    }
    let unused = |names: &[String]| {
        let used = |name: &String| modules.iter().any(|module| ends_in(module, name));
        let name = names.iter().find(|name| !used(name));
        name.map(|name| unknown(name))
    };
    let targets = match &lora.target_modules {
        TargetModules::All(_) => None,
        TargetModules::Named(names) => unused(names),
    };
    let problems = [
        ("target_modules", targets),
        ("rank_pattern", unclear(&lora.rank_pattern, &modules)),
        ("alpha_pattern", unclear(&lora.alpha_pattern, &modules)),
        ("modules_to_save", unused(&lora.modules_to_save)),
    ];
    match problems.into_iter().find_map(|(key, p)| Some((key, p?))) {
        None => Ok(module),
        Some((key, problem)) => Err(Error::Lora {
            key,
            problem: format!(
                "{problem}; there are {}",
                last_words(module, config, key == "modules_to_save")
            ),
        }),
    }
}

/// The last words of the names of linear layers, or of all modules.
fn last_words<M: Module>(module: M, config: &DecoderConfig, all: bool) -> String {
    let mut words: Vec<String> = crate::parameter_names(&module)
        .iter()
        .filter(|name| all || is_linear(name, 2))
        .map(|name| module_name(config, name, 2))
        .filter_map(|name| Some(name.rsplit('.').next()?.to_owned()))
        .collect();
    words.sort();
    words.dedup();
    words.join(", ")
}

/// Draws adapters.
struct Fresh<'a> {
    config: &'a DecoderConfig,
    lora: &'a LoraConfig,
    seed: u64,
    /// The modules that were adapted or are trained in full.
    modules: Vec<String>,
}

impl Reparameterizer for &mut Fresh<'_> {
    type Reparam = LoraAdapter;

    fn reparameterize<const R: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<R>>,
    ) -> (Param<Tensor<R>>, Option<LoraAdapter>) {
        let module = module_name(self.config, path, R);
        if self.lora.trains_whole(path, &module) {
            self.modules.push(module);
            return (trained_whole(param), None);
        }
        let param = param.set_require_grad(false);
        if !is_linear(path, R) || !self.lora.target_modules.covers(&module) {
            return (param, None);
        }
        let (rank, base) = (self.lora.rank(&module), param.base());
        let (inputs, outputs) = (base.dims()[0], base.dims()[1]);
        let a = uniform(self.seed, path, inputs * rank, 1.0 / (inputs as f64).sqrt());
        let adapter = LoraAdapter {
            a: factor(path, "a", a, [inputs, rank], &base.device()),
            b: factor(
                path,
                "b",
                vec![0.0; rank * outputs],
                [rank, outputs],
                &base.device(),
            ),
            scale: self.lora.scale(&module, rank),
        };
        self.modules.push(module);
        (param, Some(adapter))
    }
}

/// A parameter that is trained in full, in f32 whatever the frozen ones are held in.
pub(crate) fn trained_whole<const R: usize>(param: Param<Tensor<R>>) -> Param<Tensor<R>> {
    let value = param.base().cast(FloatDType::F32);
    Param::initialized(param.id, value).set_require_grad(true)
}

/// The factor `which` of the adapter on the parameter `name`.
pub(crate) fn factor(
    name: &str,
    which: &str,
    values: Vec<f32>,
    shape: [usize; 2],
    device: &Device,
) -> Param<Tensor<2>> {
    let data = TensorData::new(values, shape);
    let tensor = Tensor::from_data(data, (device, DType::F32));
    let id = param_id(&format!("{name}.lora.{which}"));
    Param::initialized(id, tensor).set_require_grad(true)
}

fn uniform(seed: u64, name: &str, count: usize, bound: f64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ name_hash(&format!("{name}.lora.a")));
    let draw = || ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32;
    std::iter::repeat_with(draw).take(count).collect()
}

/// Takes the learned adapters off the decoder. If they are to be merged they are added to the weights
/// first, and so are those that were frozen.
pub(crate) fn detach(decoder: &mut Decoder, merge: bool) {
    for linear in decoder.linears_mut() {
        linear.adapter.on = AdaptersOn::All;
        if !linear.is_adapted() {
            continue;
        }
        let (id, base) = (linear.weight.id, linear.weight.base());
        let value = match merge {
            true => {
                let merged = linear.merged().cast(base.dtype());
                linear.frozen_adapter = None;
                linear.packed = None;
                merged
            }
            false => base,
        };
        linear.weight = Param::initialized(id, value).set_require_grad(true);
    }
}

/// Makes the learned adapters of the decoder part of what is frozen.
pub(crate) fn freeze_adapters(decoder: &mut Decoder) {
    for linear in decoder.linears_mut() {
        let Some(LoraAdapter { a, b, scale }) = linear.weight.adapter().cloned() else {
            continue;
        };
        let [a, b] = [a, b].map(|factor| factor.set_require_grad(false));
        linear.frozen_adapter = Some(LoraAdapter { a, b, scale });
        linear.weight = Param::initialized(linear.weight.id, linear.weight.base());
    }
}
