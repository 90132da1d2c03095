//! Reads what the earlier stages left, and checks that it belongs together.

mod judged;
mod policy;
mod scorers;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use afd_data::records::{Example, Sample, Scores, read_jsonl};
use afd_stats::{Calibration, is_constant};
use serde::{Deserialize, de::DeserializeOwned};

pub(crate) use policy::TrainedPolicy;
pub use policy::{LogProbs, PolicyInput};

use crate::{Error, GoldenRow, RunRecord, summary::Judged};

/// What is evaluated. All files of samples and scores have the same prompts in the same order.
#[derive(Debug, Clone, Copy)]
pub struct EvalInputs<'a> {
    /// [`Example`] rows with a demonstration; those of other prompts are ignored.
    pub test: &'a Path,
    /// [`Sample`] rows of the initial policy, the same number for each prompt.
    pub init_samples: &'a Path,
    /// [`Sample`] rows of the SFT policy, the same number M for each prompt.
    pub sft_samples: &'a Path,
    /// Names and files of [`Scores`] of the SFT samples, in the report's order. One called
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
const RESERVED: [&str; 5] = ["mean-logprob", "longest", "shortest", "random", "golden"];

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

/// A prompt with all its answers.
pub(crate) struct Dialogue {
    pub(crate) prompt: String,
    pub(crate) init: Vec<Sample>,
    pub(crate) sft: Vec<Sample>,
    pub(crate) demonstration: String,
}

/// Scores of the SFT samples, `[prompt][answer]`.
pub(crate) struct Ranker {
    pub(crate) name: String,
    pub(crate) scores: Vec<Vec<f64>>,
}

/// All that is read from [`EvalInputs`].
pub(crate) struct Data {
    pub(crate) dialogues: Vec<Dialogue>,
    pub(crate) rankers: Vec<Ranker>,
    pub(crate) rewards: BTreeMap<String, RewardSummary>,
    pub(crate) policies: Vec<TrainedPolicy>,
    pub(crate) judged: Vec<Judged>,
    /// How far apart answers lie; empty where nothing was embedded.
    pub(crate) spread: EmbeddingSpread,
    /// What further scorers say of all answers.
    pub(crate) scorers: Vec<(String, Vec<GoldenRow>)>,
}

impl Data {
    /// The prompts in their order.
    fn prompts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.dialogues
            .iter()
            .map(|dialogue| dialogue.prompt.as_str())
    }
}

pub(crate) fn read(inputs: &EvalInputs<'_>) -> Result<Data, Error> {
    let dialogues = dialogues(inputs)?;
    let mut rankers: Vec<Ranker> = Vec::new();
    for (name, path) in inputs.rankers {
        if RESERVED.contains(&name.as_str()) || rankers.iter().any(|other| other.name == *name) {
            return Err(Error::DuplicateRanker {
                ranker: name.clone(),
            });
        }
        rankers.push(ranker(name, path, inputs.sft_samples, &dialogues)?);
    }
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
    let mut data = Data {
        dialogues,
        rankers,
        rewards,
        policies: Vec::new(),
        judged: judged::read(inputs.judged)?,
        spread: inputs
            .spread
            .map(read_json)
            .transpose()?
            .unwrap_or_default(),
        scorers: Vec::new(),
    };
    for input in inputs.policies {
        let policy = policy::read(input, inputs.sft_samples, &data)?;
        data.policies.push(policy);
    }
    data.scorers = scorers::read(inputs.scorers, inputs.sft_samples, &data)?;
    Ok(data)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = afd_stage::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.into(),
        source,
    })
}

fn dialogues(inputs: &EvalInputs<'_>) -> Result<Vec<Dialogue>, Error> {
    let (init_path, sft_path) = (inputs.init_samples, inputs.sft_samples);
    let (init, sft) = (samples(init_path)?, samples(sft_path)?);
    if sft.len() < 2 {
        return Err(Error::TooFewPrompts {
            path: sft_path.into(),
            got: sft.len(),
        });
    }
    let prompts: Vec<&str> = sft.iter().map(|group| group[0].prompt.as_str()).collect();
    let init_prompts = init.iter().map(|group| group[0].prompt.as_str());
    same_prompts(init_path, init_prompts, sft_path, prompts.iter().copied())?;

    let examples: Vec<Example> = read_jsonl(inputs.test)?;
    let mut demonstrations: BTreeMap<String, String> = examples
        .into_iter()
        .filter_map(|example| Some((example.prompt, example.completion?)))
        .collect();
    let groups = init.into_iter().zip(sft).enumerate();
    groups
        .map(|(number, (init, sft))| {
            let prompt = sft[0].prompt.clone();
            let missing = || Error::NoDemonstration {
                path: inputs.test.into(),
                samples: sft_path.into(),
                prompt: number + 1,
            };
            let demonstration = demonstrations.remove(&prompt).ok_or_else(missing)?;
            Ok(Dialogue {
                prompt,
                init,
                sft,
                demonstration,
            })
        })
        .collect()
}

