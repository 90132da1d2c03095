//! Stages of the policies made from the fine-tuned one: making, answers to the test prompts, and the two
//! figures that put them on one axis: how far from it they are, and what their own reward says.

use std::path::Path;

use afd_eval::{LogProbs, PolicyInput};
use afd_model::{CausalLm, Scorer};
use afd_policy::{
    rl::{self, RlInputs, reward::Reward},
    sample,
};
use afd_reward::{ClosedFormConfig, Reference, RewardModel, closed_form, score};
use afd_sft::{MOVING_AVERAGE, snapshot_dir};
use afd_stage::Artifact;

use crate::{
    config::{Method, PolicyConfig, ReferencePolicy},
    error::Error,
    stages::{Named, Stages},
    steps::Stopped,
};

/// What policies are made of.
pub(crate) struct Ingredients<'a> {
    pub(crate) initial: &'a Artifact,
    pub(crate) sft: &'a Artifact,
    pub(crate) data: &'a Artifact,
    /// Reward models by name.
    pub(crate) rewards: &'a Named,
}

impl Ingredients<'_> {
    fn reward(&self, name: &str) -> Option<&Artifact> {
        let found = self.rewards.iter().find(|(reward, _)| reward == name);
        found.map(|(_, model)| model)
    }
}

/// A policy with all that its evaluation needs.
pub(crate) struct Made {
    name: String,
    samples: Artifact,
    log_ratio: Artifact,
    proxy: Option<(String, Artifact)>,
}

impl Made {
    /// What the evaluation reads.
    pub(crate) fn input(&self) -> PolicyInput {
        PolicyInput {
            name: self.name.clone(),
            samples: self.samples.file(sample::SAMPLES),
            log_ratio: Some(self.log_ratio.file(score::SCORES)),
            proxy: self
                .proxy
                .as_ref()
                .map(|(reward, scores)| (reward.clone(), scores.file(score::SCORES))),
            log_probs: LogProbs::Own,
        }
    }

    /// The artefacts behind it.
    pub(crate) fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        let proxy = self.proxy.as_ref().map(|(_, scores)| scores);
        [&self.samples, &self.log_ratio].into_iter().chain(proxy)
    }
}

/// The names of a policy's stages, in their order.
pub(crate) fn stage_names(policy: &PolicyConfig) -> [String; 4] {
    let name = &policy.name;
    [
        format!("policy/{name}"),
        format!("samples/{name}"),
        format!("kl/{name}"),
        format!("proxy/{name}"),
    ]
}

impl Stages<'_> {
    /// A policy, its answers and their figures; none where its reward could not be learned from this
    /// data.
    pub(crate) fn policy(
        &self,
        policy: &PolicyConfig,
        from: &Ingredients<'_>,
        test_prompts: &Path,
    ) -> Result<Option<Made>, Stopped> {
        let reward = from.reward(&policy.source.reward);
        let closed_form = self.closed_form_named(&policy.source.reward);
        if reward.is_none() && closed_form.is_none() {
            return Ok(None);
        }
        let [making, samples, kl, proxy] = stage_names(policy);
        let made = self.learned(&making, policy, from, closed_form.as_ref())?;
        let count = self.config.generations.policy_num_generations;
        let answers = self.answers(&samples, &made, from.data, test_prompts, count)?;
        let log_ratio = self.log_ratio(&kl, &made, from.sft, &answers)?;
        let proxy = match reward {
            None => None,
            Some(model) => {
                let scores = self.scores(&proxy, from.initial, model, &answers)?;
                Some((policy.source.reward.clone(), scores))
            }
        };
        Ok(Some(Made {
            name: policy.name.clone(),
            samples: answers,
            log_ratio,
            proxy,
        }))
    }

    /// The closed form of that name, if it is one.
    fn closed_form_named(&self, name: &str) -> Option<ClosedFormConfig> {
        match name {
            afd_eval::CLOSED_FORM => Some(ClosedFormConfig::plain()),
            _ => self.config.closed_form.variants.get(name).cloned(),
        }
    }

    fn learned(
        &self,
        name: &str,
        policy: &PolicyConfig,
        from: &Ingredients<'_>,
        closed_form: Option<&ClosedFormConfig>,
    ) -> Result<Artifact, Stopped> {
        let (config, source) = (self.config, &policy.source);
        let reward = from.reward(&source.reward);
        let held_out = source.held_out_reward.as_deref();
        let held_out = held_out.and_then(|name| from.reward(name));
        let mut inputs = vec![from.initial, from.sft, from.data];
        inputs.extend(reward);
        inputs.extend(held_out);
        let saved = (config.model.save_dtype, &config.model.max_shard_size);
        let key = (policy, closed_form, &config.sample, saved);
        let key = (key, config.precision, self.form(), self.batch());
        let Method::Rl(rl) = &policy.method;
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let load = |model: &Artifact| {
                RewardModel::load(model.path(), &self.reading(from.initial), self.placement)
            };
            let (scorer, watched) = (
                reward.map(load).transpose()?,
                held_out.map(load).transpose()?,
            );
            let reward = match (&scorer, closed_form) {
                (Some(scorer), _) => Reward::Answers(scorer),
                (None, Some(form)) => self.log_ratio_reward(form, from)?,
                (None, None) => {
                    return Err(Error::Usage(format!("{} is no reward", source.reward)));
                }
            };
            let inputs = RlInputs {
                policy: from.sft.path(),
                policy_name: from.sft.name(),
                reference: match source.reference {
                    ReferencePolicy::Sft => from.sft.path(),
                    ReferencePolicy::Initial => from.initial.path(),
                },
                prompts: &from.data.file("reward.jsonl"),
                form: self.form(),
                reward,
                held_out: watched.as_ref().map(|model| model as &dyn Scorer),
            };
            let (train, sample, save) = (&policy.train, &config.sample, config.model.save());
            rl::run(rl, train, sample, &inputs, self.placement, save, ctx)?;
            Ok::<(), Error>(())
        })
    }

    /// The log-ratio of the fine-tuned policy and its reference, paid token by token.
    fn log_ratio_reward(
        &self,
        form: &ClosedFormConfig,
        from: &Ingredients<'_>,
    ) -> Result<Reward<'static>, Error> {
        let negative = match form.references.first() {
            None | Some(&Reference::INITIAL) => from.initial.path().to_owned(),
            Some(&Reference::Share(share)) => from.sft.file(snapshot_dir(share)),
            Some(Reference::Named(_)) => from.sft.file(MOVING_AVERAGE),
        };
        Ok(Reward::LogRatio {
            positive: Box::new(CausalLm::load(from.sft.path(), self.placement)?),
            negative: Box::new(CausalLm::load(&negative, self.placement)?),
            clip: form.clip,
        })
    }

    /// `log pi − log pi_SFT` of a policy's own answers, in nats: its mean estimates `KL(pi ‖ pi_SFT)`.
    fn log_ratio(
        &self,
        name: &str,
        policy: &Artifact,
        sft: &Artifact,
        answers: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let (batch, form) = (self.batch(), self.form());
        let key = (batch, self.config.precision, form);
        let inputs = [policy, sft, answers];
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
}
