//! Stages of the policies made from the fine-tuned one: making, answers to the test prompts, and the two
//! figures that put them on one axis: how far from it they are, and what their own reward says.

use std::path::Path;

use afd_eval::{LogProbs, PolicyInput};
use afd_model::{CausalLm, Scorer};
use afd_policy::{
    ExtrapolateConfig, OfflineConfig, RlConfig, SampleConfig, SampleInputs, extrapolate,
    offline::{self, OfflineInputs},
    rl::{self, RlInputs, reward::Reward},
    sample,
};
use afd_reward::{ClosedFormConfig, Reference, RewardModel, closed_form, score};
use afd_sft::{MOVING_AVERAGE, snapshot_dir};
use afd_stage::Artifact;
use afd_train::TrainConfig;
use serde::Serialize;

use crate::{
    config::{Config, Method, PolicyConfig, ReferencePolicy, SamplerConfig},
    error::Error,
    stages::{Named, Stages},
    steps::Stopped,
};

/// The split whose prompts policies learn on: fine-tuning did not see them.
const PROMPTS: &str = "reward.jsonl";

/// What policies are made of.
pub(crate) struct Ingredients<'a> {
    pub(crate) initial: &'a Artifact,
    pub(crate) sft: &'a Artifact,
    pub(crate) data: &'a Artifact,
    /// Reward models by name.
    pub(crate) rewards: &'a Named,
}

impl Ingredients<'_> {
    fn reward(&self, name: Option<&str>) -> Option<&Artifact> {
        let found = self
            .rewards
            .iter()
            .find(|(reward, _)| Some(reward.as_str()) == name);
        found.map(|(_, model)| model)
    }
}

/// Answers of the fine-tuned policy to learn from, and what rewards say of them, by name.
struct Stored {
    answers: Artifact,
    scores: Vec<(String, Artifact)>,
}

/// A policy with all that its evaluation needs.
pub(crate) struct Made {
    name: String,
    samples: Artifact,
    log_ratio: Artifact,
    proxy: Option<(String, Artifact)>,
    log_probs: LogProbs,
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
            log_probs: self.log_probs,
        }
    }

    /// The artefacts behind it.
    pub(crate) fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        let proxy = self.proxy.as_ref().map(|(_, scores)| scores);
        [&self.samples, &self.log_ratio].into_iter().chain(proxy)
    }
}

/// The names of all stages of policies, in their order.
pub(crate) fn stage_names(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    if is_stored(config) {
        names.push(STORED.to_owned());
        names.extend(
            stored_rewards(config)
                .iter()
                .map(|reward| stored_scores(reward)),
        );
    }
    for policy in &config.policies {
        let [making, samples, kl, proxy] = names_of(policy);
        let makes = !matches!(policy.method, Method::Sampler(_));
        let paid = policy.source.reward.as_deref();
        let learned = matches!(policy.method, Method::Rl(..)) || policy.reads_stored_scores();
        let has_proxy = learned && paid.is_some_and(|name| config.pairs.names().contains(&name));
        names.extend(makes.then_some(making));
        names.extend([samples, kl]);
        names.extend(has_proxy.then_some(proxy));
    }
    names
}

/// Making it, its answers, how far it is, and what its reward says.
fn names_of(policy: &PolicyConfig) -> [String; 4] {
    ["policy", "samples", "kl", "proxy"].map(|group| format!("{group}/{}", policy.name))
}

/// The stage of answers that policies learn from.
const STORED: &str = "samples/sft-stored";

fn stored_scores(reward: &str) -> String {
    format!("stored/{reward}")
}

fn is_stored(config: &Config) -> bool {
    let offline = |policy: &PolicyConfig| matches!(policy.method, Method::Offline(..));
    config.policies.iter().any(offline)
}

/// The rewards of the policies that learn from stored scores, each once.
fn stored_rewards(config: &Config) -> Vec<&str> {
    let mut rewards = Vec::new();
    for policy in &config.policies {
        if let (true, Some(reward)) = (policy.reads_stored_scores(), &policy.source.reward)
            && !rewards.contains(&reward.as_str())
        {
            rewards.push(reward.as_str());
        }
    }
    rewards
}

