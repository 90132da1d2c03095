//! `afd logprobs`: what a policy thinks of given answers, token by token.

use afd_data::Tokenizer;
use afd_model::Sequence;
use afd_policy::sample;
use serde_json::{Value, json};

use super::json_rows::{self, problem};
use crate::{args::LogprobsArgs, error::Error};

pub(crate) fn run(args: &LogprobsArgs) -> Result<(), Error> {
    let (model_args, input) = (&args.rows.model, &args.rows.input);
    let placement = model_args.placement()?;
    let mut rows = json_rows::read(input)?;
    let tokenizer = Tokenizer::open(&model_args.model, model_args.form())?;
    let model = sample::load(&model_args.model, &tokenizer, &placement)?;

    let (context, vocab_size) = (model.config().context(), model.config().vocab_size);
    let mut ids: Vec<(Vec<u32>, usize)> = Vec::new();
    for row in &rows {
        let mut sequence = tokenizer.encode_prompt(row.text(input, "prompt")?)?;
        let prompt_len = sequence.len();
        match row.fields.get("completion_ids") {
            Some(ids) => {
                let ids: Vec<u32> = serde_json::from_value(ids.clone()).map_err(|error| {
                    problem(input, row.line, format!("`completion_ids`: {error}"))
                })?;
                sequence.extend(ids);
            }
            None => {
                let completion = row.text(input, "completion")?;
                sequence.extend(tokenizer.encode_completion(completion)?);
                sequence.extend(args.end_token.then(|| tokenizer.eos_id()));
            }
        }
        if prompt_len == 0 {
            let message = "`prompt` is empty: nothing to condition on".to_owned();
            return Err(problem(input, row.line, message));
        }
        if sequence.len() == prompt_len {
            return Err(problem(input, row.line, "the answer is empty".into()));
        }
        if sequence.len() > context {
            let tokens = sequence.len();
            let message = format!(
                "prompt and answer have {tokens} tokens, more than the model's context of {context}"
            );
            return Err(problem(input, row.line, message));
        }
        if let Some(id) = sequence.iter().find(|id| **id as usize >= vocab_size) {
            let message = format!(
                "token id {id} is not below the model's vocabulary of {vocab_size}; the ids are another tokenizer's"
            );
            return Err(problem(input, row.line, message));
        }
        ids.push((sequence, prompt_len));
    }
    let sequences: Vec<Sequence<'_>> = ids
        .iter()
        .map(|(ids, prompt_len)| Sequence {
            ids,
            prompt_len: *prompt_len,
        })
        .collect();
    let log_probs = model.score_log_probs(&sequences, model_args.batch_size.get())?;
    for ((row, (ids, prompt_len)), log_probs) in rows.iter_mut().zip(&ids).zip(log_probs) {
        let mut set = |key: &str, value: Value| row.fields.insert(key.into(), value);
        set("prompt_ids", json!(ids[..*prompt_len]));
        set("completion_ids", json!(ids[*prompt_len..]));
        set("logprobs", json!(log_probs));
    }
    let rows: Vec<_> = rows.into_iter().map(|row| row.fields).collect();
    json_rows::write(model_args.output.as_deref(), &rows)
}
