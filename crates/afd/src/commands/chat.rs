//! `afd chat`: a dialogue with a policy, line by line.

use std::io::{BufRead, Write, stdin, stdout};

use afd_data::{ASSISTANT, HUMAN, Tokenizer, chat::Message};
use afd_policy::sample;

use super::sampling;
use crate::{args::ChatArgs, error::Error};

pub(crate) fn run(args: &ChatArgs) -> Result<(), Error> {
    let placement = args.model.placement()?;
    let mut config = sampling(&args.sampling, 1);
    if !args.model.chat_template {
        // The policy must not speak for the human.
        config.stop_strings.push(HUMAN.to_owned());
    }
    config
        .check()
        .map_err(|error| Error::Usage(error.to_string()))?;
    let tokenizer = Tokenizer::open(&args.model.model, args.model.form())?;
    let model = sample::load(&args.model.model, &tokenizer, &placement)?.for_drawing();
    let io = |source| Error::Io {
        action: "use",
        path: "the terminal".into(),
        source,
    };
    let mut out = stdout().lock();
    let mut turns = Vec::new();
    writeln!(out, "An empty line ends the dialogue.").map_err(io)?;
    loop {
        write!(out, "> ").and_then(|()| out.flush()).map_err(io)?;
        let mut line = String::new();
        if stdin().lock().read_line(&mut line).map_err(io)? == 0 || line.trim().is_empty() {
            return Ok(());
        }
        turns.push(Message::new("user", line.trim()));
        let dialogue = match tokenizer.chat() {
            Some(chat) => chat.prompt(&turns)?,
            None => human_assistant(&turns),
        };
        let texts = std::slice::from_ref(&dialogue);
        let requests = sample::requests(&tokenizer, texts, 1, args.model.seed)?;
        let texts = [dialogue.as_str()];
        let answers = sample::answer_all(&model, None, &tokenizer, &texts, &requests, &config)?;
        let answer = answers
            .into_iter()
            .flatten()
            .next()
            .map_or_else(String::new, |answer| answer.completion);
        writeln!(out, "{}", answer.trim()).map_err(io)?;
        turns.push(Message::new("assistant", answer.trim()));
    }
}

/// The dialogue as models without a template know it, up to the answer to come.
fn human_assistant(turns: &[Message]) -> String {
    let mut text = String::new();
    for turn in turns {
        let speaker = match turn.role.as_str() {
            "user" => HUMAN,
            _ => ASSISTANT,
        };
        text += &format!("{speaker} {}", turn.content);
    }
    text + ASSISTANT
}
