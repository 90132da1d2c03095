//! A server of the OpenAI protocol: one question, one reply, and what to do when it does not come.

use std::{
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::{Agent, http::header::AUTHORIZATION};

use crate::{Error, JudgeConfig, cache::Reply};

/// The first wait before a request is tried again; every further one is twice as long, …
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(crate) struct Server<'a> {
    config: &'a JudgeConfig,
    agent: Agent,
    authorization: Option<String>,
    /// When the next request may begin.
    next: Mutex<Instant>,
}

/// Why there is no reply: what the server said, and whether it may be asked again.
struct Trouble {
    reason: String,
    passes: bool,
    /// How long it said to wait.
    wait: Option<Duration>,
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
        let authorization = match &config.api_key_env {
            None => None,
            Some(name) => {
                let key = variable(name).filter(|key| !key.trim().is_empty());
                let key = key.ok_or_else(|| Error::Key {
                    name: name.clone(),
                    host: host(config),
                })?;
                Some(format!("Bearer {}", key.trim()))
            }
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A key goes where it was meant to go, and nowhere else.
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(config.timeout)))
            .user_agent(concat!("afd/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            config,
            agent: agent.into(),
            authorization,
            next: Mutex::new(Instant::now()),
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
        let mut wait = FIRST_WAIT;
        let mut tries = 0;
        loop {
            self.wait_for_turn();
            let trouble = match self.ask_once(question) {
                Ok(reply) => return Ok(reply),
                Err(trouble) => trouble,
            };
            tracing::debug!(reason = trouble.reason, tries, "no reply");
            if !trouble.passes || tries == self.config.max_retries {
                return Err(trouble.reason);
            }
            tries += 1;
            sleep(trouble.wait.unwrap_or(wait).min(LONGEST_WAIT));
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    fn wait_for_turn(&self) {
        let Some(rate) = self.config.requests_per_minute else {
            return;
        };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs(60) / rate;
            turn
        };
        sleep(turn.saturating_duration_since(Instant::now()));
    }

    fn ask_once(&self, question: &Value) -> Result<Reply, Trouble> {
        let passing = |reason: String| Trouble {
            reason,
            passes: true,
            wait: None,
        };
        let url = format!(
            "{}/chat/completions",
            self.config.base_url.trim_end_matches('/')
        );
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = request.send(question.to_string());
        let mut answer = answer.map_err(|error| passing(error.to_string()))?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| passing(format!("its answer breaks off: {error}")))?;
        if status != 200 {
            return Err(Trouble {
                reason: format!("status {status}: {}", beginning(&text)),
                passes: status == 408 || status == 429 || status >= 500,
                wait: wait.map(Duration::from_secs),
            });
        }
        let completion: Completion = serde_json::from_str(&text).map_err(|error| {
            passing(format!(
                "no chat completion ({error}): {}",
                beginning(&text)
            ))
        })?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| passing("a completion without choices".to_owned()))?;
        let filtered = choice.finish_reason.as_deref() == Some("content_filter");
        Ok(Reply {
            refused: filtered || choice.message.refusal.is_some(),
            content: choice.message.content.unwrap_or_default(),
            input_tokens: completion.usage.prompt_tokens,
            output_tokens: completion.usage.completion_tokens,
        })
    }
}

/// The host that the address names.
pub(crate) fn host(config: &JudgeConfig) -> String {
    let rest = config.base_url.split("://").nth(1).unwrap_or_default();
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// The first characters of a text, on one line.
fn beginning(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
