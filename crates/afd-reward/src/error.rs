//! What can go wrong between answers and rewards.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error(
        "no prompt has an answer on both sides ({chosen} against {rejected}); does the data hold what this reward model needs?"
    )]
    NoPairs { chosen: String, rejected: String },
    #[error(
        "{side}: {} hold no answer; one class would be empty",
        .paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    EmptyClass { side: String, paths: Vec<PathBuf> },
    #[error(
        "{chosen} and {rejected} give the same answers throughout: there is nothing to tell apart; are they two files of the same policy?"
    )]
    SameAnswers { chosen: String, rejected: String },
    #[error("{place}: chosen and rejected are equal, which is no preference; remove the row")]
    EqualAnswers { place: String },
    #[error(
        "{path}: {usable} pairs of at most {max_length} tokens are too few to train and evaluate on; raise reward.max_length or give more data"
    )]
    TooFewPairs {
        path: PathBuf,
        usable: usize,
        max_length: usize,
    },
    #[error(
        "{path} is a language model, which scores nothing; give the directory of a reward model, such as a run's reward/init-sft"
    )]
    NoRewardModel { path: PathBuf },
    #[error(
        "a reward model on embeddings needs them: run the stage `embeddings` on the pairs first"
    )]
    NoEmbeddings,
    #[error(
        "{path} holds embeddings by another model, or none; delete it, and the stage `embeddings` makes it anew"
    )]
    OtherEmbeddings { path: PathBuf },
    #[error(
        "{path} is on the embeddings of {expected}, and {base} is another model or has changed; give the one it was trained on with --base"
    )]
    OtherBase {
        path: PathBuf,
        base: PathBuf,
        expected: String,
    },
    #[error("{path}: {problem}")]
    RewardModelFile { path: PathBuf, problem: String },
    #[error(
        "{reward_model} scores all {answers} answers alike, {score}: nothing can be chosen by it; raise reward.num_train_epochs or reward.learning_rate, or look at its held-out AUC"
    )]
    AllEqual {
        reward_model: PathBuf,
        answers: usize,
        score: f32,
    },
    #[error("reward.max_length is {max_length}, the model's context only {context}")]
    MaxLength { max_length: usize, context: usize },
    #[error(
        "text {number} and its end token exceed the reward model's context of {context} tokens; shorten or leave it out"
    )]
    TooLong { number: usize, context: usize },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
