//! How a policy is made by each method, and the stages that tell how far it is from the fine-tuned one.

use std::path::Path;

use afd_model::{CausalLm, LoraConfig, Pretrained, Scorer, find_adapter};
use afd_policy::{
    BlocksConfig, ExtrapolateConfig, OfflineConfig, RlConfig, SampleConfig, SampleInputs,
    extrapolate,
    offline::{self, OfflineInputs},
    rl::{self, RlInputs, Stacked, reward::Reward},
    sample,
};
use afd_reward::{ClosedFormConfig, Reference, RewardModel, closed_form, score};
use afd_sft::{MOVING_AVERAGE, snapshot_dir};
use afd_stage::Artifact;
use afd_train::TrainConfig;
use serde::Serialize;

use super::{DEMONSTRATIONS, Ingredients, PROMPTS};
use crate::{
    config::{PolicySource, ReferencePolicy, SamplerConfig},
    error::Error,
    stages::Stages,
    steps::Stopped,
};

/// What pays a policy that learns from its own answers.
pub(super) struct Paid<'a> {
    /// A reward model, …
    pub(super) reward: Option<&'a Artifact>,
    /// … or a closed form.
    pub(super) closed_form: Option<&'a ClosedFormConfig>,
    /// A reward model that is watched.
    pub(super) held_out: Option<&'a Artifact>,
    /// Scores of stored answers, where a policy is measured against them.
    pub(super) pool: Option<&'a Artifact>,
}

