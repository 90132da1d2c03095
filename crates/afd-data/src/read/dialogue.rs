//! The "\n\nHuman: … \n\nAssistant: …" form of prompts and answers.

use super::{ReadOptions, StripPrefix};
use crate::records::{DropReason, DroppedRow, Example};

/// Opens the person's turn; an answer must stop before it.
pub const HUMAN: &str = "\n\nHuman:";
/// Opens the model's turn; prompts end with it.
pub const ASSISTANT: &str = "\n\nAssistant:";

/// Texts of a row as found, before any cleaning.
#[derive(Debug, Default)]
pub(super) struct RawRow {
    pub(super) prompt: String,
    pub(super) completion: Option<String>,
    pub(super) chosen: Option<String>,
    pub(super) rejected: Option<String>,
}

/// A problem of one row, still without its source.
pub(super) type Problem = (DropReason, String);

impl RawRow {
    /// The row of two whole dialogues, which must agree up to the last answer.
    pub(super) fn from_dialogues(chosen: &str, rejected: &str) -> Result<Self, Problem> {
        let (prompt, chosen) = split(chosen)?;
        let (other, rejected) = split(rejected)?;
        if prompt != other {
            let same = prompt
                .chars()
                .zip(other.chars())
                .take_while(|(a, b)| a == b)
                .count();
            return Err((
                DropReason::PromptsDiffer,
                format!("the dialogues part after {same} characters"),
            ));
        }
        Ok(Self {
            prompt: prompt.to_owned(),
            completion: None,
            chosen: Some(chosen.to_owned()),
            rejected: Some(rejected.to_owned()),
        })
    }

    /// The row of (role, content) messages, the last of which is the answer.
    pub(super) fn from_messages(messages: &[(String, String)]) -> Result<Self, Problem> {
        let Some(((role, answer), turns)) = messages.split_last() else {
            return Err((DropReason::NoAnswer, "no messages".to_owned()));
        };
        if role != "assistant" {
            return Err((
                DropReason::NoAnswer,
                format!("the last message is by `{role}`"),
            ));
        }
        let mut prompt = String::new();
        for (i, (role, content)) in turns.iter().enumerate() {
            let content = content.trim();
            match role.as_str() {
                "system" if i == 0 => prompt.push_str(content),
                "user" => prompt.extend([HUMAN, " ", content]),
                "assistant" => prompt.extend([ASSISTANT, " ", content]),
                _ => {
                    return Err((
                        DropReason::UnknownRole,
                        format!("message {i} is by `{role}`"),
                    ));
                }
            }
        }
        // A system message alone asks nothing.
        if !prompt.contains(HUMAN) {
            return Err((DropReason::EmptyPrompt, "no message by `user`".to_owned()));
        }
        prompt.push_str(ASSISTANT);
        Ok(Self {
            prompt,
            completion: Some(answer.clone()),
            ..Self::default()
        })
    }

    /// Cuts the configured prefix from the prompt.
    pub(super) fn strip(mut self, prefix: Option<&StripPrefix>) -> Result<Self, Problem> {
        let rest = match prefix {
            None => return Ok(self),
            Some(StripPrefix::Literal(text)) => self.prompt.strip_prefix(text.as_str()),
            Some(&StripPrefix::Characters(n)) => {
                let ends = self.prompt.char_indices().map(|(at, _)| at);
                let mut ends = ends.chain([self.prompt.len()]);
                ends.nth(n).map(|at| &self.prompt[at..])
            }
        };
        match rest {
            Some(rest) => self.prompt = rest.to_owned(),
            None => return Err((DropReason::PrefixMissing, String::new())),
        }
        Ok(self)
    }

    /// Brings prompt and answers into their form, or says why the row cannot be used.
    pub(super) fn finish(self, source: &str, options: &ReadOptions) -> Result<Example, DroppedRow> {
        let problem = |(reason, detail): Problem| dropped(source, (reason, detail));
        let prompt = form_prompt(&self.prompt, options.wrap_prompts).map_err(problem)?;
        let form = |text: Option<String>, key: &str| {
            text.map(|text| form_answer(&prompt, &text, key))
                .transpose()
                .map_err(problem)
        };
        let chosen = form(self.chosen, "chosen")?;
        let rejected = form(self.rejected, "rejected")?;
        // The preferred answer demonstrates, unless the row has a demonstration of its own.
        let completion = form(self.completion, "completion")?.or_else(|| chosen.clone());
        Ok(Example {
            prompt,
            completion,
            chosen,
            rejected,
            source: source.to_owned(),
        })
    }
}

/// A problem with its source.
pub(super) fn dropped(source: &str, (reason, detail): Problem) -> DroppedRow {
    DroppedRow {
        source: source.to_owned(),
        reason,
        detail,
    }
}

/// Splits a dialogue into its prompt, which ends with [`ASSISTANT`], and the last answer.
fn split(dialogue: &str) -> Result<(&str, &str), Problem> {
    let Some(at) = dialogue.rfind(ASSISTANT) else {
        return Err((DropReason::NoAnswer, "no assistant's turn".to_owned()));
    };
    let (prompt, answer) = dialogue.split_at(at + ASSISTANT.len());
    match answer.contains(HUMAN) {
        true => Err((
            DropReason::NoAnswer,
            "the dialogue ends with the human's turn".to_owned(),
        )),
        false => Ok((prompt, answer)),
    }
}

fn form_prompt(raw: &str, wrap: bool) -> Result<String, Problem> {
    let trimmed = raw.trim_end();
    let prompt = if trimmed.ends_with(ASSISTANT) {
        trimmed.to_owned()
    } else if !wrap {
        raw.to_owned()
    } else if trimmed.starts_with(HUMAN) {
        format!("{trimmed}{ASSISTANT}")
    } else {
        format!("{HUMAN} {}{ASSISTANT}", trimmed.trim_start())
    };
    let said = prompt.replace(HUMAN, "").replace(ASSISTANT, "");
    match said.trim().is_empty() {
        true => Err((DropReason::EmptyPrompt, String::new())),
        false => Ok(prompt),
    }
}

fn form_answer(prompt: &str, raw: &str, key: &str) -> Result<String, Problem> {
    match raw.trim() {
        "" => Err((DropReason::EmptyAnswer, format!("`{key}`"))),
        text if prompt.ends_with("Assistant:") => Ok(format!(" {text}")),
        _ => Ok(raw.trim_end().to_owned()),
    }
}
