//! Answers of a policy as rows: ids to draw from, text and log-probs of what was drawn.

use std::path::Path;

use afd_backend::{
    Placement,
    device::{is_worth_several, workers},
    workers::for_each,
};
use afd_data::{Tokenizer, encode_all, records::Sample};
use afd_model::{
    CausalLm, DecoderConfig, FinishReason, Generation, GenerationRequest, Guide, Portion, Stop,
    by_request, generate, generate_guided, plan_batches,
};
use afd_stage::seed::derive;
use burn::tensor::Device;

use super::SampleConfig;
use crate::{
    Error,
    extrapolate::{same_tokens, two_models},
};

/// Parts that prompts are cut into at least, where there is enough to draw: for threads that draw several at
/// once, whatever their number, on which the last bits would then depend.
pub(super) const PARTS: usize = 8;

/// The parts that [`answer_all`] cuts prompts into: many only for a device on which several are drawn at once.
pub fn parts(device: &Device) -> usize {
    match is_worth_several(device) {
        true => PARTS,
        false => 1,
    }
}

/// Loads a policy and makes sure `tokenizer` belongs to it.
///
/// # Errors
/// When the tokenizer has more ids than the embedding has rows, and those of
/// [`CausalLm::load`].
pub fn load(model: &Path, tokenizer: &Tokenizer, placement: &Placement) -> Result<CausalLm, Error> {
    let model = CausalLm::load(model, placement)?;
    model.config().check_vocabulary(tokenizer.vocab_size())?;
    Ok(model)
}

/// Loads a policy that the one in the directory `model`, with its `tokenizer`, is to be led away
/// from.
///
/// # Errors
/// [`Error::Tokenizers`] and [`Error::TwoModels`] when the two do not have one vocabulary, and
/// those of [`CausalLm::load`].
pub fn load_other(
    (model, tokenizer): (&Path, &Tokenizer),
    other: &Path,
    placement: &Placement,
) -> Result<CausalLm, Error> {
    let theirs = Tokenizer::load(other)?;
    same_tokens((model, tokenizer), (other, &theirs))?;
    let ((shape, _), loaded) = (
        DecoderConfig::load(model)?,
        CausalLm::load(other, placement)?,
    );
    let (own, found) = (shape.vocab_size, loaded.config().vocab_size);
    match own == found {
        true => Ok(loaded),
        false => {
            let source = afd_model::Error::Vocabularies { own, other: found };
            Err(two_models(model, other, source))
        }
    }
}

/// The requests for `num_generations` answers to each text; the seed of answer `index` is
/// derived from `seed`, the prompt and the index.
///
/// # Errors
/// When a prompt cannot be tokenised.
pub fn requests(
    tokenizer: &Tokenizer,
    texts: &[String],
    num_generations: usize,
    seed: u64,
) -> Result<Vec<GenerationRequest>, Error> {
    let request = |text: &String| {
        Ok(GenerationRequest {
            prompt_ids: tokenizer.encode_prompt(text)?,
            seeds: (0..num_generations as u64)
                .map(|index| derive(seed, text, index))
                .collect(),
        })
    };
    encode_all(texts, request)
}

/// Draws a `part` of all answers to `texts`, whose `requests` these are, as rows of each portion. The policy
/// is led away from another, if there is one.
///
/// # Errors
/// Those of [`generate_guided`].
pub(super) fn answer_part(
    model: &CausalLm,
    guide: Option<Guide<'_>>,
    tokenizer: &Tokenizer,
    texts: &[impl AsRef<str>],
    requests: &[GenerationRequest],
    part: &[Portion],
    config: &SampleConfig,
) -> Result<Vec<Vec<Sample>>, Error> {
    let stop_text = |ids: &[u32]| find_stop(tokenizer, ids, &config.stop_strings);
    let stop = Stop {
        ids: tokenizer.eos_ids(),
        text: if config.stop_strings.is_empty() {
            &afd_model::never
        } else {
            &stop_text
        },
    };
    let params = config.params();
    let rows = config.generation_batch_size;
    let asked: Vec<GenerationRequest> = part.iter().map(|portion| portion.of(requests)).collect();
    let asked: Vec<&GenerationRequest> = asked.iter().collect();
    let generations = match guide {
        None => generate(model, &asked, rows, &params, &stop)?,
        Some(guide) => generate_guided(model, guide, &asked, rows, &params, &stop)?,
    };
    let rows = generations.into_iter().zip(part).map(|(answers, portion)| {
        let prompt = texts[portion.request].as_ref();
        let rows = portion.answers.clone().zip(answers);
        rows.map(|(index, answer)| to_row(tokenizer, prompt, index, answer, config))
            .collect()
    });
    rows.collect()
}

