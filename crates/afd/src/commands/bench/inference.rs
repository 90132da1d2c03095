//! What a model does without gradients: log-probabilities of answers, and answers.

use std::time::Instant;

use afd_backend::{Placement, device::workers, workers::for_each};
use afd_model::{
    CausalLm, Generation, GenerationRequest, SamplingParams, Sequence, Stop, by_request, generate,
    never, plan_batches,
};

use afd_policy::sample::parts;

use super::model::rows;
use crate::{args::BenchArgs, error::Error, speed};

/// Batches that are scored.
const BATCHES: usize = 4;

/// Answers drawn at a time.
const ROWS: usize = 64;

/// Every answer has the length allowed.
const ENDLESS: Stop<'_> = Stop {
    ids: &[],
    text: &never,
};

/// Tokens a second of log-probabilities of given answers.
pub(super) fn score(args: &BenchArgs, placement: &Placement) -> Result<f64, Error> {
    let (batch, length) = (args.batch_size.get(), args.length.get());
    let model = CausalLm::init(args.shape.decoder(length), 0, placement)?;
    let answers = rows(args, BATCHES * batch);
    let sequences: Vec<Sequence<'_>> = answers
        .iter()
        .map(|row| Sequence {
            ids: &row.ids,
            prompt_len: row.prompt_len,
        })
        .collect();
    per_second(answers.len() * length, || {
        model.score_log_probs(&sequences, batch).map(drop)
    })
}

/// Tokens a second of answers drawn with the cache.
pub(super) fn sample(args: &BenchArgs, placement: &Placement) -> Result<f64, Error> {
    let (prompts, length) = (args.batch_size.get(), args.length.get());
    let model = CausalLm::init(args.shape.decoder(length), 0, placement)?;
    let prompt = (length / 4).max(1);
    let requests = requests(args, prompts, prompt);
    let drawn = prompts * args.answers.get() * (length - prompt);
    per_second(drawn, || draw(&model, &requests, length - prompt).map(drop))
}

/// The answers to each request, all of `tokens` tokens, in batches as `afd` draws them.
pub(super) fn draw(
    model: &CausalLm,
    requests: &[GenerationRequest],
    tokens: usize,
) -> Result<Vec<Vec<Generation>>, afd_model::Error> {
    let (params, device) = (SamplingParams::unmodified(tokens), model.model.device());
    let plan = plan_batches(requests, ROWS, parts(&device));
    let states = workers(&device).min(plan.len()).max(1);
    let draw = |model: &CausalLm, batch: usize| {
        let asked = plan[batch].iter().map(|portion| portion.of(requests));
        let asked: Vec<GenerationRequest> = asked.collect();
        let asked: Vec<&GenerationRequest> = asked.iter().collect();
        generate(model, &asked, ROWS, &params, &ENDLESS)
    };
    let mut drawn: Vec<Vec<Vec<Generation>>> = vec![Vec::new(); plan.len()];
    let states = vec![model.for_drawing(); states];
    for_each(states, plan.len(), draw, |batch, answers| {
        drawn[batch] = answers;
        Ok(())
    })?;
    Ok(by_request(&plan, drawn, requests.len()))
}

/// Requests of all answers to `count` prompts of `tokens` tokens.
fn requests(args: &BenchArgs, count: usize, tokens: usize) -> Vec<GenerationRequest> {
    let rows = rows(args, count).into_iter();
    rows.map(|row| request(args, &row.ids[..tokens])).collect()
}

/// A request of all answers to a prompt.
pub(super) fn request(args: &BenchArgs, prompt: &[u32]) -> GenerationRequest {
    GenerationRequest {
        prompt_ids: prompt.to_vec(),
        seeds: (0..args.answers.get() as u64).collect(),
    }
}

/// Floating-point operations a second of large matrix products in the compute type.
pub(super) fn matmul(placement: &Placement) -> Result<f64, Error> {
    let best = speed::matmul(&placement.device, placement.compute());
    let (_, rate) =
        best.ok_or_else(|| Error::Usage("the products of matrices come out wrong".into()))?;
    Ok(rate)
}

/// What `work` does a second once it is warm.
fn per_second(
    amount: usize,
    work: impl Fn() -> Result<(), afd_model::Error>,
) -> Result<f64, Error> {
    work()?;
    let start = Instant::now();
    work()?;
    Ok(amount as f64 / start.elapsed().as_secs_f64())
}
