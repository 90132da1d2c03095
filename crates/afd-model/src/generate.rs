//! Batched sampling: many answers to many prompts, ids in and ids out.
//!
//! One batch holds prompts of one length. Nothing is padded, so no mask is needed, all
//! rows stand at the same position at every step, and a row's numbers do not depend on
//! what else is in the batch but for the last bits, which the number of rows may move. Each
//! prompt is read once; its answers share that prefill. Finished answers leave the batch.

use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{
    CausalLm, Decoder, Error, Guide, KvCache, SamplingParams,
    causal_lm::OutputHead,
    sampler::{draw, softmax},
    sequences::index_tensor,
};

/// A prompt and the seeds of the answers wanted; a seed determines its answer.
#[derive(Debug, Clone)]
pub struct GenerationRequest {
    /// The prompt's token ids.
    pub prompt_ids: Vec<u32>,
    /// One answer is drawn per seed.
    pub seeds: Vec<u64>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The ids as sampled, the end token included if there is one.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the model (temperature 1, nothing cut, not guided), in
    /// nats.
    pub log_probs: Vec<f32>,
    /// Log-probability of each id under what it was drawn from, in nats: the same where that is
    /// the model itself. The sum of `sampler_log_probs − log_probs` has the expectation
    /// `KL(sampler ‖ model)`.
    pub sampler_log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or stop string was drawn.
    Stop,
    /// `max_new_tokens` was reached: an outcome without end token.
    Length,
}

/// What ends an answer besides its length.
pub struct Stop<'a> {
    /// Tokens that end an answer.
    pub ids: &'a [u32],
    /// Whether the answer so far ends here, asked after each token: how stop strings are
    /// found by a caller who can read ids. [`never()`] when there are none.
    pub text: &'a dyn Fn(&[u32]) -> bool,
}

/// A [`Stop::text`] for when only tokens end an answer.
pub fn never(_: &[u32]) -> bool {
    false
}

/// Groups requests into batches that [`generate`] takes: equal prompt lengths, at most
/// `max_rows` answers (a request with more of them stands alone). Indices into `requests`.
pub fn plan_batches(requests: &[GenerationRequest], max_rows: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| requests[i].prompt_ids.len());
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut rows = 0;
    for i in order {
        let (length, answers) = (requests[i].prompt_ids.len(), requests[i].seeds.len());
        let fits = batches.last().is_some_and(|batch: &Vec<usize>| {
            requests[batch[0]].prompt_ids.len() == length && rows + answers <= max_rows
        });
        if !fits {
            batches.push(Vec::new());
            rows = 0;
        }
        rows += answers;
        if let Some(batch) = batches.last_mut() {
            batch.push(i);
        }
    }
    batches
}

/// An answer being written.
struct Row {
    prompt: usize,
    rng: ChaCha8Rng,
    answer: Generation,
    done: bool,
}

/// Samples the answers of one batch; `result[i][j]` is the answer of request `i`, seed `j`.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::ContextLength`], [`Error::TokenId`] on prompts this
/// model cannot continue, [`Error::Sampling`] on parameters out of range,
/// [`Error::NonFinite`] when the model answers NaN.
///
/// # Panics
/// When the prompts differ in length.
pub fn generate(
    model: &CausalLm,
    requests: &[&GenerationRequest],
    params: &SamplingParams,
    stop: &Stop<'_>,
) -> Result<Vec<Vec<Generation>>, Error> {
    decode(model, None, requests, params, stop)
}

/// [`generate`] from the policy that `guide` makes of `model`: at strength 0 the same answers.
///
/// # Errors
/// Those of [`generate`] for either model, and [`Error::Vocabularies`].
///
/// # Panics
/// When the prompts differ in length.
pub fn generate_guided(
    model: &CausalLm,
    guide: Guide<'_>,
    requests: &[&GenerationRequest],
    params: &SamplingParams,
    stop: &Stop<'_>,
) -> Result<Vec<Vec<Generation>>, Error> {
    decode(model, Some(guide), requests, params, stop)
}

