//! Who judges, how, and at what price.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[llm_judge]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// Where the server's protocol begins: `https://host/v1`, or `http://localhost:8000/v1`.
    pub base_url: String,
    /// What the server calls the model.
    pub model: String,
    /// A file with what the judge is told, in which `{prompt}`, `{a}` and `{b}` stand for the prompt and the
    /// two answers. It is to end with `[[A]]`, `[[B]]` or, for a tie, `[[C]]`.
    pub prompt: PathBuf,
    /// The variable that holds the server's key; none for a server that wants none. The key is read from
    /// there alone, and written nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// 0: the same verdict again, as far as the server goes.
    pub temperature: f64,
    /// Longest verdict, in tokens.
    pub max_tokens: u32,
    /// Requests under way at a time.
    pub max_concurrency: usize,
    /// Requests begun in a minute, at most; none: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// How often a request is tried again after the server did not answer, or said to come again.
    pub max_retries: u32,
    /// Longest wait for an answer, in seconds.
    pub timeout: u64,
    /// What a million tokens read cost, in any currency.
    pub input_price: f64,
    /// What a million tokens written cost.
    pub output_price: f64,
    /// Stop before more than this is spent in a run, all of its policies and attempts together; none: no
    /// limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// What to do with a comparison that cannot be had.
    pub on_failure: OnFailure,
    /// Prompts of the test split that are judged, from its beginning.
    pub max_prompts: usize,
}

/// What a failed request does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run stops; what was judged is kept, and not asked for again.
    Stop,
    /// It is counted and left out.
    Skip,
}

impl JudgeConfig {
    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let price = |value: f64| value >= 0.0 && value.is_finite();
        let is_url = ["http://", "https://"]
            .iter()
            .any(|start| self.base_url.starts_with(start));
        [
            (
                "base_url",
                is_url,
                "an address that begins with http:// or https://",
            ),
            ("model", !self.model.is_empty(), "the model's name"),
            ("temperature", price(self.temperature), "0 or more"),
            ("max_tokens", self.max_tokens > 0, "1 or more"),
            (
                "max_concurrency",
                (1..=256).contains(&self.max_concurrency),
                "1 to 256",
            ),
            (
                "requests_per_minute",
                self.requests_per_minute != Some(0),
                "1 or more",
            ),
            ("timeout", self.timeout > 0, "1 or more"),
            ("input_price", price(self.input_price), "0 or more"),
            ("output_price", price(self.output_price), "0 or more"),
            (
                "max_cost",
                self.max_cost
                    .is_none_or(|cost| cost > 0.0 && cost.is_finite()),
                "above 0",
            ),
            (
                "max_cost",
                self.max_cost.is_none() || self.input_price + self.output_price > 0.0,
                "given with prices, or it never acts",
            ),
            ("max_prompts", self.max_prompts > 0, "1 or more"),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .collect()
    }
}
