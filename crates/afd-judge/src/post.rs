//! A request to a server of JSON, and what to do when no answer comes.

use std::{
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{Agent, http::header::AUTHORIZATION};

use crate::Error;

/// The first wait before a request is tried again; every further one is twice as long, …
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A client with its patience.
pub(crate) struct Poster {
    agent: Agent,
    authorization: Option<String>,
    max_retries: u32,
    requests_per_minute: Option<u32>,
    /// When the next request may begin.
    next: Mutex<Instant>,
}

/// How a [`Poster`] asks.
pub(crate) struct Manner<'a> {
    /// Whom, for messages.
    pub(crate) host: &'a str,
    /// The variable that holds the key.
    pub(crate) api_key_env: Option<&'a str>,
    pub(crate) timeout: u64,
    pub(crate) max_retries: u32,
    pub(crate) requests_per_minute: Option<u32>,
}

/// Why there is no answer: what the server said, and whether it may be asked again.
struct Trouble {
    reason: String,
    passes: bool,
    /// How long it said to wait.
    wait: Option<Duration>,
}

impl Trouble {
    fn passing(reason: String) -> Self {
        Self {
            reason,
            passes: true,
            wait: None,
        }
    }
}

impl Poster {
    /// With the key that the environment holds, read by `variable`.
    pub(crate) fn new(
        manner: &Manner<'_>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let authorization = match manner.api_key_env {
            None => None,
            Some(name) => {
                let key = variable(name).filter(|key| !key.trim().is_empty());
                let key = key.ok_or_else(|| Error::Key {
                    name: name.to_owned(),
                    host: manner.host.to_owned(),
                })?;
                Some(format!("Bearer {}", key.trim()))
            }
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A key goes where it was meant to go, and nowhere else.
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(manner.timeout)))
            .user_agent(concat!("afd/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: agent.into(),
            authorization,
            max_retries: manner.max_retries,
            requests_per_minute: manner.requests_per_minute,
            next: Mutex::new(Instant::now()),
        })
    }

    /// The server's answer, or why there is none after all that was tried.
    pub(crate) fn post<T: DeserializeOwned>(&self, url: &str, body: &Value) -> Result<T, String> {
        let mut wait = FIRST_WAIT;
        let mut tries = 0;
        loop {
            self.wait_for_turn();
            let trouble = match self.post_once(url, body) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            tracing::debug!(reason = trouble.reason, tries, "no answer");
            if !trouble.passes || tries == self.max_retries {
                return Err(trouble.reason);
            }
            tries += 1;
            sleep(trouble.wait.unwrap_or(wait).min(LONGEST_WAIT));
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    fn wait_for_turn(&self) {
        let Some(rate) = self.requests_per_minute else {
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

    fn post_once<T: DeserializeOwned>(&self, url: &str, body: &Value) -> Result<T, Trouble> {
        let mut request = self.agent.post(url).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = request.send(body.to_string());
        let mut answer = answer.map_err(|error| Trouble::passing(error.to_string()))?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let text = answer.body_mut().read_to_string();
        let text =
            text.map_err(|error| Trouble::passing(format!("its answer breaks off: {error}")))?;
        if status != 200 {
            return Err(Trouble {
                reason: format!("status {status}: {}", beginning(&text)),
                passes: status == 408 || status == 429 || status >= 500,
                wait: wait.map(Duration::from_secs),
            });
        }
        serde_json::from_str(&text).map_err(|error| {
            Trouble::passing(format!(
                "an answer of another kind ({error}): {}",
                beginning(&text)
            ))
        })
    }
}

/// The host that an address names.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split("://").nth(1).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
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
