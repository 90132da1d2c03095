//! What the loop works with: models, prompts, and how a batch is drawn, seen and kept.

use std::path::Path;

use afd_backend::{Dtype, Placement};
use afd_data::{DialogueForm, TokenRow, Tokenizer};
use afd_model::{CausalLm, Pretrained, Scorer, Sequence, SequenceClassifier};
use afd_stage::{StageContext, seed::derive};
use afd_stats::{mean, standard_error};
use afd_train::{BoxError, Stepper, Sums, TrainConfig, schedule::learning_rate};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{
    account::Account,
    anchor,
    config::RlConfig,
    objective::{Batch, ValueFit},
    prepare::Seen,
    reward::{Reward, score},
    rollout::{Rollout, draw},
    transform::{self, Pool, RewardTransform},
};
use crate::{Error, SampleConfig, sample::distinct_prompts};

/// What learning starts from and is paid by.
pub struct RlInputs<'a> {
    /// The policy as it is before: a Hugging Face directory with tokenizer.
    pub policy: &'a Path,
    /// What an adapter's files call it.
    pub policy_name: &'a str,
    /// The policy that the KL term holds it to; often the same.
    pub reference: &'a Path,
    /// Where the policy is an adapter on another model, and an adapter is to be learned.
    pub stacked: Option<Stacked<'a>>,
    /// Prompts: [`Example`](afd_data::records::Example) rows.
    pub prompts: &'a Path,
    /// How dialogues are written.
    pub form: DialogueForm,
    /// What answers are worth.
    pub reward: Reward<'a>,
    /// Scores of the reference's stored answers to the prompts, which `best_of_n` in
    /// [`RlConfig::reward_transform`] measures the policy's against.
    pub pool: Option<&'a Path>,
    /// A reward that is watched and not learned from.
    pub held_out: Option<&'a dyn Scorer>,
}

/// A policy as the frozen adapter that it is on another model: the two share one memory, with what is
/// learned on top of them.
pub struct Stacked<'a> {
    /// The directory of the other model.
    pub base: &'a Path,
    /// That model [with the adapter](Pretrained::with_frozen_adapter).
    pub policy: CausalLm,
}

/// Largest difference that sampling and training may have on a token's log-probability, in nats, where
/// both compute in f32.
const GAP: f64 = 1e-4;

/// Where a checkpoint keeps the value model.
const VALUE: &str = "value";

/// The optimiser steps on a batch of answers, as micro-batches.
pub(super) type Plan = Vec<Vec<Vec<usize>>>;

/// All that does not change while the policy learns.
pub(super) struct Learner<'a> {
    pub(super) config: &'a RlConfig,
    pub(super) train: &'a TrainConfig,
    pub(super) sample: &'a SampleConfig,
    pub(super) inputs: &'a RlInputs<'a>,
    pub(super) ctx: &'a StageContext,
    placement: Placement,
    checks_gap: bool,
    tokenizer: Tokenizer,
    prompts: Vec<String>,
    pool: Pool,
    /// What holds it, where `ptx_coef` asks for it.
    pub(super) demonstrations: Vec<TokenRow>,
    /// The policy as it was.
    pub(super) start: CausalLm,
    reference: CausalLm,
    /// Answers in a batch.
    pub(super) answers: usize,
    /// Batches learned from in all.
    pub(super) batches: u64,
}

