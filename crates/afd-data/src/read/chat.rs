//! Rows in the form of a chat template: whatever was read becomes messages, the template text.

use super::dialogue::{ASSISTANT, HUMAN, Problem, RawRow, Said, dropped};
use crate::{
    Error, RowError,
    chat::{Chat, Message},
    records::{DropReason, Example},
};

/// A prompt as messages; `None` for a plain text that is not to be wrapped as a question.
pub(super) fn turns(prompt: &Said, wrap: bool) -> Option<Vec<Message>> {
    match prompt {
        Said::Turns(turns) => Some(turns.clone()),
        Said::Text(text) if text.contains(HUMAN) || text.trim_end().ends_with(ASSISTANT) => {
            Some(parse(text))
        }
        Said::Text(text) => wrap.then(|| vec![Message::new("user", text.trim())]),
    }
}

/// The turns of a text with [`HUMAN`] and [`ASSISTANT`]; what stands before them is the system's.
/// The turn of the answer to come is left out.
fn parse(text: &str) -> Vec<Message> {
    let mut turns = Vec::new();
    let mut role = "system";
    let mut rest = text;
    loop {
        let human = rest.find(HUMAN).map(|at| (at, HUMAN, "user"));
        let assistant = rest.find(ASSISTANT).map(|at| (at, ASSISTANT, "assistant"));
        let next = human.into_iter().chain(assistant).min();
        let content = rest[..next.map_or(rest.len(), |(at, ..)| at)].trim();
        let is_open = content.is_empty() && (role == "system" || next.is_none());
        if !(is_open && role != "user") {
            turns.push(Message::new(role, content));
        }
        match next {
            None => return turns,
            Some((at, mark, speaker)) => {
                role = speaker;
                rest = &rest[at + mark.len()..];
            }
        }
    }
}

/// The row with prompt and answers as the template writes them.
pub(super) fn example(
    row: RawRow,
    turns: &[Message],
    template: &Chat,
    source: &str,
) -> Result<Example, RowError> {
    let problem = |problem: Problem| RowError::Dropped(dropped(source, problem));
    let asked = turns.iter().any(|turn| turn.role == "user");
    if !asked {
        let detail = "no message by `user`".to_owned();
        return Err(problem((DropReason::EmptyPrompt, detail)));
    }
    if turns.iter().all(|turn| turn.content.trim().is_empty()) {
        return Err(problem((DropReason::EmptyPrompt, String::new())));
    }
    // The preferred answer demonstrates, unless the row has a demonstration of its own.
    let demonstration = row.completion.clone().or_else(|| row.chosen.clone());
    let form = |said: Option<Said>, key: &str| match said {
        None => Ok(None),
        Some(said) => {
            let answer = said.answer(key).map_err(problem)?;
            let dialogue = [turns, &[answer]].concat();
            exchange(template, &dialogue, key, source).map(Some)
        }
    };
    let chosen = form(row.chosen, "chosen")?;
    let rejected = form(row.rejected, "rejected")?;
    let completion = form(row.completion, "completion")?.or_else(|| chosen.clone());
    // All answers were rendered after the same prompt.
    let any = completion.as_ref().or(rejected.as_ref());
    let prompt = any.map(|(prompt, _)| prompt.clone()).unwrap_or_default();
    let answer = |exchange: Option<(String, String)>| exchange.map(|(_, answer)| answer);
    Ok(Example {
        prompt,
        completion: answer(completion),
        chosen: answer(chosen),
        rejected: answer(rejected),
        messages: match demonstration.map(|said| said.answer("completion")) {
            Some(Ok(answer)) => [turns, &[answer]].concat(),
            _ => Vec::new(),
        },
        source: source.to_owned(),
    })
}

/// Prompt and answer, or why the template gives none.
fn exchange(
    template: &Chat,
    dialogue: &[Message],
    key: &str,
    source: &str,
) -> Result<(String, String), RowError> {
    let problem = |reason, detail| Err(RowError::Dropped(dropped(source, (reason, detail))));
    match template.exchange(dialogue) {
        Ok(Some((_, answer))) if answer.trim().is_empty() => {
            problem(DropReason::EmptyAnswer, format!("`{key}`"))
        }
        Ok(Some(exchange)) => Ok(exchange),
        Ok(None) => problem(DropReason::TemplateMismatch, format!("`{key}`")),
        Err(Error::ChatRefused { message, .. }) => problem(DropReason::TemplateRefused, message),
        Err(cause) => Err(RowError::Broken(Error::Row {
            row: source.to_owned(),
            cause: Box::new(cause),
        })),
    }
}
