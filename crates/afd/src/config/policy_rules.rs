//! What the types of `[policies.NAME]` cannot say: names, and what does not go with the rest of the
//! configuration.

use afd_policy::rl::RewardTransform;
use afd_reward::{Architecture, ClosedFormConfig, ObjectiveKind, Reduction, pairs::is_free_name};

use super::{
    AdversarialConfig, Config, DiscriminatorStart, Method, PolicyConfig, policies::POLICIES,
    rules::Rules,
};

/// Names that policies may not have: stages and rows of the report have them.
const TAKEN: [&str; 5] = ["init", "sft", "init-reward", "sft-reward", "demonstrator"];

/// Beginnings and ends of such names.
const TAKEN_BEGINNINGS: [&str; 2] = ["sft-reward-fold", "best-of-n"];
const TAKEN_END: &str = "-stored";

impl Config {
    pub(super) fn check_policies(&self, rules: &mut Rules) {
        for (place, policy) in self.policies.iter().enumerate() {
            let key = format!("{POLICIES}.{}", policy.name);
            for (field, rule) in policy.problems() {
                rules.add(&format!("{key}.{field}"), format!("must be {rule}"));
            }
            rules.require(
                is_free_name(&policy.name) && !self.is_taken(&policy.name),
                &key,
                "must have a name of its own, of letters a to z, digits and -",
            );
            self.check_start(&key, policy, &self.policies[..place], rules);
            self.check_rewards(&key, policy, rules);
            self.check_transform(&key, policy, rules);
            if let Method::Adversarial(turns, ..) = &policy.method {
                self.check_game(&key, turns, rules);
            }
        }
    }

    fn is_taken(&self, name: &str) -> bool {
        TAKEN.contains(&name)
            || TAKEN_BEGINNINGS.iter().any(|taken| name.starts_with(taken))
            || name.ends_with(TAKEN_END)
            || self.pairs.names().contains(&name)
            || name == afd_eval::CLOSED_FORM
            || self.closed_form.variants.contains_key(name)
    }

    /// What it goes on from: one of those `earlier`.
    fn check_start(
        &self,
        key: &str,
        policy: &PolicyConfig,
        earlier: &[PolicyConfig],
        rules: &mut Rules,
    ) {
        let from = policy.source.from.as_ref();
        let has_weights = |name: &String| {
            let found = earlier.iter().find(|policy| policy.name == *name);
            found.is_some_and(PolicyConfig::has_weights)
        };
        rules.require(
            from.is_none_or(has_weights),
            &format!("{key}.from"),
            "must be another of the policies, which has weights of its own and does not go on from this one",
        );
        rules.require(
            from.is_none() || policy.has_weights(),
            &format!("{key}.from"),
            "must be left out where the fine-tuned policy is drawn from otherwise",
        );
    }

    /// What pays it, and what is only watched. A reward that a table it stands on names for all, and that it
    /// makes no use of, is nobody's concern.
    fn check_rewards(&self, key: &str, policy: &PolicyConfig, rules: &mut Rules) {
        let models = self.pairs.names();
        let summed = |variant: &ClosedFormConfig| {
            variant.reduction != Reduction::Mean && variant.references.len() == 1
        };
        let known = |reward: &str| {
            let variant = self.closed_form.variants.get(reward);
            models.contains(&reward)
                || reward == afd_eval::CLOSED_FORM
                || variant.is_some_and(summed)
        };
        let reward = policy.source.reward.as_deref().filter(|_| policy.is_paid());
        rules.require(
            reward.is_none_or(known),
            &format!("{key}.reward"),
            &format!(
                "must be one of {}, \"closed-form\", or a variant of it with one reference and no mean",
                models.join(", ")
            ),
        );
        let reads_answers = reward.is_none_or(|name| models.contains(&name));
        rules.require(
            reads_answers || !matches!(policy.method, Method::Blocks(_)),
            &format!("{key}.reward"),
            "must be a reward model, which can read an answer as far as it goes",
        );
        let held_out = policy.source.held_out_reward.as_deref();
        let other = |name: &str| models.contains(&name) && reward != Some(name);
        rules.require(
            held_out.is_none_or(other),
            &format!("{key}.held_out_reward"),
            &format!("must be another of {}", models.join(", ")),
        );
        if let Some(rl) = policy.rl() {
            rules.require(
                rl.reward_transform.is_none() || reads_answers,
                &format!("{key}.reward_transform"),
                "needs a reward of whole answers: a reward model",
            );
            rules.require(
                rl.guards.held_out_patience.is_none() || held_out.is_some(),
                &format!("{key}.guards.held_out_patience"),
                "needs held_out_reward",
            );
        }
    }

    /// What becomes of a score.
    fn check_transform(&self, key: &str, policy: &PolicyConfig, rules: &mut Rules) {
        let transform = policy.rl().and_then(|rl| rl.reward_transform);
        let objective = self.reward.0.objective;
        match transform {
            None => {}
            Some(RewardTransform::BestOfN { n }) => rules.require(
                self.generations.stored_num_generations >= n,
                "sample.stored_num_generations",
                &format!("must be {n} or more for {key}.reward_transform: as many are the best of which is aimed at"),
            ),
            Some(RewardTransform::Gail | RewardTransform::Ratio { .. }) => rules.require(
                !matches!(objective, ObjectiveKind::BradleyTerry | ObjectiveKind::Hinge),
                "reward.objective",
                &format!("must be one whose logit is a log-ratio for {key}.reward_transform: \"binary_cross_entropy\", \"brier\", \"kliep\" or \"lsif\""),
            ),
        }
    }

    /// What a discriminator can be.
    fn check_game(&self, key: &str, turns: &AdversarialConfig, rules: &mut Rules) {
        let reward = &self.reward.0;
        rules.require(
            reward.objective != ObjectiveKind::Hinge,
            "reward.objective",
            &format!(
                "must not be \"hinge\" for {key}: a discriminator's logit is to be a log-ratio"
            ),
        );
        rules.require(
            reward.architecture != Architecture::EmbeddingMlp,
            &format!("{key}.method"),
            "needs reward.architecture = \"classifier\" or \"linear\": the answers to come have no embeddings",
        );
        let goes_on = turns.discriminator == DiscriminatorStart::Fresh
            || (reward.architecture == Architecture::Classifier && reward.ensemble.is_none());
        rules.require(
            goes_on,
            &format!("{key}.discriminator"),
            "\"continued\" needs reward.architecture = \"classifier\" without ensemble",
        );
    }
}