impl Stages<'_> {
    /// What of the configuration every trained policy depends on.
    fn making(&self) -> impl Serialize + use<'_> {
        let model = &self.config.model;
        let saved = (model.save_dtype, &model.max_shard_size);
        (saved, self.config.precision, self.form(), self.batch())
    }

    /// From its own answers, beginning with `start`.
    pub(super) fn reinforced(
        &self,
        name: &str,
        source: &PolicySource,
        (rl, train): (&RlConfig, &TrainConfig),
        (start, paid): (&Artifact, &Paid<'_>),
        from: &Ingredients<'_>,
    ) -> Result<Artifact, Stopped> {
        let config = self.config;
        let mut inputs = vec![from.initial, from.sft, from.data];
        if start.name() != from.sft.name() {
            inputs.push(start);
        }
        inputs.extend(paid.reward);
        inputs.extend(paid.held_out);
        inputs.extend(paid.pool);
        let form = paid.closed_form;
        let key = (rl, train, source, form, &config.sample, self.making());
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let load = |model: &Artifact| {
                RewardModel::load(model.path(), &self.reading(from.initial), self.placement)
            };
            let (scorer, watched) = (
                paid.reward.map(load).transpose()?,
                paid.held_out.map(load).transpose()?,
            );
            let stacked = match &rl.lora {
                Some(lora) if start.name() == from.sft.name() => self.stacked(lora, from)?,
                _ => None,
            };
            let reward = match (&scorer, form) {
                (Some(scorer), _) => Reward::Answers(scorer),
                (None, Some(form)) => self.log_ratio_reward(form, stacked.as_ref(), from)?,
                (None, None) => return Err(Error::Usage(format!("`{name}` has no reward"))),
            };
            let pool = paid.pool.map(|scores| scores.file(score::SCORES));
            let inputs = RlInputs {
                policy: start.path(),
                policy_name: start.name(),
                reference: match source.reference {
                    Some(ReferencePolicy::Initial) => from.initial.path(),
                    Some(ReferencePolicy::Start) => start.path(),
                    Some(ReferencePolicy::Sft) | None => from.sft.path(),
                },
                stacked: stacked.map(|policy| Stacked {
                    base: from.initial.path(),
                    policy,
                }),
                prompts: &from.data.file(PROMPTS),
                form: self.form(),
                reward,
                pool: pool.as_deref(),
                held_out: watched.as_ref().map(|model| model as &dyn Scorer),
            };
            let (sample, save) = (&config.sample, config.model.save());
            rl::run(rl, train, sample, &inputs, self.placement, save, ctx)?;
            Ok::<(), Error>(())
        })
    }

    /// The fine-tuned policy as an adapter on the initial one, if that is how it was made, and `lora` leaves it
    /// one: a module that is trained in full would be written without it.
    fn stacked(
        &self,
        lora: &LoraConfig,
        from: &Ingredients<'_>,
    ) -> Result<Option<CausalLm>, Error> {
        let shares = |lora: &LoraConfig| lora.modules_to_save.is_empty();
        if !shares(lora) || !self.config.sft.0.lora.as_ref().is_some_and(shares) {
            return Ok(None);
        }
        let Some(adapter) = find_adapter(from.sft.path()) else {
            return Ok(None);
        };
        let initial = CausalLm::load(from.initial.path(), self.placement)?;
        Ok(Some(initial.with_frozen_adapter(&adapter)?))
    }

    /// The log-ratio of the fine-tuned policy and its reference, paid token by token. Where the two are
    /// `stacked`, on that memory.
    fn log_ratio_reward(
        &self,
        form: &ClosedFormConfig,
        stacked: Option<&CausalLm>,
        from: &Ingredients<'_>,
    ) -> Result<Reward<'static>, Error> {
        let negative = match (form.references.first(), stacked) {
            (None | Some(&Reference::INITIAL), Some(stacked)) => stacked.clone().bare(),
            (None | Some(&Reference::INITIAL), None) => {
                CausalLm::load(from.initial.path(), self.placement)?
            }
            (Some(&Reference::Share(share)), _) => {
                CausalLm::load(&from.sft.file(snapshot_dir(share)), self.placement)?
            }
            (Some(Reference::Named(_)), _) => {
                CausalLm::load(&from.sft.file(MOVING_AVERAGE), self.placement)?
            }
        };
        let positive = match stacked {
            Some(stacked) => stacked.clone(),
            None => CausalLm::load(from.sft.path(), self.placement)?,
        };
        Ok(Reward::LogRatio {
            positive: Box::new(positive),
            negative: Box::new(negative),
            clip: form.clip,
        })
    }

    /// From stored answers and their scores, or from demonstrations, which the `guide` holds.
    pub(super) fn learned_offline(
        &self,
        name: &str,
        (config, train): (&OfflineConfig, &TrainConfig),
        start: &Artifact,
        answers: Option<&Artifact>,
        guide: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let key = (config, train, self.making());
        let inputs: Vec<&Artifact> = [start].into_iter().chain(answers).chain([guide]).collect();
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let guide = match config.objective {
                offline::Method::Sft => guide.file(DEMONSTRATIONS),
                offline::Method::Spin { .. } => guide.file(PROMPTS),
                _ => guide.file(score::SCORES),
            };
            let samples = answers.map(|answers| answers.file(sample::SAMPLES));
            let inputs = OfflineInputs {
                model: start.path(),
                model_name: start.name(),
                form: self.form(),
                samples: samples.as_ref().unwrap_or(&guide),
                guide: &guide,
            };
            let save = self.config.model.save();
            offline::run(config, train, &inputs, self.placement, save, ctx)
        })
    }

    /// By going on from `start` in weights, away from the initial policy.
    pub(super) fn extrapolated(
        &self,
        name: &str,
        config: &ExtrapolateConfig,
        start: &Artifact,
        from: &Ingredients<'_>,
    ) -> Result<Artifact, Stopped> {
        let key = (config, self.making());
        let inputs = [start, from.initial];
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let (policy, initial) = (start.path(), from.initial.path());
            let save = self.config.model.save();
            extrapolate::run(config, policy, initial, self.form(), save, ctx)
        })
    }

    /// Answers of the fine-tuned policy, drawn as `sampler` says.
    pub(super) fn drawn_otherwise(
        &self,
        name: &str,
        sampler: &SamplerConfig,
        from: &Ingredients<'_>,
        prompts: &Path,
    ) -> Result<Artifact, Stopped> {
        let count = self.config.generations.policy_num_generations;
        let config = SampleConfig {
            temperature: sampler.temperature,
            ..self.config.sample.clone()
        };
        let key = (&config, sampler, count, self.config.precision, self.form());
        let away = (from.initial.path(), sampler.strength);
        let inputs = SampleInputs {
            model: from.sft.path(),
            away_from: (sampler.strength != 0.0).then_some(away),
            prompts,
            num_generations: count,
            form: self.form(),
        };
        let from = [from.sft, from.initial, from.data];
        self.drawn(name, &key, &from, |part, ctx| {
            sample::run(&config, &inputs, part, self.placement, ctx).map_err(Error::from)
        })
    }

    /// Answers of the fine-tuned policy, block by block as `reward` chooses.
    pub(super) fn drawn_by_blocks(
        &self,
        name: &str,
        blocks: BlocksConfig,
        reward: &Artifact,
        from: &Ingredients<'_>,
        prompts: &Path,
    ) -> Result<Artifact, Stopped> {
        let count = self.config.generations.policy_num_generations;
        let sample = &self.config.sample;
        let read = (self.config.precision, self.form(), self.batch());
        let key = (sample, blocks, count, read);
        let inputs = [from.sft, from.data, reward, from.initial];
        self.drawn(name, &key, &inputs, |part, ctx| {
            let scorer =
                RewardModel::load(reward.path(), &self.reading(from.initial), self.placement)?;
            let inputs = SampleInputs {
                model: from.sft.path(),
                away_from: None,
                prompts,
                num_generations: count,
                form: self.form(),
            };
            let place = self.placement;
            sample::run_by_blocks(sample, blocks, &inputs, &scorer, part, place, ctx)?;
            Ok(())
        })
    }

    /// `log pi − log pi_SFT` of a policy's own answers, in nats: its mean estimates `KL(pi ‖ pi_SFT)`.
    pub(super) fn log_ratio(
        &self,
        name: &str,
        sft: &Artifact,
        answers: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let (batch, form) = (self.batch(), self.form());
        let key = (batch, self.config.precision, form);
        let inputs = [sft, answers];
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let (samples, reference) = (answers.file(sample::SAMPLES), sft.path());
            let plain = ClosedFormConfig::plain();
            closed_form::run(
                &plain,
                &[reference],
                &samples,
                batch,
                form,
                self.placement,
                ctx,
            )
        })
    }

    /// The same where the answers themselves hold both.
    pub(super) fn sampler_log_ratio(
        &self,
        name: &str,
        answers: &Artifact,
    ) -> Result<Artifact, Stopped> {
        self.steps.stage(self.run, name, &(), &[answers], |ctx| {
            sample::log_ratios(&answers.file(sample::SAMPLES), score::SCORES, ctx)
        })
    }
}
