//! Answers that policies learn from, and what rewards say of them: drawn once for all that ask.

use std::collections::BTreeMap;

use afd_stage::Artifact;

use super::{Ingredients, PROMPTS, SFT};
use crate::{config::PolicyConfig, stages::Stages, steps::Stopped};

/// What has been drawn and scored so far, by the policy that answered, and by the reward's name.
#[derive(Default)]
pub(super) struct Stored {
    answers: BTreeMap<String, Artifact>,
    scores: BTreeMap<(String, String), Artifact>,
}

/// The stages that must be there before `policy` is made.
pub(super) fn stage_names(policy: &PolicyConfig) -> Vec<String> {
    let of = policy.source.from.as_deref().unwrap_or(SFT);
    let answers = policy.reads_stored_answers().then(|| answers_name(of));
    let reward = policy.source.reward.as_deref();
    let reward = reward.filter(|_| policy.reads_stored_scores());
    let scores = reward.map(|reward| scores_name(of, reward));
    answers.into_iter().chain(scores).collect()
}

fn answers_name(policy: &str) -> String {
    format!("samples/{policy}-stored")
}

fn scores_name(policy: &str, reward: &str) -> String {
    match policy {
        SFT => format!("stored/{reward}"),
        _ => format!("stored/{policy}/{reward}"),
    }
}

impl Stages<'_> {
    /// Answers of the policy called `name` to the prompts that policies learn on.
    pub(super) fn stored_answers(
        &self,
        stored: &mut Stored,
        (name, policy): (&str, &Artifact),
        from: &Ingredients<'_>,
    ) -> Result<Artifact, Stopped> {
        if let Some(answers) = stored.answers.get(name) {
            return Ok(answers.clone());
        }
        let count = self.config.generations.stored_num_generations;
        let prompts = from.data.file(PROMPTS);
        let stage = answers_name(name);
        let answers = self.answers(&stage, policy, from.data, &prompts, count)?;
        stored.answers.insert(name.to_owned(), answers.clone());
        Ok(answers)
    }

    /// What a reward says of them; none if it could not be learned from this data.
    pub(super) fn stored_scores(
        &self,
        stored: &mut Stored,
        (name, answers): (&str, &Artifact),
        reward: &str,
        from: &Ingredients<'_>,
    ) -> Result<Option<Artifact>, Stopped> {
        let key = (name.to_owned(), reward.to_owned());
        if let Some(scores) = stored.scores.get(&key) {
            return Ok(Some(scores.clone()));
        }
        let stage = scores_name(name, reward);
        let scores = match (from.reward(Some(reward)), self.closed_form_named(reward)) {
            (Some(model), _) => self.scores(&stage, from.initial, model, answers)?,
            (None, Some(form)) => {
                self.closed_form(&stage, &form, from.initial, from.sft, answers)?
            }
            (None, None) => return Ok(None),
        };
        stored.scores.insert(key, scores.clone());
        Ok(Some(scores))
    }
}