impl<'a> Learner<'a> {
    pub(super) fn new(
        config: &'a RlConfig,
        train: &'a TrainConfig,
        sample: &'a SampleConfig,
        inputs: &'a RlInputs<'a>,
        placement: &Placement,
        ctx: &'a StageContext,
    ) -> Result<Self, Error> {
        if !sample.params().is_unmodified() {
            return Err(Error::TruncatedSampler);
        }
        let tokenizer = Tokenizer::open(inputs.policy, inputs.form)?;
        let mut start = match &config.lora {
            None => CausalLm::load(inputs.policy, &placement.for_training())?,
            Some(lora) => {
                let seed = derive(ctx.seed(), "lora", 0);
                let policy = match &inputs.stacked {
                    Some(stacked) => stacked.policy.clone(),
                    None => CausalLm::load(inputs.policy, placement)?,
                };
                policy.with_lora(lora, inputs.policy_name, seed)?
            }
        }
        .with_end_tokens(tokenizer.eos_ids());
        start.config().check_vocabulary(tokenizer.vocab_size())?;
        start
            .model
            .set_gradient_checkpointing(train.gradient_checkpointing);
        let base = inputs.stacked.as_ref().map(|stacked| stacked.base);
        let reference = match &config.lora {
            // On the same memory.
            Some(_) if inputs.reference == inputs.policy => start.clone().without_adapters(),
            Some(_) if Some(inputs.reference) == base => start.clone().bare(),
            None if inputs.reference == inputs.policy => start.clone(),
            _ => CausalLm::load(inputs.reference, placement)?,
        };
        let (own, other) = (start.config().vocab_size, reference.config().vocab_size);
        if own != other {
            return Err(Error::ReferenceVocabulary {
                policy: inputs.policy.into(),
                own,
                reference: inputs.reference.into(),
                other,
            });
        }
        let mut prompts = distinct_prompts(inputs.prompts)?;
        let mut pool = Pool::default();
        if let (Some(RewardTransform::BestOfN { .. }), Some(path)) =
            (config.reward_transform, inputs.pool)
        {
            pool = Pool::read(path)?;
            prompts.retain(|prompt| pool.holds(prompt));
        }
        let demonstrations = match config.ptx_coef {
            None => Vec::new(),
            Some(_) => anchor::read(inputs.prompts, &tokenizer, start.config().context())?,
        };
        let micro = train.per_device_train_batch_size * train.gradient_accumulation_steps;
        let answers = micro * config.steps_per_generation;
        let each = config.num_generations;
        if !answers.is_multiple_of(each) || prompts.len() < answers / each {
            return Err(Error::BatchOfPrompts {
                path: inputs.prompts.into(),
                prompts: prompts.len(),
                answers,
                num_generations: each,
            });
        }
        let per_epoch = (prompts.len() / (answers / each)) as u64;
        let steps_each = config.steps_per_batch();
        let epochs = per_epoch.saturating_mul(train.num_train_epochs);
        let batches = match train.max_steps {
            0 => epochs,
            steps => epochs.min(steps.div_ceil(steps_each)),
        };
        let f32s = placement.compute() == Dtype::F32.into();
        Ok(Self {
            checks_gap: f32s,
            placement: match config.lora {
                None => placement.for_training(),
                Some(_) => placement.clone(),
            },
            config,
            train,
            sample,
            inputs,
            ctx,
            tokenizer,
            prompts,
            pool,
            demonstrations,
            start,
            reference,
            answers,
            batches,
        })
    }

    /// The answers of batch number `batch`.
    pub(super) fn draw(&self, policy: &CausalLm, batch: u64) -> Result<Vec<Rollout>, Error> {
        let count = self.answers / self.config.num_generations;
        let per_epoch = (self.prompts.len() / count) as u64;
        let mut order: Vec<usize> = (0..self.prompts.len()).collect();
        let seed = derive(self.ctx.seed(), "prompts", batch / per_epoch);
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let first = (batch % per_epoch) as usize * count;
        let prompts: Vec<&str> = order[first..first + count]
            .iter()
            .map(|&i| self.prompts[i].as_str())
            .collect();
        let seed = derive(self.ctx.seed(), "rollouts", batch);
        let (tokenizer, each) = (&self.tokenizer, self.config.num_generations);
        draw(policy, tokenizer, &prompts, each, self.sample, seed)
    }

