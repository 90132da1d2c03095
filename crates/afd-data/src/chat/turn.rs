//! A template with the token that ends an assistant's turn: prompts and answers as they are trained.

use super::{ChatTemplate, Message, python::is_space};
use crate::Error;

/// The dialogue that shows how an assistant's turn ends.
const QUESTION: &str = "Where is the probe?";
const ANSWER: &str = "The probe is here.";

/// A chat template in use by a tokenizer.
#[derive(Clone, Debug)]
pub struct Chat {
    template: ChatTemplate,
    end: Option<EndOfTurn>,
}

/// The token after an assistant's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndOfTurn {
    pub(crate) id: u32,
    pub(crate) text: String,
}

impl Chat {
    /// Finds which of `tokens` follows an answer, but for white space; the longest one, where
    /// several do. There need not be one.
    ///
    /// # Errors
    /// The template fails on a question and an answer.
    pub(crate) fn new(
        template: ChatTemplate,
        tokens: impl IntoIterator<Item = EndOfTurn>,
    ) -> Result<Self, Error> {
        let probe = [
            Message::new("user", QUESTION),
            Message::new("assistant", ANSWER),
        ];
        let text = template.render(&probe, false)?.text;
        let after = text.rfind(ANSWER).map(|at| &text[at + ANSWER.len()..]);
        let after = after.unwrap_or_default().trim_start_matches(is_space);
        let tokens = tokens.into_iter();
        let end = tokens
            .filter(|token| !token.text.is_empty() && after.starts_with(&token.text))
            .max_by_key(|token| token.text.len());
        Ok(Self { template, end })
    }

    /// The template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The text of the token that ends an assistant's turn, if the template writes one.
    pub fn end_of_turn(&self) -> Option<&str> {
        self.end.as_ref().map(|end| end.text.as_str())
    }

    pub(crate) fn end(&self) -> Option<&EndOfTurn> {
        self.end.as_ref()
    }

    /// A dialogue as a prompt for the assistant's next turn.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn prompt(&self, messages: &[Message]) -> Result<String, Error> {
        Ok(self.template.render(messages, true)?.text)
    }

    /// A dialogue as the prompt for its last turn and that turn's text: what the template writes
    /// after the prompt, up to the token that ends the turn.
    ///
    /// `None` where the whole dialogue does not begin with the prompt, or its last turn has no
    /// such end: what was trained would not be what is asked for later.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn exchange(&self, messages: &[Message]) -> Result<Option<(String, String)>, Error> {
        let before = messages.split_last().map_or(messages, |(_, before)| before);
        let prompt = self.prompt(before)?;
        let whole = self.template.render(messages, false)?.text;
        let Some(turn) = whole.strip_prefix(&prompt) else {
            return Ok(None);
        };
        let end = match &self.end {
            Some(end) => turn.rfind(&end.text),
            None => Some(turn.len()),
        };
        Ok(end.map(|end| (prompt, turn[..end].to_owned())))
    }
}
