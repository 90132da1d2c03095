//! A server of the OpenAI protocol: one question, one reply.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error, JudgeConfig,
    cache::Reply,
    post::{Manner, Poster, host},
};

pub(crate) struct Server<'a> {
    config: &'a JudgeConfig,
    poster: Poster,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl<'a> Server<'a> {
    /// With the key that the environment holds, read by `variable`.
    pub(crate) fn new(
        config: &'a JudgeConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let manner = Manner {
            host: host(&config.base_url),
            api_key_env: config.api_key_env.as_deref(),
            timeout: config.timeout,
            max_retries: config.max_retries,
            requests_per_minute: config.requests_per_minute,
        };
        Ok(Self {
            config,
            poster: Poster::new(&manner, variable)?,
        })
    }

    /// What is asked, which with the server's address says all that a reply depends on.
    pub(crate) fn question(&self, text: &str) -> Value {
        json!({
            "model": self.config.model,
            "messages": [{ "role": "user", "content": text }],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        })
    }

    /// The reply, or why there is none after all that was tried.
    pub(crate) fn ask(&self, question: &Value) -> Result<Reply, String> {
        let base = self.config.base_url.trim_end_matches('/');
        let url = format!("{base}/chat/completions");
        let completion: Completion = self.poster.post(&url, question)?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or("a completion without choices")?;
        let filtered = choice.finish_reason.as_deref() == Some("content_filter");
        Ok(Reply {
            refused: filtered || choice.message.refusal.is_some(),
            content: choice.message.content.unwrap_or_default(),
            input_tokens: completion.usage.prompt_tokens,
            output_tokens: completion.usage.completion_tokens,
        })
    }
}
