//! The command line.

mod bench;

use std::{num::NonZeroUsize, path::PathBuf};

use afd_backend::{DeviceError, Dtype, Placement, Precision};
use afd_data::DialogueForm;
use afd_policy::Shard;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::bench::{BenchArgs, Shape, Variant, Work};
use crate::config::Size;

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
        /// Of `samples` or `samples/NAME`: draw this part of the answers, as in 2/4, and keep it as
        /// shards/samples/NAME/2-of-4. Each machine takes a copy of one run; with their shards copied
        /// into it, the stage without --shard puts them together, and draws what is missing.
        #[arg(long, value_name = "I/N")]
        shard: Option<Shard>,
        #[command(flatten)]
        args: PipelineArgs,
    },
    /// Draw answers to prompts.
    Generate(GenerateArgs),
    /// Log-probabilities of given answers, one per token.
    Logprobs(LogprobsArgs),
    /// Scores of given answers by a reward model.
    Score(ScoreArgs),
    /// Pairs to learn a reward model from: of two files of answers, of preferences, or a mixture.
    Pairs(PairsArgs),
    /// A reward model of such pairs, learned as a configuration's `[reward]` says.
    Reward(PairsArgs),
    /// The identities of the method on a world small enough to enumerate, as tables and a picture.
    Theory {
        /// Write the picture of mass-covering and mode-seeking here, an SVG file.
        #[arg(long)]
        picture: Option<PathBuf>,
    },
    /// Talk to a policy.
    Chat(ChatArgs),
    /// Read a configuration, tell everything that is wrong with it, print what it resolves to.
    Check(ConfigArgs),
    /// Show the results of a finished run, or of several side by side.
    Report {
        /// The runs' directories.
        #[arg(required = true, value_name = "RUN")]
        run_dirs: Vec<PathBuf>,
    },
    /// Print the JSON Schema of a run's eval/summary.json.
    Schema,
    /// Show what a run took, stage by stage, and what its policies gained for it.
    Costs {
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// Follow a run of another process: its curves as they come, its stages as they end.
    Watch {
        /// The run's directory.
        run_dir: PathBuf,
    },
    /// Write a trained model as transformers, vLLM or PEFT load it, with its card.
    Export(ExportArgs),
    /// What this build and this machine can do.
    Doctor(DoctorArgs),
    /// Measure training, scoring and sampling of a random model, variants side by side.
    Bench(BenchArgs),
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

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The whole model, adapters merged, for transformers, vLLM and what converts from them.
    Hf,
    /// The adapters alone, for PEFT.
    Peft,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A stage of a run, such as runs/quickstart/sft; or any directory of a model or an adapter.
    pub(crate) from: PathBuf,
    /// What to write.
    #[arg(long, value_enum)]
    pub(crate) to: ExportFormat,
    /// The new directory.
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// The model an adapter is on, where its files name none or another.
    #[arg(long)]
    pub(crate) base: Option<PathBuf>,
    /// What a whole model's weights are stored in: f32 (if not given), bf16 or f16.
    #[arg(long, value_parser = dtype)]
    pub(crate) save_dtype: Option<Dtype>,
    /// Largest file of a whole model's weights; 5GB if not given.
    #[arg(long)]
    pub(crate) max_shard_size: Option<Size>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only this device.
    #[arg(long)]
    pub(crate) device: Option<String>,
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
    /// Show the stages and the curves of the one under way, as `afd watch` does; on a terminal only. Killed from outside,
    /// it leaves the terminal as it is: `reset` mends that.
    #[arg(long)]
    pub(crate) dashboard: bool,
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
    /// What the model is held and computed in: f32, bf16 or f16.
    #[arg(long, value_parser = dtype, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Dialogues are written by the model's chat template, not as `Human:` and `Assistant:`; texts
    /// given here are so already.
    #[arg(long)]
    pub(crate) chat_template: bool,
    /// Where every random draw comes from.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Sequences run at a time; where several threads draw answers, by each of them.
    #[arg(long, default_value = "64")]
    pub(crate) batch_size: NonZeroUsize,
    /// A file instead of standard output.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
}