    /// The optimiser steps on a batch, as micro-batches of answers.
    pub(super) fn plan(&self, rollouts: &[Rollout], batch: u64) -> Plan {
        let micro = self.train.per_device_train_batch_size;
        let in_a_step = micro * self.train.gradient_accumulation_steps;
        let pass = |iteration: u64| {
            let mut order: Vec<usize> = (0..rollouts.len()).collect();
            if self.config.steps_per_generation > 1 {
                let number = batch * self.config.num_iterations + iteration;
                let seed = derive(self.ctx.seed(), "minibatches", number);
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            }
            let steps = order.chunks(in_a_step).map(|step| {
                let mut step = step.to_vec();
                // Answers of similar length together: little padding.
                step.sort_by_key(|&i| (rollouts[i].row.ids.len(), i));
                step.chunks(micro).map(<[usize]>::to_vec).collect()
            });
            steps.collect::<Plan>()
        };
        (0..self.config.num_iterations).flat_map(pass).collect()
    }

    /// The demonstrations of an optimiser step, as micro-batches: numbers from `first` on.
    pub(super) fn demonstrations_of(&self, step: u64, first: usize) -> Vec<Vec<usize>> {
        if self.demonstrations.is_empty() {
            return Vec::new();
        }
        let micro = self.train.per_device_train_batch_size;
        let count = micro * self.train.gradient_accumulation_steps;
        let rows = &self.demonstrations;
        let mut chosen = anchor::of_step(rows.len(), count, step, self.ctx.seed());
        chosen.sort_by_key(|&i| (rows[i].ids.len(), i));
        let numbered: Vec<usize> = chosen.into_iter().map(|i| first + i).collect();
        numbered.chunks(micro).map(<[usize]>::to_vec).collect()
    }

    /// What the models say of the answers.
    pub(super) fn see(
        &self,
        policy: &CausalLm,
        value: Option<&Stepper<SequenceClassifier>>,
        rollouts: &[Rollout],
        plan: &[Vec<Vec<usize>>],
    ) -> Result<Seen, Error> {
        let sequences: Vec<Sequence<'_>> = rollouts.iter().map(Rollout::sequence).collect();
        let size = self.train.per_device_eval_batch_size;
        // In the micro-batches of the first pass, so that the ratio is 1 at the first step to the bit.
        let first_pass = &plan[..self.config.steps_per_generation];
        let values = match value {
            None => Vec::new(),
            Some(value) => value.valid().value_tokens(&sequences, size)?,
        };
        let mut rewards = self.inputs.reward.of(rollouts, size)?;
        if let Some(transform) = self.config.reward_transform {
            transform::apply(transform, &self.pool, rollouts, &mut rewards);
        }
        Ok(Seen {
            rewards,
            old: policy.score_log_probs_in(&sequences, &first_pass.concat())?,
            reference: self.reference.score_log_probs(&sequences, size)?,
            values,
        })
    }

    /// The held-out reward's mean and its standard error.
    pub(super) fn held_out(&self, rollouts: &[Rollout]) -> Result<Option<(f64, f64)>, Error> {
        let Some(scorer) = self.inputs.held_out else {
            return Ok(None);
        };
        let scores = score(scorer, rollouts)?;
        // Answers to one prompt share its difficulty: prompts are the independent units.
        let prompts = scores.chunks(self.config.num_generations).map(mean);
        let prompts: Vec<f64> = prompts.collect();
        Ok(Some((mean(&prompts), standard_error(&prompts))))
    }

    /// Sampling and training are to agree on what the policy is.
    pub(super) fn check_gap(&self, account: &Account, step: u64) -> Result<(), Error> {
        match self.checks_gap && account.gap > GAP {
            true => Err(Error::SamplerGap {
                step,
                gap: account.gap,
                limit: GAP,
            }),
            false => Ok(()),
        }
    }

