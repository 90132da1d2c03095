//! A server that gives answers a reward: anybody's own golden scorer.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Error,
    post::{Manner, Poster, host},
};

/// A server of rewards: the `[eval.golden_server]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardServerConfig {
    /// Where it is asked, by POST.
    pub url: String,
    /// The variable that holds its key; none for a server that wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Answers in a request.
    pub batch_size: usize,
    /// How often a request is tried again.
    pub max_retries: u32,
    /// Longest wait for an answer, in seconds.
    pub timeout: u64,
}

/// Gives rewards, as remote reward models of OpenRLHF do: a request is `{"query": [text], "prompts":
/// [prompt], "completions": [answer]}`, a query being prompt and answer in one, and the answer
/// `{"rewards": [number]}` (or `"scores"`), one for each, higher being better.
pub struct RewardServer {
    config: RewardServerConfig,
    poster: Poster,
}

#[derive(Deserialize)]
struct Rewards {
    #[serde(alias = "scores")]
    rewards: Vec<f64>,
}

impl RewardServerConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|start| self.url.starts_with(start));
        [
            (
                "url",
                is_url,
                "an address that begins with http:// or https://",
            ),
            ("batch_size", self.batch_size > 0, "1 or more"),
            ("timeout", self.timeout > 0, "1 or more"),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .collect()
    }
}

impl RewardServer {
    /// With the key that the environment holds, read by `variable`.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn new(
        config: &RewardServerConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let manner = Manner {
            host: host(&config.url),
            api_key_env: config.api_key_env.as_deref(),
            timeout: config.timeout,
            max_retries: config.max_retries,
            requests_per_minute: None,
        };
        Ok(Self {
            config: config.clone(),
            poster: Poster::new(&manner, variable)?,
        })
    }

    /// One reward for each pair of prompt and answer, in their order.
    ///
    /// # Errors
    /// [`Error::Rewards`] when the server does not answer, or with another number of rewards.
    pub fn score(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>, Error> {
        let problem = |reason: String| Error::Rewards {
            host: host(&self.config.url).to_owned(),
            reason,
        };
        let mut rewards = Vec::with_capacity(pairs.len());
        for batch in pairs.chunks(self.config.batch_size.max(1)) {
            let body = json!({
                "query": batch.iter().map(|(prompt, answer)| format!("{prompt}{answer}")).collect::<Vec<_>>(),
                "prompts": batch.iter().map(|(prompt, _)| prompt).collect::<Vec<_>>(),
                "completions": batch.iter().map(|(_, answer)| answer).collect::<Vec<_>>(),
            });
            let found: Rewards = self.poster.post(&self.config.url, &body).map_err(problem)?;
            if found.rewards.len() != batch.len() {
                let (found, asked) = (found.rewards.len(), batch.len());
                return Err(problem(format!("{found} rewards for {asked} answers")));
            }
            rewards.extend(found.rewards);
        }
        Ok(rewards)
    }
}