impl ModelArgs {
    /// How dialogues are written.
    pub(crate) fn form(&self) -> DialogueForm {
        match self.chat_template {
            true => DialogueForm::ChatTemplate,
            false => DialogueForm::Hh,
        }
    }

    /// Where the model goes.
    ///
    /// # Errors
    /// When the device is not there, or does not compute in the type.
    pub(crate) fn placement(&self) -> Result<Placement, DeviceError> {
        let precision = Precision {
            params: self.dtype,
            compute: self.dtype,
        };
        Placement::open(&self.device, precision)
    }
}

fn dtype(name: &str) -> Result<Dtype, String> {
    let all = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let known = all.into_iter().find(|dtype| dtype.name() == name);
    known.ok_or_else(|| "must be f32, bf16 or f16".to_owned())
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
    /// A Hugging Face directory with the same tokenizer, such as what the model was trained from: the
    /// model is led away from it, to logits of `log p + STRENGTH (log p − log p_0)` at each token.
    #[arg(long, value_name = "MODEL", requires = "strength")]
    pub(crate) away_from: Option<PathBuf>,
    /// How far: 0 is the model itself.
    #[arg(long, requires = "away_from", allow_negative_numbers = true)]
    pub(crate) strength: Option<f64>,
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
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    /// Cut texts to this many tokens, the end token included; without it a text that exceeds the
    /// model's context is an error.
    #[arg(long)]
    pub(crate) max_length: Option<NonZeroUsize>,
    /// Where texts are cut: right (as transformers does if nothing is said) or left, after the begin
    /// token that a tokenizer puts first.
    #[arg(long, value_enum, default_value_t = Side::Right, requires = "max_length")]
    pub(crate) truncation_side: Side,
    /// The model whose embeddings the reward model reads, where it is not where it was in training.
    #[arg(long)]
    pub(crate) base: Option<PathBuf>,
}

/// Where texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// At the end.
    Right,
    /// At the beginning.
    Left,
}

/// What pairs are made of, and the run that they, and the reward model, are stages of.
#[derive(Debug, Args)]
pub(crate) struct PairsArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The run's directory.
    #[arg(long)]
    pub(crate) run_dir: PathBuf,
    /// What the stages are called: pairs/NAME, reward/NAME.
    #[arg(long)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) from: PairsFrom,
    /// With `--chosen` and `--rejected`: no prompt is on both sides, as when two sources answered
    /// different prompts.
    #[arg(long, requires = "chosen")]
    pub(crate) unmatched: bool,
    /// With `--chosen`: JSON Lines with `prompt` and `completion` of the side with label 0.
    #[arg(long, requires = "chosen")]
    pub(crate) rejected: Option<PathBuf>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PairsFrom {
    /// Preferences: pairs of a stage, or `prompt`, `chosen`, `rejected` in any form that
    /// `data.path` takes.
    #[arg(long)]
    pub(crate) preferences: Option<PathBuf>,
    /// JSON Lines with `prompt` and `completion` of the side with label 1, such as samples.jsonl.
    #[arg(long, requires = "rejected")]
    pub(crate) chosen: Option<PathBuf>,
    /// A file of pairs and its share of a mixture, as in `--mix new.jsonl=0.75`; to be repeated.
    /// Earlier rounds' pairs are replayed so.
    #[arg(long, value_name = "FILE=SHARE", value_parser = share)]
    pub(crate) mix: Vec<(PathBuf, f64)>,
}

fn share(text: &str) -> Result<(PathBuf, f64), String> {
    let wrong = || "must be FILE=SHARE, as in new.jsonl=0.75".to_owned();
    let (file, share) = text.rsplit_once('=').ok_or_else(wrong)?;
    let share: f64 = share.parse().map_err(|_| wrong())?;
    match share > 0.0 && share.is_finite() {
        true => Ok((file.into(), share)),
        false => Err("must have a share above 0".to_owned()),
    }
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
