//! Further held-out scorers: `[scorers.NAME]`, each asked for its word on all answers.

use std::path::{Path, PathBuf};

use afd_judge::RewardServerConfig;
use serde::{Deserialize, Serialize};

use super::sections::Sections;

/// The table of the scorers.
pub(super) const SCORERS: &str = "scorers";

/// A scorer that stands beside the golden one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScorerConfig {
    pub(crate) name: String,
    pub(crate) from: ScorerSource,
}

/// Where its rewards come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScorerSource {
    pub(crate) kind: ScorerKind,
    /// The sequence classifier, for `kind = "classifier"`; named as in `[model]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// The server, for `kind = "http"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<RewardServerConfig>,
}

/// What gives the rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScorerKind {
    /// The synthetic world's exact reward.
    World,
    /// A Hugging Face sequence classifier.
    Classifier,
    /// A server.
    Http,
}

impl ScorerConfig {
    /// The key of its classifier, by which a run remembers it.
    pub(crate) fn key(&self) -> String {
        path_key(&self.name)
    }

    /// Its classifier, if it is one.
    pub(crate) fn classifier(&self) -> Option<&Path> {
        let path = self.from.path.as_deref();
        path.filter(|_| self.from.kind == ScorerKind::Classifier)
    }
}

/// The key of the path of the scorer called `name`.
pub(super) fn path_key(name: &str) -> String {
    format!("{SCORERS}.{name}.path")
}

pub(super) fn read(sections: &mut Sections<'_>) -> Option<Vec<ScorerConfig>> {
    let tables = sections.named(SCORERS, None);
    let each: Vec<_> = tables
        .into_iter()
        .map(|(name, table)| {
            let from = sections.read_from(&format!("{SCORERS}.{name}"), &table)?;
            Some(ScorerConfig { name, from })
        })
        .collect();
    each.into_iter().collect()
}