fn decode(
    model: &CausalLm,
    guide: Option<Guide<'_>>,
    requests: &[&GenerationRequest],
    params: &SamplingParams,
    stop: &Stop<'_>,
) -> Result<Vec<Vec<Generation>>, Error> {
    if let Some(guide) = guide {
        guide.check(model.config())?;
    }
    // The guide reads what the model writes.
    let models: Vec<&CausalLm> = [Some(model), guide.map(|guide| guide.away_from)]
        .into_iter()
        .flatten()
        .collect();
    for model in &models {
        check(model, requests, params)?;
    }
    let mut rows = start(requests);
    if rows.is_empty() {
        return Ok(requests.iter().map(|_| Vec::new()).collect());
    }
    let capacity = requests[0].prompt_ids.len() + params.max_new_tokens;
    let mut readers: Vec<Reader<'_>> = models
        .into_iter()
        .map(|model| Reader::new(model, requests, &rows, capacity))
        .collect();

    // Row k of every tensor belongs to `rows[active[k]]`.
    let mut active: Vec<usize> = (0..rows.len()).collect();
    loop {
        let logits: Vec<Vec<f32>> = readers.iter().map(Reader::logits).collect();
        let vocab = model.config().vocab_size;
        let writing: Vec<(usize, &mut Row)> = rows
            .iter_mut()
            .enumerate()
            .filter(|(_, row)| !row.done)
            .filter_map(|(index, row)| Some((active.binary_search(&index).ok()?, row)))
            .collect();
        let drawn: Vec<_> = writing
            .into_par_iter()
            .map(|(k, row)| {
                let of = |reader: usize| &logits[reader][k * vocab..(k + 1) * vocab];
                let guided = guide.map(|guide| guide.logits(of(0), of(1)));
                next(row, requests, of(0), guided.as_deref(), params)?;
                Ok::<_, Error>(row)
            })
            .collect::<Result<_, _>>()?;
        for row in drawn {
            end(row, params, stop);
        }
        if active.iter().all(|&index| rows[index].done) {
            break;
        }
        // Leaving costs a copy of the cache, so rows leave an eighth of the batch at a time.
        let alive = active.iter().filter(|&&index| !rows[index].done).count();
        if alive * 8 <= active.len() * 7 {
            let keep = (0..active.len()).filter(|&k| !rows[active[k]].done);
            let keep: Vec<usize> = keep.collect();
            readers.iter_mut().for_each(|reader| reader.keep(&keep));
            active = keep.into_iter().map(|k| active[k]).collect();
        }
        let last: Vec<u32> = active
            .iter()
            .map(|&index| rows[index].answer.ids.last().copied().unwrap_or_default())
            .collect();
        readers.iter_mut().for_each(|reader| reader.read(&last));
    }

    let mut answers: Vec<Vec<Generation>> = requests.iter().map(|_| Vec::new()).collect();
    for row in rows {
        answers[row.prompt].push(row.answer);
    }
    Ok(answers)
}

/// A model and what it has read of the answers being written.
struct Reader<'a> {
    model: &'a CausalLm,
    /// The model's, with weights laid out for products of few rows.
    decoder: Decoder,
    head: OutputHead,
    cache: KvCache,
    /// Of the last token of each row, `[rows, 1, D]`.
    hidden: Tensor<3>,
}

impl<'a> Reader<'a> {
    /// Reads each prompt once, for all its answers; room for `capacity` tokens.
    fn new(
        model: &'a CausalLm,
        requests: &[&GenerationRequest],
        rows: &[Row],
        capacity: usize,
    ) -> Self {
        let decoder = model.model.packed();
        let device = decoder.device();
        let length = requests[0].prompt_ids.len();
        let mut cache = KvCache::new(&decoder, requests.len(), capacity);
        let ids = requests.iter().flat_map(|r| r.prompt_ids.iter().copied());
        let hidden = decoder
            .forward_cached(id_tensor(ids, requests.len(), &device), &mut cache)
            .narrow(1, length - 1, 1);
        let shared = index_tensor(rows.iter().map(|row| row.prompt), &device);
        cache.select(shared.clone());
        Self {
            head: model.head_for_reading(),
            model,
            decoder,
            cache,
            hidden: hidden.select(0, shared),
        }
    }

