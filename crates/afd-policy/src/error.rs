//! What can go wrong while sampling, selecting and learning.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named in the messages")]
pub enum Error {
    #[error("{path} holds no prompt")]
    NoPrompts { path: PathBuf },
    #[error(
        "prompt {number} of {path} has {tokens} tokens; with {new} new ones it exceeds the model's context of {context}: lower data.max_prompt_length or sample.max_completion_length"
    )]
    PromptTooLong {
        path: PathBuf,
        number: usize,
        tokens: usize,
        new: usize,
        context: usize,
    },
    #[error("{path} does not score the stored answers: {problem}; run again with --force scores")]
    Scores { path: PathBuf, problem: String },
    #[error(
        "{path} holds {prompts} prompts; a batch of {answers} answers (per_device_train_batch_size × gradient_accumulation_steps × steps_per_generation), {num_generations} to each, must be of whole prompts, and not of more than there are"
    )]
    BatchOfPrompts {
        path: PathBuf,
        prompts: usize,
        answers: usize,
        num_generations: usize,
    },
    #[error(
        "the reward gives all {num_generations} answers the same score, for each of {prompts} prompts: there is nothing to learn from; look at the reward model's diagnostics"
    )]
    ConstantReward {
        prompts: usize,
        num_generations: usize,
    },
    #[error(
        "{path} holds no demonstration that fits the model's context; `ptx_coef` needs some: leave it out, or give data with demonstrations"
    )]
    NoDemonstrations { path: PathBuf },
    #[error("the reward of an answer is not finite; look at what it was trained on")]
    RewardNotFinite,
    #[error("the reward cannot read an answer: {0}")]
    Scorer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "the policy {policy} has a vocabulary of {own}, the reference {reference} one of {other}: their log-probabilities are of different tokens; take a reference that the policy came from"
    )]
    ReferenceVocabulary {
        policy: PathBuf,
        own: usize,
        reference: PathBuf,
        other: usize,
    },
    #[error(
        "learning from a policy's own answers needs the policy's own distribution: set sample.temperature = 1, top_k = 0, top_p = 1, min_p = 0, repetition_penalty = 1"
    )]
    TruncatedSampler,
    #[error(
        "before step {step} sampling and training differ by {gap:.1e} nats on a token, more than {limit:.0e}: they are two policies, and nothing learned would be the gradient of either; run the conformance tests on this device"
    )]
    SamplerGap { step: u64, gap: f64, limit: f64 },
    #[error(
        "the checkpoint has no value model at {path}, though `advantage = \"gae\"` needs one; delete the checkpoint to start this stage again"
    )]
    ValueModel { path: PathBuf },
    #[error(
        "{policy} and {initial} cannot be set against each other: their tokenizers give ids to other tokens; take a policy and what it was trained from"
    )]
    Tokenizers { policy: PathBuf, initial: PathBuf },
    #[error("{policy} and {initial} cannot be set against each other: {source}")]
    TwoModels {
        policy: PathBuf,
        initial: PathBuf,
        source: Box<afd_model::Error>,
    },
    #[error("there is no shard {index} of {count}: shards are 1/n to n/n")]
    Shard { index: usize, count: usize },
    #[error(
        "{path} is no part of these answers: batch {batch} holds others; draw the shard again from the same policy, prompts and configuration"
    )]
    OtherShard { path: PathBuf, batch: usize },
    #[error(
        "no choice among {n} answers by the scores of {path} lies {nats} nats from choosing at random: too many scores are equal; lower best_of_n.target_kl or raise best_of_n.n"
    )]
    TargetKl { path: PathBuf, nats: f64, n: usize },
    #[error("{path}: {problem}; draw the samples again with --force samples")]
    Samples { path: PathBuf, problem: String },
    #[error(
        "{path} scores the answers to each of the {prompts} prompts alike: none is to be preferred; give another reward model, or draw more answers with sample.num_generations"
    )]
    EqualRewards { path: PathBuf, prompts: usize },
    #[error(
        "{path}: only {usable} prompts can be learned from, and training and evaluation need {least} each; give more prompts, or more answers to each"
    )]
    TooFewPrompts {
        path: PathBuf,
        usable: usize,
        least: usize,
    },
    #[error(
        "{path}: answer {index} to prompt {number} makes {tokens} tokens with it, the model's context is {context}: lower data.max_prompt_length or sample.max_completion_length"
    )]
    AnswerTooLong {
        path: PathBuf,
        number: usize,
        index: u32,
        tokens: usize,
        context: usize,
    },
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Data(#[from] afd_data::Error),
    #[error(transparent)]
    Model(#[from] afd_model::Error),
    #[error(transparent)]
    Train(#[from] afd_train::Error),
    #[error(transparent)]
    Stage(#[from] afd_stage::Error),
}
