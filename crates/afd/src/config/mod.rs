//! One TOML file to one validated [`Config`]; every problem is told, not just the first.
//!
//! Precedence, weakest first: `extends`, the file, `AFD__SECTION__KEY`, `--set section.key=value`.
//! There are no defaults: every value that affects a result stands in a file.

mod fields;
mod layers;
mod policies;
mod policy_rules;
mod problem;
mod recipe;
mod rules;
mod scorers;
mod sections;
mod size;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use afd_backend::{Dtype, Precision};
use afd_data::{DialogueForm, PrepareConfig, ReadOptions, SplitCaps, SplitFractions};
use afd_eval::EvalConfig;
use afd_hub::Model;
use afd_judge::{JudgeConfig, RewardServerConfig};
use afd_model::SaveOptions;
use afd_policy::{BestOfNConfig, SampleConfig};
use afd_reward::{ClosedFormConfig, PairsConfig, RewardConfig};
use afd_sft::SftConfig;
use afd_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::models::{self, Models};
pub(crate) use layers::{Layers, Overrides};
pub(crate) use policies::{
    AdversarialConfig, DiscriminatorStart, Method, PolicyConfig, PolicySource, ReferencePolicy,
    SamplerConfig,
};
pub(crate) use problem::ConfigError;
pub(crate) use recipe::Recipe;
pub(crate) use scorers::{ScorerConfig, ScorerKind};
use sections::Sections;
pub(crate) use size::Size;

/// A run, ready to start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The one seed; every use derives its own.
    pub(crate) seed: u64,
    /// Device name, see `afd doctor`.
    pub(crate) device: String,
    pub(crate) precision: Precision,
    pub(crate) model: ModelConfig,
    pub(crate) data: DataConfig,
    pub(crate) read: ReadOptions,
    pub(crate) world: WorldConfig,
    pub(crate) sft: (SftConfig, TrainConfig),
    pub(crate) sample: SampleConfig,
    pub(crate) generations: Generations,
    pub(crate) pairs: PairsConfig,
    pub(crate) reward: (RewardConfig, TrainConfig),
    pub(crate) closed_form: ClosedForms,
    pub(crate) best_of_n: BestOfNConfig,
    /// By name.
    pub(crate) policies: Vec<PolicyConfig>,
    /// A language model that compares answers, if one is asked.
    pub(crate) llm_judge: Option<JudgeConfig>,
    pub(crate) eval: EvalConfig,
    pub(crate) golden: GoldenConfig,
    /// Further scorers, by name.
    pub(crate) scorers: Vec<ScorerConfig>,
    /// The file that says all this again, whole.
    pub(crate) resolved: String,
}

/// The `[model]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelConfig {
    /// The initial policy: a Hugging Face directory, or a repository on the Hub as
    /// `org/name[@revision]`; which of the two, [`crate::models::named`] says.
    pub(crate) path: PathBuf,
    /// What trained weights are stored in.
    pub(crate) save_dtype: Dtype,
    /// Largest file of weights.
    pub(crate) max_shard_size: Size,
}

impl ModelConfig {
    /// How trained weights are written.
    pub(crate) fn save(&self) -> SaveOptions {
        SaveOptions {
            dtype: self.save_dtype,
            max_shard_size: self.max_shard_size.bytes(),
        }
    }
}

/// The `[data]` table, next to the keys of [`ReadOptions`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DataConfig {
    /// Where rows come from.
    pub(crate) source: DataSource,
    /// The file, for `source = "file"`.
    pub(crate) path: PathBuf,
    /// How dialogues become texts.
    #[serde(default)]
    pub(crate) dialogue_form: DialogueForm,
    /// Shares of the prompts.
    pub(crate) split: SplitFractions,
    /// Most rows per split.
    pub(crate) max_rows: SplitCaps,
    /// Longest prompt, in tokens.
    pub(crate) max_prompt_length: usize,
    /// Longest answer, in tokens.
    pub(crate) max_completion_length: usize,
    /// Shortest answer, in tokens.
    pub(crate) min_completion_length: usize,
}

impl DataConfig {
    /// The data crate's view of these settings.
    pub(crate) fn prepare(&self, seed: u64) -> PrepareConfig {
        PrepareConfig {
            seed,
            split: self.split.clone(),
            max_rows: self.max_rows.clone(),
            max_prompt_tokens: self.max_prompt_length,
            max_completion_tokens: self.max_completion_length,
            min_completion_tokens: self.min_completion_length,
        }
    }
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataSource {
    /// The synthetic world of the `[world]` table.
    World,
    /// `data.path`.
    File,
}

/// The `[world]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorldConfig {
    /// How far the demonstrator's content is from the base answers', 0 to 1.
    pub(crate) quality: f64,
    /// How far the demonstrator's style is, 0 to 1.
    pub(crate) heterogeneity: f64,
    /// Rows drawn.
    pub(crate) rows: u64,
}

/// How many answers are drawn for what, in the `[sample]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Generations {
    /// Answers of each policy per reward-model prompt.
    pub(crate) reward_num_generations: usize,
    /// Answers of the initial policy per test prompt.
    pub(crate) init_num_generations: usize,
    /// Answers of the fine-tuned policy per test prompt: the largest N of Best-of-N.
    pub(crate) test_num_generations: usize,
    /// Answers per test prompt of each policy made from it.
    pub(crate) policy_num_generations: usize,
    /// Answers of the fine-tuned policy per reward-model prompt that policies learn from.
    pub(crate) stored_num_generations: usize,
}

