//! `afd score`: what a reward model thinks of given answers.

use afd_reward::{LoadOptions, RewardModel, Truncation, TruncationSide};
use serde_json::json;

use super::json_rows;
use crate::{
    args::{ScoreArgs, Side},
    error::Error,
};

/// Rows read, scored and written at a time.
const ROWS_AT_A_TIME: usize = 1024;

pub(crate) fn run(args: &ScoreArgs) -> Result<(), Error> {
    let model_args = &args.rows.model;
    let placement = model_args.placement()?;
    let truncation = args.max_length.map(|max_length| Truncation {
        max_length: max_length.get(),
        side: match args.truncation_side {
            Side::Right => TruncationSide::Right,
            Side::Left => TruncationSide::Left,
        },
    });
    let options = LoadOptions {
        batch_size: model_args.batch_size.get(),
        form: model_args.form(),
        base: args.base.as_deref(),
        truncation,
    };
    let model = RewardModel::load(&model_args.model, &options, &placement)?;
    let input = &args.rows.input;
    json_rows::convert(
        input,
        model_args.output.as_deref(),
        ROWS_AT_A_TIME,
        |rows| {
            let pairs = rows
                .iter()
                .map(|row| {
                    let text = |key| row.text(input, key);
                    Ok((text("prompt")?, text("completion")?))
                })
                .collect::<Result<Vec<_>, Error>>()?;
            let scored = model.score(&pairs).map_err(|error| match error {
            afd_reward::Error::TooLong { number, context } => {
                let message = format!(
                    "prompt, answer and end token exceed the reward model's context of {context} tokens; give --max-length to cut texts, shorten the row or leave it out"
                );
                json_rows::problem(input, rows[number - 1].line, message)
            }
            error => error.into(),
        })?;
            for (index, row) in rows.iter_mut().enumerate() {
                row.fields
                    .insert("score".into(), json!(scored.logits[index]));
                if let Some(spread) = scored.spread.get(index) {
                    row.fields.insert("score_spread".into(), json!(spread));
                }
            }
            Ok(())
        },
    )
}