    /// Keeps a checkpoint of all that learns, and the loop's state before the batch that is next.
    pub(super) fn save<S: Serialize>(
        &self,
        policy: &Stepper<CausalLm>,
        value: Option<&Stepper<SequenceClassifier>>,
        step: u64,
        state: &S,
    ) -> Result<(), Error> {
        let keep = |policy: &CausalLm, dir: &Path| -> Result<(), BoxError> {
            policy.save_checkpoint(dir)?;
            let Some(value) = value else {
                return Ok(());
            };
            let beside = dir.join(VALUE);
            std::fs::create_dir_all(&beside)?;
            Ok(value.write(&beside, &(), |model, dir| Ok(model.save_checkpoint(dir)?))?)
        };
        Ok(policy.save(self.ctx.dir(), step, state, keep)?)
    }

    /// A policy from a checkpoint.
    pub(super) fn load(&self, dir: &Path) -> Result<CausalLm, afd_model::Error> {
        let frozen = self.start.frozen();
        let mut policy = CausalLm::load_checkpoint(frozen.as_ref(), dir, &self.placement)?
            .with_end_tokens(self.tokenizer.eos_ids());
        policy
            .model
            .set_gradient_checkpointing(self.train.gradient_checkpointing);
        Ok(policy)
    }

    /// A fresh value model on the policy's decoder, if one is asked for.
    pub(super) fn value_model(&self) -> Result<Option<Stepper<SequenceClassifier>>, Error> {
        if self.config.value.is_none() {
            return Ok(None);
        }
        let seed = derive(self.ctx.seed(), "value", 0);
        let model = SequenceClassifier::load(self.inputs.policy, seed, &self.placement)?;
        let mut model = match &self.config.lora {
            None => model,
            Some(lora) => model.with_lora(lora, self.inputs.policy_name, seed)?,
        };
        let checkpointing = self.train.gradient_checkpointing;
        model.model.set_gradient_checkpointing(checkpointing);
        Ok(Some(Stepper::new(model, self.train)))
    }

    /// The value model of a checkpoint.
    pub(super) fn read_value(
        &self,
        model: Stepper<SequenceClassifier>,
        checkpoint: &Path,
    ) -> Result<Stepper<SequenceClassifier>, Error> {
        let dir = checkpoint.join(VALUE);
        if !dir.is_dir() {
            return Err(Error::ValueModel { path: dir });
        }
        let frozen = model.valid().frozen();
        let load = |dir: &Path| {
            let mut model =
                SequenceClassifier::load_checkpoint(frozen.as_ref(), dir, &self.placement)?;
            let checkpointing = self.train.gradient_checkpointing;
            model.model.set_gradient_checkpointing(checkpointing);
            Ok::<_, BoxError>(model)
        };
        let (model, ()) = model.read(&dir, load)?;
        Ok(model)
    }

    /// One step of the value model on answers of `batch`.
    pub(super) fn fit_value(
        &self,
        model: Stepper<SequenceClassifier>,
        batch: &Batch,
        micro_batches: &[Vec<usize>],
        step: u64,
    ) -> Result<(Stepper<SequenceClassifier>, Sums), Error> {
        let Some(value) = &self.config.value else {
            return Ok((model, Sums::default()));
        };
        let objective = ValueFit {
            batch,
            cliprange: value.cliprange_value,
        };
        let rate = self.rate(step) / self.train.learning_rate * value.learning_rate;
        if micro_batches
            .iter()
            .flatten()
            .all(|&i| batch.weights[i] == 0.0)
        {
            return Ok((model, Sums::default()));
        }
        let (model, stepped) = model.step(&objective, micro_batches, rate, step)?;
        Ok((model, stepped.sums))
    }

    /// The policy's learning rate at a step.
    pub(super) fn rate(&self, step: u64) -> f64 {
        learning_rate(self.train, step, self.steps())
    }

    /// Optimiser steps in all.
    pub(super) fn steps(&self) -> u64 {
        self.batches * self.config.steps_per_batch()
    }
}
