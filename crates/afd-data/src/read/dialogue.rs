//! A row as found: prompt and answers, as texts or messages; and its "\n\nHuman: …" form.

use super::{ReadOptions, StripPrefix, chat};
use crate::{
    RowError,
    chat::{Chat, Message},
    records::{DropReason, DroppedRow, Example},
};

/// Opens the person's turn; an answer must stop before it.
pub const HUMAN: &str = "\n\nHuman:";
/// Opens the model's turn; prompts end with it.
pub const ASSISTANT: &str = "\n\nAssistant:";

/// A prompt, an answer or a whole dialogue.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Text(String),
    Turns(Vec<Message>),
}

/// A row before any cleaning.
#[derive(Debug)]
pub(super) struct RawRow {
    pub(super) prompt: Said,
    pub(super) completion: Option<Said>,
    pub(super) chosen: Option<Said>,
    pub(super) rejected: Option<Said>,
}

/// A problem of one row, still without its source.
pub(super) type Problem = (DropReason, String);

impl RawRow {
    /// The row of two whole dialogues, which must agree up to the last answer.
    pub(super) fn from_dialogues(chosen: &Said, rejected: &Said) -> Result<Self, Problem> {
        let (prompt, chosen) = chosen.split()?;
        let (other, rejected) = rejected.split()?;
        if let Some(difference) = difference(&prompt, &other) {
            return Err((DropReason::PromptsDiffer, difference));
        }
        Ok(Self {
            prompt,
            completion: None,
            chosen: Some(chosen),
            rejected: Some(rejected),
        })
    }

    /// The row of messages, the last of which is the answer.
    pub(super) fn from_messages(messages: Vec<Message>) -> Result<Self, Problem> {
        let (prompt, answer) = Said::Turns(messages).split()?;
        Ok(Self {
            prompt,
            completion: Some(answer),
            chosen: None,
            rejected: None,
        })
    }

    /// Cuts the configured prefix from a prompt given as text.
    pub(super) fn strip(mut self, prefix: Option<&StripPrefix>) -> Result<Self, Problem> {
        let (Some(prefix), Said::Text(prompt)) = (prefix, &self.prompt) else {
            return Ok(self);
        };
        let rest = match prefix {
            StripPrefix::Literal(text) => prompt.strip_prefix(text.as_str()),
            &StripPrefix::Characters(n) => {
                let ends = prompt.char_indices().map(|(at, _)| at);
                let mut ends = ends.chain([prompt.len()]);
                ends.nth(n).map(|at| &prompt[at..])
            }
        };
        let rest = rest.ok_or((DropReason::PrefixMissing, String::new()))?;
        self.prompt = Said::Text(rest.to_owned());
        Ok(self)
    }

    /// Brings prompt and answers into their form, or says why the row cannot be used.
    pub(super) fn finish(
        self,
        source: &str,
        options: &ReadOptions,
        template: Option<&Chat>,
    ) -> Result<Example, RowError> {
        let turns = template.and_then(|_| chat::turns(&self.prompt, options.wrap_prompts));
        if let (Some(template), Some(turns)) = (template, turns) {
            return chat::example(self, &turns, template, source);
        }
        let problem = |problem| RowError::Dropped(dropped(source, problem));
        let prompt = form_prompt(self.prompt, options.wrap_prompts).map_err(problem)?;
        let form = |said: Option<Said>, key: &str| {
            said.map(|said| form_answer(&prompt, said, key))
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
            messages: Vec::new(),
            source: source.to_owned(),
        })
    }
}

impl Said {
    /// A dialogue as its prompt and the last answer.
    fn split(&self) -> Result<(Self, Self), Problem> {
        match self {
            Self::Text(text) => {
                let (prompt, answer) = split(text)?;
                Ok((Self::Text(prompt.to_owned()), Self::Text(answer.to_owned())))
            }
            Self::Turns(turns) => match turns.split_last() {
                None => Err((DropReason::NoAnswer, "no messages".to_owned())),
                Some((answer, prompt)) if answer.role == "assistant" => Ok((
                    Self::Turns(prompt.to_vec()),
                    Self::Turns(vec![answer.clone()]),
                )),
                Some((last, _)) => {
                    let detail = format!("the last message is by `{}`", last.role);
                    Err((DropReason::NoAnswer, detail))
                }
            },
        }
    }

    /// An answer: a text, or the one message of the assistant.
    pub(super) fn answer(self, key: &str) -> Result<Message, Problem> {
        let message = match self {
            Self::Text(text) => Message::new("assistant", text.trim()),
            Self::Turns(mut turns) => match (turns.pop(), turns.len()) {
                (Some(turn), 0) if turn.role == "assistant" => turn,
                _ => {
                    let detail = format!("`{key}` is not one message by `assistant`");
                    return Err((DropReason::NoAnswer, detail));
                }
            },
        };
        match message.content.trim() {
            "" => Err((DropReason::EmptyAnswer, format!("`{key}`"))),
            _ => Ok(message),
        }
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

/// Where two prompts part; `None` if they do not.
fn difference(prompt: &Said, other: &Said) -> Option<String> {
    match (prompt, other) {
        (Said::Text(a), Said::Text(b)) if a == b => None,
        (Said::Text(a), Said::Text(b)) => {
            let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            Some(format!("the dialogues part after {same} characters"))
        }
        (Said::Turns(a), Said::Turns(b)) if a == b => None,
        (Said::Turns(a), Said::Turns(b)) => {
            let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            Some(format!("the dialogues part after {same} messages"))
        }
        _ => Some("one dialogue is a text, the other a list of messages".to_owned()),
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

/// Messages as one text that ends with [`ASSISTANT`].
fn join(turns: &[Message]) -> Result<String, Problem> {
    let mut prompt = String::new();
    for (i, Message { role, content, .. }) in turns.iter().enumerate() {
        let content = content.trim();
        match role.as_str() {
            "system" if i == 0 => prompt.push_str(content),
            "user" => prompt.extend([HUMAN, " ", content]),
            "assistant" => prompt.extend([ASSISTANT, " ", content]),
            _ => {
                let detail = format!("message {i} is by `{role}`");
                return Err((DropReason::UnknownRole, detail));
            }
        }
    }
    // A system message alone asks nothing.
    if !prompt.contains(HUMAN) {
        return Err((DropReason::EmptyPrompt, "no message by `user`".to_owned()));
    }
    Ok(prompt + ASSISTANT)
}

fn form_prompt(raw: Said, wrap: bool) -> Result<String, Problem> {
    let raw = match raw {
        Said::Text(text) => text,
        Said::Turns(turns) => join(&turns)?,
    };
    let trimmed = raw.trim_end();
    let prompt = if trimmed.ends_with(ASSISTANT) {
        trimmed.to_owned()
    } else if !wrap {
        raw
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

fn form_answer(prompt: &str, raw: Said, key: &str) -> Result<String, Problem> {
    let raw = match raw {
        Said::Text(text) => text,
        turns => turns.answer(key)?.content,
    };
    match raw.trim() {
        "" => Err((DropReason::EmptyAnswer, format!("`{key}`"))),
        text if prompt.ends_with("Assistant:") => Ok(format!(" {text}")),
        _ => Ok(raw.trim_end().to_owned()),
    }
}