/// The `[closed_form]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClosedForms {
    /// Further closed forms by name, beside the plain one.
    #[serde(default)]
    pub(crate) variants: BTreeMap<String, ClosedFormConfig>,
}

/// What answers are measured by, in the `[eval]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GoldenConfig {
    /// The held-out scorer.
    pub(crate) golden: Golden,
    /// The sequence classifier, for `golden = "classifier"`; named as in `[model]`.
    pub(crate) golden_path: PathBuf,
    /// The server, for `golden = "http"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) golden_server: Option<RewardServerConfig>,
}

/// A scorer held out from all training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Golden {
    /// The synthetic world's exact reward.
    World,
    /// A reward model learned here from the preferences of the `judge` split alone.
    Judge,
    /// A Hugging Face sequence classifier.
    Classifier,
    /// A server that gives rewards.
    Http,
}

impl Golden {
    /// Its name in configurations and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Judge => "judge",
            Self::Classifier => "classifier",
            Self::Http => "http",
        }
    }
}

/// Keys whose values are paths: relative ones start at the file they stand in.
const PATHS: [&str; 2] = ["data.path", "llm_judge.prompt"];

/// The table of a language model as judge.
const JUDGE: &str = "llm_judge";

/// Keys whose values are such paths or the names of repositories.
const MODELS: [&str; 2] = [models::INITIAL, models::GOLDEN];

impl Config {
    /// Reads `path` with everything laid over it.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems found.
    pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut layers = Layers::load(path, overrides)?;
        layers.resolve_paths(&PATHS, |_, _| false);
        let is_repository =
            |text: &str, base: &Path| matches!(Model::parse(text, base), Model::Repository(_));
        layers.resolve_paths(&MODELS, is_repository);
        let scorers: Vec<String> = match layers.table.get(scorers::SCORERS) {
            Some(toml::Value::Table(named)) => {
                named.keys().map(|name| scorers::path_key(name)).collect()
            }
            _ => Vec::new(),
        };
        let scorers: Vec<&str> = scorers.iter().map(String::as_str).collect();
        layers.resolve_paths(&scorers, is_repository);
        let resolved = layers.to_toml();
        let mut sections = Sections::new(&layers);
        let root: Option<Root> = sections.read("");
        let precision = sections.read("precision");
        let model = sections.read("model");
        let data = sections.read("data");
        let read = sections.read("data");
        let world = sections.read("world");
        let sft = sections.read("sft");
        let sft_train = sections.read("sft");
        let sample = sections.read("sample");
        let generations = sections.read("sample");
        let pairs = sections.read("pairs");
        let reward = sections.read("reward");
        let reward_train = sections.read("reward");
        let closed_form = sections.read("closed_form");
        let best_of_n = sections.read("best_of_n");
        let policies = policies::read(&mut sections);
        let llm_judge = layers
            .table
            .contains_key(JUDGE)
            .then(|| sections.read::<JudgeConfig>(JUDGE));
        let eval = sections.read("eval");
        let golden = sections.read("eval");
        let scorers = scorers::read(&mut sections);
        sections.finish()?;
        // `finish` succeeded, so every section was read.
        let assembled = (|| {
            let root = root?;
            Some(Self {
                seed: root.seed,
                device: root.device,
                precision: precision?,
                model: model?,
                data: data?,
                read: read?,
                world: world?,
                sft: (sft?, sft_train?),
                sample: sample?,
                generations: generations?,
                pairs: pairs?,
                reward: (reward?, reward_train?),
                closed_form: closed_form?,
                best_of_n: best_of_n?,
                policies: policies?,
                llm_judge: llm_judge.flatten(),
                eval: eval?,
                golden: golden?,
                scorers: scorers?,
                resolved,
            })
        })();
        let config = assembled.ok_or_else(|| ConfigError::new(path, Vec::new()))?;
        let problems = config.problems();
        if problems.is_empty() {
            return Ok(config);
        }
        let located = problems
            .into_iter()
            .map(|(key, problem)| layers.locate(&key, problem))
            .collect();
        Err(ConfigError::new(path, located))
    }

    /// What the models' own files do not allow, once all are here. `path` is the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems found.
    pub(crate) fn check_models(&self, path: &Path, models: &Models) -> Result<(), ConfigError> {
        let classifiers = models.classifiers.iter();
        let classifiers: Vec<_> = classifiers
            .map(|(key, model)| (key.clone(), model.dir().to_path_buf()))
            .collect();
        let found = self.model_problems(Some(models.initial.dir()), &classifiers);
        if found.is_empty() {
            return Ok(());
        }
        let place = path.display().to_string();
        let problem = |(key, message)| problem::Problem {
            place: place.clone(),
            key,
            message,
        };
        Err(ConfigError::new(
            path,
            found.into_iter().map(problem).collect(),
        ))
    }
}

/// The keys outside all tables.
#[derive(Debug, Deserialize)]
struct Root {
    seed: u64,
    device: String,
}
