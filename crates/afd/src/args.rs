//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Aligns language models from demonstrations.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// From demonstrations to an aligned policy, a reward model and a report.
    Pipeline(PipelineArgs),
    /// One stage, and whatever it needs that is not there yet.
    Stage {
        /// `data`, `sft`, `samples`, `pairs`, `reward`, `scores`, `policy`, `eval`, or one of
        /// a group, such as `reward/init-sft`.
        name: String,
        #[command(flatten)]
        args: PipelineArgs,
    },
    /// Draw answers to prompts.
    Generate(GenerateArgs),
    /// Log-probabilities of given answers, one per token.
    Logprobs(LogprobsArgs),
    /// Scores of given answers by a reward model.
    Score(RowArgs),
    /// Talk to a policy.
    Chat(ChatArgs),
    /// Read a configuration, tell everything that is wrong with it, print what it resolves to.
    Check(ConfigArgs),
    /// Show the results of a finished run.
    Report {
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// What this build and this machine can do.
    Doctor,
    /// Make a base checkpoint from the synthetic world.
    BaseModel {
        /// The recipe.
        #[arg(long)]
        config: PathBuf,
        /// Where the Hugging Face directory goes.
        #[arg(long)]
        output: PathBuf,
        /// Where its stages are kept, to resume from.
        #[arg(long, default_value = "runs/base-model")]
        run_dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, default_value = "configs/quickstart.toml")]
    pub(crate) config: PathBuf,
    /// The device; also AFD_DEVICE, or `device` in the file.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Set one key, as in `--set sft.learning_rate=1e-4`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PipelineArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The run's directory; by default runs/ and the configuration's name.
    #[arg(long)]
    pub(crate) run_dir: Option<PathBuf>,
    /// Run this stage and all after it anew.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Stop after this stage.
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Run this stage anew; may be repeated.
    #[arg(long)]
    pub(crate) force: Vec<String>,
}

/// Where a model runs and where rows go.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// A Hugging Face directory.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The device; also AFD_DEVICE.
    #[arg(long, env = "AFD_DEVICE", default_value = "flex")]
    pub(crate) device: String,
    /// Where every random draw comes from.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Sequences run at a time.
    #[arg(long, default_value = "64")]
    pub(crate) batch_size: NonZeroUsize,
    /// A file instead of standard output.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// JSON Lines with `prompt`.
    #[arg(long)]
    pub(crate) prompts: PathBuf,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Answers per prompt.
    #[arg(long, default_value = "1")]
    pub(crate) num_generations: NonZeroUsize,
}

#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// 1 is the policy itself, 0 its most likely token.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) temperature: f64,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 128)]
    pub(crate) max_new_tokens: usize,
    /// Keep this many tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub(crate) top_k: usize,
    /// Keep the most likely tokens up to this mass.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Drop tokens less likely than this share of the most likely one.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) min_p: f64,
    /// Makes seen tokens less likely; 1 is off.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) repetition_penalty: f64,
    /// Text that ends an answer; may be repeated.
    #[arg(long = "stop", value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RowArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// JSON Lines with `prompt` and `completion`.
    #[arg(long)]
    pub(crate) input: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LogprobsArgs {
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    /// Count the end token as part of a `completion` given as text. Rows with
    /// `completion_ids` are taken as they are.
    #[arg(long)]
    pub(crate) end_token: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}
