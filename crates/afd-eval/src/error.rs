//! What can go wrong in the evaluation, each with the place and the remedy.

use std::path::PathBuf;

/// Errors of this stage.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("{path} holds {got} prompts; an interval over prompts needs at least 2: sample for more test prompts", path = path.display())]
    TooFewPrompts { path: PathBuf, got: usize },
    #[error("{path}: row {row} has the sample index {got}, expected {expected}; the samples of a prompt must stand together, numbered from 0: sample again", path = path.display())]
    SampleOrder {
        path: PathBuf,
        row: usize,
        expected: u32,
        got: u32,
    },
    #[error("{path}: prompt {prompt} has {got} samples, prompt 1 has {expected}; draw the same number for each: sample again", path = path.display())]
    SampleCount {
        path: PathBuf,
        prompt: usize,
        expected: usize,
        got: usize,
    },
    #[error("{path}: the answer {index} to prompt {prompt} has {tokens} tokens and {logprobs} log-probabilities; there must be one for each token, and at least one: sample again", path = path.display())]
    LogProbs {
        path: PathBuf,
        prompt: usize,
        index: usize,
        tokens: usize,
        logprobs: usize,
    },
    #[error("{path} has {got} prompts, {other} has {expected}; they must be made from the same prompts: rebuild {path}", path = path.display(), other = other.display())]
    PromptCount {
        path: PathBuf,
        other: PathBuf,
        expected: usize,
        got: usize,
    },
    #[error("{path} and {other} differ in prompt {prompt}; they must have the same prompts in the same order: rebuild {path}", path = path.display(), other = other.display())]
    PromptsDiffer {
        path: PathBuf,
        other: PathBuf,
        prompt: usize,
    },
    #[error("{path} has no demonstration for prompt {prompt} of {samples}; give test data with a `completion` in each row, or sample for its prompts", path = path.display(), samples = samples.display())]
    NoDemonstration {
        path: PathBuf,
        samples: PathBuf,
        prompt: usize,
    },
    #[error("{path}: prompt {prompt} has {got} scores for {expected} samples; score the samples again", path = path.display())]
    ScoreCount {
        path: PathBuf,
        prompt: usize,
        expected: usize,
        got: usize,
    },
    #[error("{path}: the score of answer {index} to prompt {prompt} by {ranker} is {score}, not a finite number; look for a diverged training and train {ranker} again", path = path.display())]
    ScoreNotFinite {
        ranker: String,
        path: PathBuf,
        prompt: usize,
        index: usize,
        score: f64,
    },
    #[error("the reward model {ranker} gives every answer the same score ({path}), so it ranks nothing; look at its training (learning rate, data of one class only) and train it again", path = path.display())]
    ConstantScores { ranker: String, path: PathBuf },
    #[error("two rankers are called {ranker}; rename one")]
    DuplicateRanker { ranker: String },
    #[error(
        "a policy cannot be called {policy:?}: the name is empty, or that of another policy, of a ranker or of init, sft, demonstrator or best-of-n; rename it"
    )]
    PolicyName { policy: String },
    #[error("{path}: the log-ratio of {policy} to SFT is {log_ratio} for answer {index} to prompt {prompt}, not a finite number; draw its answers where SFT can answer too (top-p 1), or look for a diverged training", path = path.display())]
    LogRatioNotFinite {
        policy: String,
        path: PathBuf,
        prompt: usize,
        index: usize,
        log_ratio: f64,
    },
    #[error(
        "there is a reward summary of {ranker}, but no ranker of this name; the rankers are {known}"
    )]
    UnknownRanker { ranker: String, known: String },
    #[error("the smallest N is {smallest}, but {path} has only {samples} samples per prompt; lower eval.n or draw more samples", path = path.display())]
    TooFewSamples {
        path: PathBuf,
        smallest: usize,
        samples: usize,
    },
    #[error("the golden reward {golden} failed at prompt {prompt}")]
    Golden {
        golden: String,
        prompt: usize,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the golden reward {golden} gave {got} rewards for the {expected} answers to prompt {prompt}; correct the scorer"
    )]
    GoldenCount {
        golden: String,
        prompt: usize,
        expected: usize,
        got: usize,
    },
    #[error(
        "the golden reward {golden} gives {reward} to {answer} of prompt {prompt}, not a finite number; correct the scorer"
    )]
    GoldenNotFinite {
        golden: String,
        prompt: usize,
        answer: String,
        reward: f64,
    },
    #[error(
        "the golden reward {golden} gives every answer the same reward, so it judges nothing; choose another golden reward"
    )]
    GoldenConstant { golden: String },
    #[error("{path}: {source}; rebuild the stage that wrote it", path = path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} has the format {got}, this program reads {expected}; run the eval stage again", path = path.display())]
    Format {
        path: PathBuf,
        expected: u32,
        got: u32,
    },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