/// Draws all answers to `texts`, whose `requests` these are, as rows: in [`parts`] drawn by [`workers`] threads,
/// each with `generation_batch_size` answers at a time. The policy is led away from another, if there is one.
///
/// # Errors
/// Those of [`generate_guided`], of the part that fails first.
pub fn answer_all(
    model: &CausalLm,
    guide: Option<Guide<'_>>,
    tokenizer: &Tokenizer,
    texts: &[&str],
    requests: &[GenerationRequest],
    config: &SampleConfig,
) -> Result<Vec<Vec<Sample>>, Error> {
    let device = model.model.device();
    let plan = plan_batches(requests, config.generation_batch_size, parts(&device));
    // Each thread has a handle of its own; weights that are laid out are shared.
    let other = guide.map(|guide| (guide.away_from.for_drawing(), guide.strength));
    let states = vec![(model.for_drawing(), other); workers(&device).min(plan.len()).max(1)];
    let draw = |(model, other): &(CausalLm, Option<(CausalLm, f64)>), part: usize| {
        let guide = other.as_ref().map(|(away_from, strength)| Guide {
            away_from,
            strength: *strength,
        });
        answer_part(
            model,
            guide,
            tokenizer,
            texts,
            requests,
            &plan[part],
            config,
        )
    };
    let mut drawn: Vec<Vec<Vec<Sample>>> = vec![Vec::new(); plan.len()];
    for_each(states, plan.len(), draw, |part, answers| {
        drawn[part] = answers;
        Ok::<(), Error>(())
    })?;
    Ok(by_request(&plan, drawn, requests.len()))
}

/// Whether the end of `ids` spells one of `stops`; only as many tokens are decoded as a stop
/// string may span.
pub(super) fn find_stop(tokenizer: &Tokenizer, ids: &[u32], stops: &[String]) -> bool {
    stops.iter().any(|stop| {
        let tail = ids.len().saturating_sub(stop.len() + 4);
        tokenizer
            .decode(&ids[tail..])
            .is_ok_and(|text| text.contains(stop.as_str()))
    })
}

/// The text of an answer, without the stop string that ended it and what follows.
pub(super) fn completion(
    tokenizer: &Tokenizer,
    ids: &[u32],
    config: &SampleConfig,
) -> Result<String, Error> {
    let mut completion = tokenizer.decode_completion(ids)?;
    let cut = config
        .stop_strings
        .iter()
        .filter_map(|stop| completion.find(stop.as_str()))
        .min();
    if let Some(cut) = cut {
        completion.truncate(cut);
    }
    Ok(completion)
}

pub(super) fn to_row(
    tokenizer: &Tokenizer,
    prompt: &str,
    index: usize,
    answer: Generation,
    config: &SampleConfig,
) -> Result<Sample, Error> {
    let completion = completion(tokenizer, &answer.ids, config)?;
    Ok(Sample {
        prompt: prompt.to_owned(),
        index: index as u32,
        completion,
        completion_ids: answer.ids,
        sampler_logprobs: (answer.sampler_log_probs != answer.log_probs)
            .then_some(answer.sampler_log_probs),
        logprobs: answer.log_probs,
        finish_reason: match answer.finish {
            FinishReason::Stop => "stop".into(),
            FinishReason::Length => "length".into(),
        },
    })
}