impl Stages<'_> {
    /// All policies, their answers and their figures, but for those whose reward could not be learned
    /// from this data.
    pub(crate) fn policies(
        &self,
        from: &Ingredients<'_>,
        test_prompts: &Path,
    ) -> Result<Vec<Made>, Stopped> {
        let stored = match is_stored(self.config) {
            true => Some(self.stored(from)?),
            false => None,
        };
        let policies = &self.config.policies;
        let made = policies
            .iter()
            .map(|policy| self.policy(policy, from, stored.as_ref(), test_prompts));
        Ok(made
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    fn stored(&self, from: &Ingredients<'_>) -> Result<Stored, Stopped> {
        let count = self.config.generations.stored_num_generations;
        let prompts = from.data.file(PROMPTS);
        let answers = self.answers(STORED, from.sft, from.data, &prompts, count)?;
        let mut scores = Vec::new();
        for reward in stored_rewards(self.config) {
            let name = stored_scores(reward);
            let scored = match (from.reward(Some(reward)), self.closed_form_named(reward)) {
                (Some(model), _) => self.scores(&name, from.initial, model, &answers)?,
                (None, Some(form)) => {
                    self.closed_form(&name, &form, from.initial, from.sft, &answers)?
                }
                (None, None) => continue,
            };
            scores.push((reward.to_owned(), scored));
        }
        Ok(Stored { answers, scores })
    }

    fn policy(
        &self,
        policy: &PolicyConfig,
        from: &Ingredients<'_>,
        stored: Option<&Stored>,
        test_prompts: &Path,
    ) -> Result<Option<Made>, Stopped> {
        let [making, samples, kl, proxy] = names_of(policy);
        let paid = policy.source.reward.as_deref();
        let reward = from.reward(paid);
        let watched = policy.source.held_out_reward.as_deref();
        let closed_form = paid.and_then(|name| self.closed_form_named(name));
        let count = self.config.generations.policy_num_generations;
        let draw =
            |policy: &Artifact| self.answers(&samples, policy, from.data, test_prompts, count);
        let answers = match &policy.method {
            Method::Sampler(sampler) => {
                self.drawn_otherwise(&samples, sampler, from, test_prompts, count)?
            }
            Method::Weights(config) => draw(&self.extrapolated(&making, config, from)?)?,
            Method::Rl(..) if reward.is_none() && closed_form.is_none() => return Ok(None),
            Method::Rl(..) if watched.is_some() && from.reward(watched).is_none() => {
                return Ok(None);
            }
            Method::Rl(rl, train) => {
                let how = (rl.as_ref(), train);
                draw(&self.reinforced(&making, policy, how, from, closed_form.as_ref())?)?
            }
            Method::Offline(config, train) => {
                let Some(stored) = stored else {
                    return Ok(None);
                };
                let by_reward = stored
                    .scores
                    .iter()
                    .find(|(name, _)| Some(name.as_str()) == paid);
                let guide = match policy.reads_stored_scores() {
                    true => by_reward.map(|(_, scores)| scores),
                    false => Some(from.data),
                };
                let Some(guide) = guide else {
                    return Ok(None);
                };
                let how = (config, train);
                draw(&self.learned_offline(&making, how, from, &stored.answers, guide)?)?
            }
        };
        let log_ratio = match &policy.method {
            Method::Sampler(_) => self.sampler_log_ratio(&kl, &answers)?,
            _ => self.log_ratio(&kl, from.sft, &answers)?,
        };
        // Of others the reward is what a table they stand on says for all, not what they learned from.
        let learned = matches!(policy.method, Method::Rl(..)) || policy.reads_stored_scores();
        let proxy = match (reward.filter(|_| learned), paid) {
            (Some(model), Some(name)) => {
                let scores = self.scores(&proxy, from.initial, model, &answers)?;
                Some((name.to_owned(), scores))
            }
            _ => None,
        };
        Ok(Some(Made {
            name: policy.name.clone(),
            samples: answers,
            log_ratio,
            proxy,
            log_probs: match policy.method {
                Method::Sampler(_) => LogProbs::Sft,
                _ => LogProbs::Own,
            },
        }))
    }

    /// The closed form of that name, if it is one.
    fn closed_form_named(&self, name: &str) -> Option<ClosedFormConfig> {
        match name {
            afd_eval::CLOSED_FORM => Some(ClosedFormConfig::plain()),
            _ => self.config.closed_form.variants.get(name).cloned(),
        }
    }

    /// What of the configuration every trained policy depends on.
    fn making(&self) -> impl Serialize + use<'_> {
        let model = &self.config.model;
        let saved = (model.save_dtype, &model.max_shard_size);
        (saved, self.config.precision, self.form(), self.batch())
    }

    fn reinforced(
        &self,
        name: &str,
        policy: &PolicyConfig,
        (rl, train): (&RlConfig, &TrainConfig),
        from: &Ingredients<'_>,
        closed_form: Option<&ClosedFormConfig>,
    ) -> Result<Artifact, Stopped> {
        let (config, source) = (self.config, &policy.source);
        let reward = from.reward(source.reward.as_deref());
        let held_out = from.reward(source.held_out_reward.as_deref());
        let mut inputs = vec![from.initial, from.sft, from.data];
        inputs.extend(reward);
        inputs.extend(held_out);
        let key = (
            rl,
            train,
            source,
            closed_form,
            &config.sample,
            self.making(),
        );
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
                (None, None) => return Err(Error::Usage(format!("`{name}` has no reward"))),
            };
            let inputs = RlInputs {
                policy: from.sft.path(),
                policy_name: from.sft.name(),
                reference: match source.reference {
                    Some(ReferencePolicy::Initial) => from.initial.path(),
                    Some(ReferencePolicy::Sft) | None => from.sft.path(),
                },
                prompts: &from.data.file(PROMPTS),
                form: self.form(),
                reward,
                pool: None,
                held_out: watched.as_ref().map(|model| model as &dyn Scorer),
            };
            let (sample, save) = (&config.sample, config.model.save());
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

    /// From stored answers, and their scores or demonstrations.
    fn learned_offline(
        &self,
        name: &str,
        (config, train): (&OfflineConfig, &TrainConfig),
        from: &Ingredients<'_>,
        answers: &Artifact,
        guide: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let key = (config, train, self.making());
        let inputs = [from.sft, answers, guide];
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let guide = match config.objective {
                offline::Method::Spin { .. } => guide.file(PROMPTS),
                _ => guide.file(score::SCORES),
            };
            let inputs = OfflineInputs {
                model: from.sft.path(),
                model_name: from.sft.name(),
                form: self.form(),
                samples: &answers.file(sample::SAMPLES),
                guide: &guide,
            };
            let save = self.config.model.save();
            offline::run(config, train, &inputs, self.placement, save, ctx)
        })
    }

    fn extrapolated(
        &self,
        name: &str,
        config: &ExtrapolateConfig,
        from: &Ingredients<'_>,
    ) -> Result<Artifact, Stopped> {
        let key = (config, self.making());
        let inputs = [from.sft, from.initial];
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let (policy, initial) = (from.sft.path(), from.initial.path());
            let save = self.config.model.save();
            extrapolate::run(config, policy, initial, self.form(), save, ctx)
        })
    }

    /// Answers of the fine-tuned policy, drawn as `sampler` says.
    fn drawn_otherwise(
        &self,
        name: &str,
        sampler: &SamplerConfig,
        from: &Ingredients<'_>,
        prompts: &Path,
        count: usize,
    ) -> Result<Artifact, Stopped> {
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
        self.drawn(
            name,
            &config,
            &inputs,
            &key,
            &[from.sft, from.initial, from.data],
        )
    }

    /// `log pi − log pi_SFT` of a policy's own answers, in nats: its mean estimates `KL(pi ‖ pi_SFT)`.
    fn log_ratio(
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
    fn sampler_log_ratio(&self, name: &str, answers: &Artifact) -> Result<Artifact, Stopped> {
        self.steps.stage(self.run, name, &(), &[answers], |ctx| {
            sample::log_ratios(&answers.file(sample::SAMPLES), score::SCORES, ctx)
        })
    }
}