    /// Logits of the next token of each row, one row after the other.
    fn logits(&self) -> Vec<f32> {
        let hidden = self.hidden.clone().squeeze_dim::<2>(1);
        let logits = self.model.logits(hidden, &self.head);
        // f32 is moved, not copied.
        let data = logits.into_data().convert::<f32>();
        data.try_into_vec()
            .unwrap_or_else(|error| unreachable!("made f32 just now: {error:?}"))
    }

    /// Keeps these rows, in this order.
    fn keep(&mut self, rows: &[usize]) {
        let rows = index_tensor(rows.iter().copied(), &self.decoder.device());
        self.cache.select(rows);
    }

    /// Reads one more token of each row.
    fn read(&mut self, last: &[u32]) {
        let ids = id_tensor(last.iter().copied(), last.len(), &self.decoder.device());
        self.hidden = self.decoder.forward_cached(ids, &mut self.cache);
    }
}

fn check(
    model: &CausalLm,
    requests: &[&GenerationRequest],
    params: &SamplingParams,
) -> Result<(), Error> {
    params.check()?;
    let config = model.config();
    for request in requests {
        let prompt = request.prompt_ids.len();
        assert_eq!(
            prompt,
            requests[0].prompt_ids.len(),
            "prompts of one batch have one length"
        );
        if prompt == 0 {
            return Err(Error::EmptyPrompt);
        }
        let context = config.context();
        if prompt.saturating_add(params.max_new_tokens) > context {
            return Err(Error::ContextLength {
                prompt,
                new: params.max_new_tokens,
                context,
            });
        }
        let outside = |id: &&u32| **id as usize >= config.vocab_size;
        if let Some(&id) = request.prompt_ids.iter().find(outside) {
            return Err(Error::TokenId {
                id,
                vocab_size: config.vocab_size,
            });
        }
    }
    Ok(())
}

fn start(requests: &[&GenerationRequest]) -> Vec<Row> {
    let rows = requests.iter().enumerate().flat_map(|(prompt, request)| {
        request.seeds.iter().map(move |seed| Row {
            prompt,
            rng: ChaCha8Rng::seed_from_u64(*seed),
            answer: Generation {
                ids: Vec::new(),
                log_probs: Vec::new(),
                sampler_log_probs: Vec::new(),
                finish: FinishReason::Length,
            },
            done: false,
        })
    });
    rows.collect()
}

/// Draws the next token of a row by the model's `logits`, or by the `guided` ones.
fn next(
    row: &mut Row,
    requests: &[&GenerationRequest],
    logits: &[f32],
    guided: Option<&[f32]>,
    params: &SamplingParams,
) -> Result<(), Error> {
    let seen = if params.repetition_penalty == 1.0 {
        Vec::new()
    } else {
        [requests[row.prompt].prompt_ids.as_slice(), &row.answer.ids].concat()
    };
    let drawn = draw(guided.unwrap_or(logits), &seen, params, &mut row.rng)?;
    let log_prob = match guided {
        None => drawn.log_prob,
        Some(_) => softmax(logits)?.log_prob(drawn.id as usize),
    };
    row.answer.ids.push(drawn.id);
    row.answer.log_probs.push(log_prob);
    row.answer.sampler_log_probs.push(drawn.sampler_log_prob);
    Ok(())
}

/// Whether the row ends with its last token.
fn end(row: &mut Row, params: &SamplingParams, stop: &Stop<'_>) {
    let answer = &mut row.answer;
    let is_last = answer.ids.last().is_some_and(|id| stop.ids.contains(id));
    if is_last || (stop.text)(&answer.ids) {
        answer.finish = FinishReason::Stop;
        row.done = true;
    }
    row.done |= answer.ids.len() == params.max_new_tokens;
}

fn id_tensor(
    ids: impl Iterator<Item = u32>,
    rows: usize,
    device: &burn::tensor::Device,
) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.map(|id| id as i32).collect();
    let columns = ids.len() / rows;
    Tensor::from_data(TensorData::new(ids, [rows, columns]), device)
}
