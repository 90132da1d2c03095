//! `afd generate`: prompts in, a row per answer out.

use afd_data::Tokenizer;
use afd_model::Guide;
use afd_policy::sample;

use super::{json_rows, sampling};
use crate::{args::GenerateArgs, error::Error};

pub(crate) fn run(args: &GenerateArgs) -> Result<(), Error> {
    let placement = args.model.placement()?;
    let config = sampling(&args.sampling, args.model.batch_size.get());
    config
        .check()
        .map_err(|error| Error::Usage(error.to_string()))?;
    let rows = json_rows::read(&args.prompts)?;
    let texts = rows
        .iter()
        .map(|row| Ok(row.text(&args.prompts, "prompt")?.to_owned()))
        .collect::<Result<Vec<String>, Error>>()?;
    let tokenizer = Tokenizer::open(&args.model.model, args.model.form())?;
    let model = sample::load(&args.model.model, &tokenizer, &placement)?;
    let away_from = match (&args.away_from, args.strength) {
        (Some(dir), Some(strength)) => {
            let other = sample::load_other((&args.model.model, &tokenizer), dir, &placement)?;
            Some((other, strength))
        }
        _ => None,
    };
    let guide = away_from.as_ref().map(|(model, strength)| Guide {
        away_from: model,
        strength: *strength,
    });
    let requests = sample::requests(
        &tokenizer,
        &texts,
        args.num_generations.get(),
        args.model.seed,
    )?;

    let (new, context) = (args.sampling.max_new_tokens, model.config().context());
    for (row, request) in rows.iter().zip(&requests) {
        let tokens = request.prompt_ids.len();
        let message = match tokens {
            0 => "`prompt` is empty: there is nothing to continue".to_owned(),
            _ if tokens + new > context => format!(
                "`prompt` has {tokens} tokens; with {new} new ones it exceeds the model's context of {context}: shorten it or lower --max-new-tokens"
            ),
            _ => continue,
        };
        return Err(json_rows::problem(&args.prompts, row.line, message));
    }

    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answers = sample::answer_all(&model, guide, &tokenizer, &texts, &requests, &config)?;
    json_rows::write(args.model.output.as_deref(), &answers.concat())
}
