//! One TOML file to one validated [`Config`]; every problem is told, not just the first.
//!
//! Precedence, weakest first: `extends`, the file, `AFD__SECTION__KEY`, `--set section.key=value`.
//! There are no defaults: every value that affects a result stands in a file.

mod fields;
mod layers;
mod problem;
mod recipe;
mod sections;

use std::path::{Path, PathBuf};

use afd_data::{ReadOptions, SplitCaps, SplitFractions};
use afd_eval::EvalConfig;
use afd_policy::{BestOfNConfig, SampleConfig};
use afd_reward::RewardConfig;
use afd_sft::SftConfig;
use afd_train::TrainConfig;
use serde::{Deserialize, Serialize};

pub(crate) use layers::{Layers, Overrides};
pub(crate) use problem::ConfigError;
pub(crate) use recipe::Recipe;
use sections::Sections;

/// A run, ready to start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The one seed; every use derives its own.
    pub(crate) seed: u64,
    /// Device name, see `afd doctor`.
    pub(crate) device: String,
    pub(crate) model: ModelConfig,
    pub(crate) data: DataConfig,
    pub(crate) read: ReadOptions,
    pub(crate) world: WorldConfig,
    pub(crate) sft: (SftConfig, TrainConfig),
    pub(crate) sample: SampleConfig,
    pub(crate) generations: Generations,
    pub(crate) reward: (RewardConfig, TrainConfig),
    pub(crate) best_of_n: BestOfNConfig,
    pub(crate) eval: EvalConfig,
    pub(crate) golden: GoldenConfig,
    /// The file that says all this again, whole.
    pub(crate) resolved: String,
}

/// The `[model]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelConfig {
    /// The initial policy: a Hugging Face directory.
    pub(crate) path: PathBuf,
}

/// The `[data]` table, next to the keys of [`ReadOptions`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DataConfig {
    /// Where rows come from.
    pub(crate) source: DataSource,
    /// The file, for `source = "file"`.
    pub(crate) path: PathBuf,
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
}

/// What answers are measured by, in the `[eval]` table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GoldenConfig {
    /// The held-out scorer.
    pub(crate) golden: Golden,
    /// Directory of the sequence classifier, for `golden = "classifier"`.
    pub(crate) golden_path: PathBuf,
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
}

impl Golden {
    /// Its name in configurations and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Judge => "judge",
            Self::Classifier => "classifier",
        }
    }
}

/// Keys whose values are paths: relative ones start at the file they stand in.
const PATHS: [&str; 3] = ["model.path", "data.path", "eval.golden_path"];

impl Config {
    /// Reads `path` with everything laid over it.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems found.
    pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut layers = Layers::load(path, overrides)?;
        layers.resolve_paths(&PATHS);
        let resolved = layers.to_toml();
        let mut sections = Sections::new(&layers);
        let root: Option<Root> = sections.read("");
        let model = sections.read("model");
        let data = sections.read("data");
        let read = sections.read("data");
        let world = sections.read("world");
        let sft = sections.read("sft");
        let sft_train = sections.read("sft");
        let sample = sections.read("sample");
        let generations = sections.read("sample");
        let reward = sections.read("reward");
        let reward_train = sections.read("reward");
        let best_of_n = sections.read("best_of_n");
        let eval = sections.read("eval");
        let golden = sections.read("eval");
        sections.finish()?;
        // `finish` succeeded, so every section was read.
        let assembled = (|| {
            let root = root?;
            Some(Self {
                seed: root.seed,
                device: root.device,
                model: model?,
                data: data?,
                read: read?,
                world: world?,
                sft: (sft?, sft_train?),
                sample: sample?,
                generations: generations?,
                reward: (reward?, reward_train?),
                best_of_n: best_of_n?,
                eval: eval?,
                golden: golden?,
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

    /// Every value out of range or out of step with another, by key.
    fn problems(&self) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> = Vec::new();
        let mut section = |name: &str, found: Vec<(&'static str, &'static str)>| {
            problems.extend(
                found
                    .into_iter()
                    .map(|(key, rule)| (format!("{name}.{key}"), format!("must be {rule}"))),
            );
        };
        section("sft", self.sft.1.problems());
        section("reward", self.reward.1.problems());
        section("reward", self.reward.0.problems());
        let mut require = |fits: bool, key: &str, problem: &str| {
            if !fits {
                problems.push((key.into(), problem.into()));
            }
        };
        let (data, world, golden) = (&self.data, &self.world, &self.golden);
        let is_dial = |value: f64| (0.0..=1.0).contains(&value);
        require(
            is_dial(world.quality),
            "world.quality",
            "must be between 0 and 1",
        );
        require(
            is_dial(world.heterogeneity),
            "world.heterogeneity",
            "must be between 0 and 1",
        );
        require(
            data.source != DataSource::World || world.rows > 0,
            "world.rows",
            "must be 1 or more",
        );
        require(
            data.source != DataSource::File || !data.path.as_os_str().is_empty(),
            "data.path",
            "is empty; give the file, for example by --set data.path=FILE",
        );
        require(
            golden.golden != Golden::World || data.source == DataSource::World,
            "eval.golden",
            "cannot be \"world\" when data.source is \"file\"; take \"judge\" or \"classifier\"",
        );
        require(
            golden.golden != Golden::Judge || data.split.judge > 0.0,
            "data.split.judge",
            "must be above 0 for eval.golden = \"judge\"",
        );
        require(
            golden.golden != Golden::Classifier || !golden.golden_path.as_os_str().is_empty(),
            "eval.golden_path",
            "is empty; give the directory of a sequence classifier",
        );
        let counts = &self.generations;
        for (key, value) in [
            (
                "sample.reward_num_generations",
                counts.reward_num_generations,
            ),
            ("sample.init_num_generations", counts.init_num_generations),
            ("sample.test_num_generations", counts.test_num_generations),
            (
                "sample.generation_batch_size",
                self.sample.generation_batch_size,
            ),
        ] {
            require(value > 0, key, "must be 1 or more");
        }
        require(
            (1..=counts.test_num_generations).contains(&self.best_of_n.n),
            "best_of_n.n",
            "must be between 1 and sample.test_num_generations",
        );
        require(
            self.eval
                .n
                .iter()
                .all(|&n| n <= counts.test_num_generations),
            "eval.n",
            "must not exceed sample.test_num_generations",
        );
        if let Err(error) = self.sample.params().check() {
            problems.push(("sample".into(), error.to_string()));
        }
        if !self.sample.params().is_unmodified() {
            problems.push((
                "sample".into(),
                "must be temperature 1, top_k 0, top_p 1, min_p 0, repetition_penalty 1: log-ratios of a truncated sampler are infinite where supports differ".into(),
            ));
        }
        let eval = self.eval.problems().into_iter();
        problems.extend(eval.map(|(key, problem)| (format!("eval.{key}"), problem)));
        problems
    }
}

/// The keys outside all tables.
#[derive(Debug, Deserialize)]
struct Root {
    seed: u64,
    device: String,
}
