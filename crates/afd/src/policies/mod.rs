//! Stages of the policies made from the fine-tuned one: making, answers to the test prompts, and the two
//! figures that put them on one axis: how far from it they are, and what their own reward says.

mod adversarial;
mod making;
mod stored;

use std::{collections::BTreeMap, path::Path};

use afd_eval::{LogProbs, PolicyInput};
use afd_policy::sample;
use afd_reward::{ClosedFormConfig, score};
use afd_stage::Artifact;

use crate::{
    config::{Config, Method, PolicyConfig},
    stages::{Named, Stages},
    steps::Stopped,
};
use making::Paid;
use stored::Stored;

/// The split whose prompts policies learn on: fine-tuning did not see them.
const PROMPTS: &str = "reward.jsonl";

/// The demonstrations that fine-tuning learned from.
const DEMONSTRATIONS: &str = "sft.jsonl";

/// What the fine-tuned policy is called.
const SFT: &str = "sft";

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

/// A policy with all that its evaluation needs.
pub(crate) struct Made {
    name: String,
    samples: Artifact,
    /// None where it is not known how far it is.
    log_ratio: Option<Artifact>,
    proxy: Option<(String, Artifact)>,
    log_probs: LogProbs,
}

impl Made {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its answers to the test prompts.
    pub(crate) fn samples(&self) -> &Artifact {
        &self.samples
    }

    /// What the evaluation reads.
    pub(crate) fn input(&self) -> PolicyInput {
        PolicyInput {
            name: self.name.clone(),
            samples: self.samples.file(sample::SAMPLES),
            log_ratio: self
                .log_ratio
                .as_ref()
                .map(|ratio| ratio.file(score::SCORES)),
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
        [&self.samples]
            .into_iter()
            .chain(&self.log_ratio)
            .chain(proxy)
    }
}

/// The names of all stages of policies, in their order.
pub(crate) fn stage_names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for policy in &config.policies {
        let [making, samples, kl, proxy] = names_of(policy);
        let has_kl = !matches!(policy.method, Method::Blocks(_));
        let paid = policy.source.reward.as_deref();
        let has_proxy =
            policy.is_paid() && paid.is_some_and(|name| config.pairs.names().contains(&name));
        let stored = stored::stage_names(policy).into_iter();
        let more: Vec<String> = stored
            .chain(adversarial::stage_names(policy))
            .chain(policy.has_weights().then_some(making))
            .chain([samples])
            .chain(has_kl.then_some(kl))
            .chain(has_proxy.then_some(proxy))
            .filter(|name| !names.contains(name))
            .collect();
        names.extend(more);
    }
    names
}

/// Making it, its answers, how far it is, and what its reward says.
fn names_of(policy: &PolicyConfig) -> [String; 4] {
    ["policy", "samples", "kl", "proxy"].map(|group| format!("{group}/{}", policy.name))
}