/// The samples of each prompt in turn.
fn samples(path: &Path) -> Result<Vec<Vec<Sample>>, Error> {
    let mut groups: Vec<Vec<Sample>> = Vec::new();
    for (row, sample) in read_jsonl::<Sample>(path)?.into_iter().enumerate() {
        let current = groups.last().filter(|group| {
            // Index 0 begins a prompt, even should it be the same text again.
            sample.index != 0 && group[0].prompt == sample.prompt
        });
        let expected = current.map_or(0, |group| group.len() as u32);
        if sample.index != expected {
            return Err(Error::SampleOrder {
                path: path.into(),
                row: row + 1,
                expected,
                got: sample.index,
            });
        }
        match groups.last_mut() {
            Some(group) if sample.index != 0 => group.push(sample),
            _ => groups.push(vec![sample]),
        }
    }
    for (number, group) in groups.iter().enumerate() {
        if group.len() != groups[0].len() {
            return Err(Error::SampleCount {
                path: path.into(),
                prompt: number + 1,
                expected: groups[0].len(),
                got: group.len(),
            });
        }
        for sample in group {
            let (tokens, logprobs) = (sample.completion_ids.len(), sample.logprobs.len());
            if tokens != logprobs || tokens == 0 {
                return Err(Error::LogProbs {
                    path: path.into(),
                    prompt: number + 1,
                    index: sample.index as usize,
                    tokens,
                    logprobs,
                });
            }
        }
    }
    Ok(groups)
}

fn ranker(
    name: &str,
    path: &Path,
    samples: &Path,
    dialogues: &[Dialogue],
) -> Result<Ranker, Error> {
    let answers = dialogues
        .iter()
        .map(|dialogue| (dialogue.prompt.as_str(), dialogue.sft.len()));
    let scores = scores(path, samples, answers)?;
    all_finite(&scores, |prompt, index, score| Error::ScoreNotFinite {
        ranker: name.to_owned(),
        path: path.into(),
        prompt,
        index,
        score,
    })?;
    // Scores that differ between prompts only are as useless for choosing an answer.
    if scores[0].len() > 1 && scores.iter().all(|scores| is_constant(scores)) {
        return Err(Error::ConstantScores {
            ranker: name.to_owned(),
            path: path.into(),
        });
    }
    Ok(Ranker {
        name: name.to_owned(),
        scores,
    })
}

/// The scores in `path` of the answers in `samples`, of which each prompt has as many as said.
fn scores<'a>(
    path: &Path,
    samples: &Path,
    answers: impl ExactSizeIterator<Item = (&'a str, usize)> + Clone,
) -> Result<Vec<Vec<f64>>, Error> {
    let rows: Vec<Scores> = read_jsonl(path)?;
    same_prompts(
        path,
        rows.iter().map(|row| row.prompt.as_str()),
        samples,
        answers.clone().map(|(prompt, _)| prompt),
    )?;
    for (number, (row, (_, expected))) in rows.iter().zip(answers).enumerate() {
        if row.scores.len() != expected {
            return Err(Error::ScoreCount {
                path: path.into(),
                prompt: number + 1,
                expected,
                got: row.scores.len(),
            });
        }
    }
    let widen = |row: &Scores| row.scores.iter().copied().map(f64::from).collect();
    Ok(rows.iter().map(widen).collect())
}

/// Hands prompt, index and score of the first that is no finite number to `error`.
fn all_finite(
    scores: &[Vec<f64>],
    error: impl Fn(usize, usize, f64) -> Error,
) -> Result<(), Error> {
    for (number, scores) in scores.iter().enumerate() {
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(error(number + 1, index, scores[index]));
        }
    }
    Ok(())
}

/// Checks the prompts of `path` against those of `other`.
fn same_prompts<'a>(
    path: &Path,
    prompts: impl ExactSizeIterator<Item = &'a str>,
    other: &Path,
    expected: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), Error> {
    if prompts.len() != expected.len() {
        return Err(Error::PromptCount {
            path: path.into(),
            other: other.into(),
            expected: expected.len(),
            got: prompts.len(),
        });
    }
    match prompts
        .zip(expected)
        .position(|(prompt, expected)| prompt != expected)
    {
        Some(number) => Err(Error::PromptsDiffer {
            path: path.into(),
            other: other.into(),
            prompt: number + 1,
        }),
        None => Ok(()),
    }
}
