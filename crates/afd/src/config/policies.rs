//! Policies to be made from the fine-tuned one: `[policies.NAME]`, each laid over `[policy]`.

use afd_policy::RlConfig;
use afd_train::TrainConfig;
use serde::{Deserialize, Serialize};

use super::sections::Sections;

/// The table of the keys that policies have in common.
const COMMON: &str = "policy";

/// The table of the policies.
pub(crate) const POLICIES: &str = "policies";

/// A policy to be made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PolicyConfig {
    pub(crate) name: String,
    pub(crate) source: PolicySource,
    pub(crate) method: Method,
    pub(crate) train: TrainConfig,
}

/// What a policy is made from, whatever the method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PolicySource {
    /// How.
    method: MethodName,
    /// What it is paid by: the name of a reward model, `closed-form` or one of its variants.
    pub(crate) reward: String,
    /// A reward model that is watched and not learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_out_reward: Option<String>,
    /// What the KL term holds it to.
    pub(crate) reference: ReferencePolicy,
}

/// The policies that one may be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReferencePolicy {
    /// The fine-tuned policy, which learning begins with.
    Sft,
    /// The initial policy.
    Initial,
}

/// How policies are made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MethodName {
    /// From its own answers.
    Rl,
}

/// How a policy is made, with the keys of that method.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Method {
    /// From its own answers.
    Rl(Box<RlConfig>),
}

impl PolicyConfig {
    /// Every value out of range: the key, and what it must be.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let own = match &self.method {
            Method::Rl(config) => config.problems(),
        };
        own.into_iter().chain(self.train.problems()).collect()
    }
}

/// Reads all of them, in the order of the file.
pub(super) fn read(sections: &mut Sections<'_>) -> Option<Vec<PolicyConfig>> {
    let tables = sections.named(POLICIES, COMMON);
    sections.know::<PolicySource>(COMMON);
    sections.know::<RlConfig>(COMMON);
    sections.know::<TrainConfig>(COMMON);
    let each: Vec<_> = tables
        .into_iter()
        .map(|(name, table)| {
            let section = format!("{POLICIES}.{name}");
            let train = sections.read_from::<TrainConfig>(&section, &table);
            let source = sections.read_from::<PolicySource>(&section, &table);
            let method = match source.as_ref()?.method {
                MethodName::Rl => sections
                    .read_from::<RlConfig>(&section, &table)
                    .map(|config| Method::Rl(Box::new(config))),
            };
            Some(PolicyConfig {
                name,
                source: source?,
                method: method?,
                train: train?,
            })
        })
        .collect();
    each.into_iter().collect()
}
