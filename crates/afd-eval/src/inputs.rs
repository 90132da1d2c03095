//! Reads what the earlier stages left, and checks that it belongs together.

mod answers;
mod asked;
mod groups;
mod judged;
mod policy;
mod scorers;
mod scores;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use afd_stats::Calibration;
use serde::{Deserialize, de::DeserializeOwned};

pub(crate) use answers::Answers;
use answers::Look;
pub(crate) use asked::{Asked, SampleFile};
pub(crate) use policy::TrainedPolicy;
pub use policy::{LogProbs, PolicyInput};

use crate::{
    Error, GoldenRow, RunRecord,
    evaluate::{MEAN_LOGPROB, RANDOM},
    summary::Judged,
    texts::Demonstrated,
};

/// What is evaluated. All files of samples and scores have the same prompts in the same order.
#[derive(Debug, Clone, Copy)]
pub struct EvalInputs<'a> {
    /// [`Example`](afd_data::records::Example) rows with a demonstration; those of other prompts are ignored.
    pub test: &'a Path,
    /// [`Sample`](afd_data::records::Sample) rows of the initial policy, the same number for each prompt.
    pub init_samples: &'a Path,
    /// [`Sample`](afd_data::records::Sample) rows of the SFT policy, the same number M for each prompt.
    pub sft_samples: &'a Path,
    /// Names and files of [`Scores`](afd_data::records::Scores) of the SFT samples, in the report's order. One called
    /// [`CLOSED_FORM`] must hold `log pi_sft − log pi_0` in nats: its mean estimates
    /// `KL(sft ‖ init)`.
    pub rankers: &'a [(String, PathBuf)],
    /// Policies with answers of their own, in the report's order; may be empty.
    pub policies: &'a [PolicyInput],
    /// Names of rankers, and JSON files with at least [`RewardSummary`]'s keys.
    pub reward_summaries: &'a [(String, PathBuf)],
    /// Names of policies, and JSON files with at least [`Judged`](crate::Judged)'s figures of what a
    /// language model says of their answers against SFT's; may be empty.
    pub judged: &'a [(String, PathBuf)],
    /// Names of further held-out scorers, and files of [`GoldenRow`]s that [`score_golden`](crate::score_golden)
    /// left of the same answers; may be empty.
    pub scorers: &'a [(String, PathBuf)],
    /// A JSON file with at least [`EmbeddingSpread`]'s keys, if answers were embedded.
    pub spread: Option<&'a Path>,
    /// What to call the golden reward.
    pub golden_name: &'a str,
    /// What the run was, for the report only.
    pub record: &'a RunRecord,
}

/// The name of the ranker that is the log-ratio of the two policies.
pub const CLOSED_FORM: &str = "closed-form";

/// The rankers that the evaluation adds by itself.
const RESERVED: [&str; 5] = [MEAN_LOGPROB, "longest", "shortest", RANDOM, "golden"];

/// How far apart policies' answers to a prompt lie as some model embeds them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct EmbeddingSpread {
    /// By policy (`init`, `sft`, and those trained from it) the mean cosine distance of two answers.
    pub spread: BTreeMap<String, Option<f64>>,
}

/// How well a reward model tells its two classes apart on held-out pairs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RewardSummary {
    /// Share of answers put on the right side.
    pub eval_accuracy: f64,
    /// Area under the receiver operating characteristic.
    pub eval_auc: f64,
    /// The training loss, in nats.
    pub eval_loss: f64,
    /// Number of pairs.
    pub pairs: u64,
    /// The AUC of the best classifier that sees surface features of the same answers only.
    #[serde(default)]
    pub shallow_auc: Option<f64>,
    /// The AUC of the two policies' log-ratio on the same answers.
    #[serde(default)]
    pub closed_form_auc: Option<f64>,
    /// Whether its logits mean what they say of the same answers.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// What speaks against it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Scores of the SFT samples, `[prompt][answer]`.
pub(crate) struct Ranker {
    pub(crate) name: String,
    pub(crate) scores: Vec<Vec<f64>>,
}

/// All that is read from [`EvalInputs`].
pub(crate) struct Data<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) init: Answers,
    pub(crate) sft: Answers,
    pub(crate) rankers: Vec<Ranker>,
    pub(crate) rewards: BTreeMap<String, RewardSummary>,
    pub(crate) policies: Vec<TrainedPolicy>,
    pub(crate) judged: Vec<Judged>,
    /// How far apart answers lie; empty where nothing was embedded.
    pub(crate) spread: EmbeddingSpread,
    /// What further scorers say of all answers.
    pub(crate) scorers: Vec<(String, Vec<GoldenRow>)>,
}

/// Reads the files of `inputs`; those with answers were checked to belong together when `asked` was read. Texts of answers
/// are kept to those prompts alone that are `shown`: all of SFT's, which rewards choose among, and of others the first.
pub(crate) fn read<'a>(
    inputs: &EvalInputs<'a>,
    asked: Asked<'a>,
    shown: &BTreeSet<usize>,
) -> Result<Data<'a>, Error> {
    let rankers = rankers(inputs, &asked)?;
    let rewards = rewards(inputs, &rankers)?;
    let judged = judged::read(inputs.judged)?;
    let spread = inputs.spread.map(read_json).transpose()?;
    let scorers = scorers::read(inputs, &asked)?;
    let demonstrations = asked.dialogues.iter();
    let look = Look {
        compared: asked.fewest_answers(),
        demonstrated: Demonstrated::by(demonstrations.map(|one| one.demonstration.as_str())),
        shown,
    };
    let policies = inputs.policies.iter().zip(&asked.policies);
    Ok(Data {
        init: answers::read(&asked.init, &look, 1)?,
        sft: answers::read(&asked.sft, &look, asked.sft.answers)?,
        policies: policies
            .map(|(input, file)| policy::read(input, file, &asked, &look))
            .collect::<Result<_, Error>>()?,
        rankers,
        rewards,
        judged,
        spread: spread.unwrap_or_default(),
        scorers,
        asked,
    })
}

fn rankers(inputs: &EvalInputs<'_>, asked: &Asked<'_>) -> Result<Vec<Ranker>, Error> {
    let mut rankers: Vec<Ranker> = Vec::new();
    for (name, path) in inputs.rankers {
        if RESERVED.contains(&name.as_str()) || rankers.iter().any(|other| other.name == *name) {
            return Err(Error::DuplicateRanker {
                ranker: name.clone(),
            });
        }
        rankers.push(scores::ranker(name, path, asked)?);
    }
    Ok(rankers)
}

fn rewards(
    inputs: &EvalInputs<'_>,
    rankers: &[Ranker],
) -> Result<BTreeMap<String, RewardSummary>, Error> {
    let mut rewards = BTreeMap::new();
    for (name, path) in inputs.reward_summaries {
        if rankers.iter().all(|ranker| ranker.name != *name) {
            let known: Vec<&str> = rankers.iter().map(|ranker| ranker.name.as_str()).collect();
            return Err(Error::UnknownRanker {
                ranker: name.clone(),
                known: known.join(", "),
            });
        }
        rewards.insert(name.clone(), read_json(path)?);
    }
    Ok(rewards)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = afd_stage::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.into(),
        source,
    })
}
