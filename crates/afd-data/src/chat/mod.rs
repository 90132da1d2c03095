//! Chat templates: dialogues as the text a model was trained on, as transformers writes it.
//!
//! [`ChatTemplate`] renders; `source` finds the template among a checkpoint's files,
//! `environment`, `filters`, `methods` and `python` make minijinja behave as Python's Jinja does in
//! transformers, and `generation` adds the tag that marks an assistant's words.

mod environment;
mod filters;
mod generation;
mod methods;
mod python;
mod source;
mod template;
mod turn;

use serde::{Deserialize, Serialize};

pub(crate) use self::turn::EndOfTurn;
pub use self::{
    template::{ChatTemplate, Rendered},
    turn::Chat,
};

/// One turn of a dialogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else a template knows.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Further keys, which templates may read, such as `tool_calls` or `reasoning_content`.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A turn without further keys.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            extra: serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests;