impl Stages<'_> {
    /// All policies, their answers and their figures, but for those whose reward could not be learned
    /// from this data, and those that go on from them.
    pub(crate) fn policies(
        &self,
        from: &Ingredients<'_>,
        test_prompts: &Path,
    ) -> Result<Vec<Made>, Stopped> {
        let mut stored = Stored::default();
        let mut models = BTreeMap::from([(SFT.to_owned(), from.sft.clone())]);
        let mut all = Vec::new();
        for policy in &self.config.policies {
            let name = policy.source.from.as_deref().unwrap_or(SFT);
            let Some(start) = models.get(name).cloned() else {
                continue;
            };
            let answers = match &policy.method {
                Method::Sampler(sampler) => {
                    let [_, samples, ..] = names_of(policy);
                    Some(self.drawn_otherwise(&samples, sampler, from, test_prompts)?)
                }
                Method::Blocks(blocks) => {
                    let [_, samples, ..] = names_of(policy);
                    match from.reward(policy.source.reward.as_deref()) {
                        Some(reward) => Some(self.drawn_by_blocks(
                            &samples,
                            *blocks,
                            reward,
                            from,
                            test_prompts,
                        )?),
                        None => None,
                    }
                }
                _ => match self.made(policy, (name, &start), from, &mut stored)? {
                    Some(model) => {
                        models.insert(policy.name.clone(), model.clone());
                        Some(self.answered(policy, &model, from, test_prompts)?)
                    }
                    None => None,
                },
            };
            if let Some(answers) = answers {
                all.push(self.measured(policy, answers, from)?);
            }
        }
        Ok(all)
    }

    /// The policy's model, beginning with `start`.
    fn made(
        &self,
        policy: &PolicyConfig,
        (name, start): (&str, &Artifact),
        from: &Ingredients<'_>,
        stored: &mut Stored,
    ) -> Result<Option<Artifact>, Stopped> {
        let [making, ..] = names_of(policy);
        let source = &policy.source;
        let paid = source.reward.as_deref();
        let closed_form = paid.and_then(|name| self.closed_form_named(name));
        let held_out = from.reward(source.held_out_reward.as_deref());
        let unlearned = |name: Option<&str>| name.is_some() && from.reward(name).is_none();
        if policy.is_paid() && unlearned(paid) && closed_form.is_none()
            || policy.rl().is_some() && unlearned(source.held_out_reward.as_deref())
        {
            return Ok(None);
        }
        let answers = match policy.reads_stored_answers() {
            true => Some(self.stored_answers(stored, (name, start), from)?),
            false => None,
        };
        let scores = match (&answers, paid) {
            (Some(answers), Some(reward)) if policy.reads_stored_scores() => {
                self.stored_scores(stored, (name, answers), reward, from)?
            }
            _ => None,
        };
        let made = match &policy.method {
            Method::Sampler(_) | Method::Blocks(_) => return Ok(None),
            Method::Weights(config) => self.extrapolated(&making, config, start, from)?,
            Method::Adversarial(turns, rl, train) => {
                self.adversarial(policy, (turns, rl, train), start, from)?
            }
            Method::Rl(rl, train) => {
                let paid = Paid {
                    reward: from.reward(paid),
                    closed_form: closed_form.as_ref(),
                    held_out,
                    pool: scores.as_ref(),
                };
                self.reinforced(&making, source, (rl, train), (start, &paid), from)?
            }
            Method::Offline(config, train) => {
                let guide = scores.as_ref().unwrap_or(from.data);
                let how = (config, train);
                self.learned_offline(&making, how, start, answers.as_ref(), guide)?
            }
        };
        Ok(Some(made))
    }

    /// Answers of a policy to the test prompts.
    fn answered(
        &self,
        policy: &PolicyConfig,
        model: &Artifact,
        from: &Ingredients<'_>,
        prompts: &Path,
    ) -> Result<Artifact, Stopped> {
        let [_, samples, ..] = names_of(policy);
        let count = self.config.generations.policy_num_generations;
        self.answers(&samples, model, from.data, prompts, count)
    }

    /// What its answers tell of it.
    fn measured(
        &self,
        policy: &PolicyConfig,
        answers: Artifact,
        from: &Ingredients<'_>,
    ) -> Result<Made, Stopped> {
        let [_, _, kl, proxy] = names_of(policy);
        let log_ratio = match policy.method {
            Method::Blocks(_) => None,
            Method::Sampler(_) => Some(self.sampler_log_ratio(&kl, &answers)?),
            _ => Some(self.log_ratio(&kl, from.sft, &answers)?),
        };
        let paid = policy.source.reward.as_deref();
        // Of others the reward is what a table they stand on says for all, not what they learned from.
        let proxy = match (from.reward(paid).filter(|_| policy.is_paid()), paid) {
            (Some(model), Some(name)) => {
                let scores = self.scores(&proxy, from.initial, model, &answers)?;
                Some((name.to_owned(), scores))
            }
            _ => None,
        };
        Ok(Made {
            name: policy.name.clone(),
            samples: answers,
            log_ratio,
            proxy,
            log_probs: match policy.has_weights() {
                true => LogProbs::Own,
                false => LogProbs::Sft,
            },
        })
    }

    /// The closed form of that name, if it is one.
    fn closed_form_named(&self, name: &str) -> Option<ClosedFormConfig> {
        match name {
            afd_eval::CLOSED_FORM => Some(ClosedFormConfig::plain()),
            _ => self.config.closed_form.variants.get(name).cloned(),
        }
    }
}
