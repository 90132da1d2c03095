//! `afd score`: what a reward model thinks of given answers.

use afd_reward::ClassifierScorer;
use serde_json::json;

use super::json_rows;
use crate::{args::RowArgs, error::Error};

pub(crate) fn run(args: &RowArgs) -> Result<(), Error> {
    let placement = args.model.placement()?;
    let mut rows = json_rows::read(&args.input)?;
    let pairs = rows
        .iter()
        .map(|row| {
            let text = |key| row.text(&args.input, key);
            Ok((text("prompt")?, text("completion")?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let (batch, form) = (args.model.batch_size.get(), args.model.form());
    let scorer = ClassifierScorer::load(&args.model.model, batch, form, &placement)?;
    let (scores, _) = scorer.logits(&pairs).map_err(|error| match error {
        afd_reward::Error::TooLong { number, context } => {
            let message = format!(
                "prompt, answer and end token exceed the reward model's context of {context} tokens; shorten the row or leave it out"
            );
            json_rows::problem(&args.input, rows[number - 1].line, message)
        }
        error => error.into(),
    })?;
    for (row, score) in rows.iter_mut().zip(scores) {
        row.fields.insert("score".into(), json!(score));
    }
    let rows: Vec<_> = rows.into_iter().map(|row| row.fields).collect();
    json_rows::write(args.model.output.as_deref(), &rows)
}
