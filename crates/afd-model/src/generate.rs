//! Batched sampling: many answers to many prompts, ids in and ids out.
//!
//! Batching is continuous: an answer that ends leaves its row, and one that waits joins there. Those
//! with longer prompts begin first, so that whoever joins fits behind what the others have read, which
//! makes every row end at the same column of the cache. A row's numbers do not depend on what else is in
//! the batch but for the last bits, which the number of rows and the columns before its own may move. Each
//! prompt is read once for the answers that begin together.

use std::{cmp::Reverse, collections::VecDeque};

use afd_backend::host::Threads;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    CausalLm, Error, Guide, SamplingParams,
    reader::Reader,
    sampler::{draw, softmax},
};

/// Columns of the cache more than the longest answer needs, where rows join. Once they are full, the
/// cache is moved.
const ROOM: usize = 64;

/// Rows leave and join when this share of them, one in so many, has ended: it costs a copy of the cache,
/// or a pass of its own for the prompts.
const AT_ONCE: usize = 8;

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

/// An answer being written, or waiting to be.
struct Row {
    request: usize,
    /// Among the answers to its request.
    number: usize,
    rng: ChaCha8Rng,
    answer: Generation,
    done: bool,
}

/// Samples answers, `max_rows` at a time; `result[i][j]` is the answer of request `i`, seed `j`. Whoever calls it more
/// than once, or on several threads, should pass a model made by [`CausalLm::for_drawing`].
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::ContextLength`], [`Error::TokenId`] on prompts this
/// model cannot continue, [`Error::Sampling`] on parameters out of range,
/// [`Error::NonFinite`] when the model answers NaN.
pub fn generate(
    model: &CausalLm,
    requests: &[&GenerationRequest],
    max_rows: usize,
    params: &SamplingParams,
    stop: &Stop<'_>,
) -> Result<Vec<Vec<Generation>>, Error> {
    decode(model, None, requests, max_rows, params, stop)
}

/// [`generate`] from the policy that `guide` makes of `model`: at strength 0 the same answers.
///
/// # Errors
/// Those of [`generate`] for either model, and [`Error::Vocabularies`].
pub fn generate_guided(
    model: &CausalLm,
    guide: Guide<'_>,
    requests: &[&GenerationRequest],
    max_rows: usize,
    params: &SamplingParams,
    stop: &Stop<'_>,
) -> Result<Vec<Vec<Generation>>, Error> {
    decode(model, Some(guide), requests, max_rows, params, stop)
}

fn decode(
    model: &CausalLm,
    guide: Option<Guide<'_>>,
    requests: &[&GenerationRequest],
    max_rows: usize,
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
    let mut waiting = start(requests);
    if waiting.is_empty() {
        return Ok(requests.iter().map(|_| Vec::new()).collect());
    }
    let mut writing = Writing {
        threads: Threads::of(&model.model.device()),
        guide,
        requests,
        prompts: requests.iter().map(|r| r.prompt_ids.as_slice()).collect(),
        params,
        in_step: models
            .iter()
            .any(|model| model.config().fixed_until().is_some()),
        readers: models.into_iter().map(Reader::new).collect(),
        rows: Vec::new(),
    };
    let mut finished: Vec<Row> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        writing.begin(&mut waiting, max_rows);
        writing.finish(&mut waiting, stop, &mut finished)?;
    }
    finished.sort_by_key(|row| (row.request, row.number));
    let mut answers: Vec<Vec<Generation>> = requests.iter().map(|_| Vec::new()).collect();
    for row in finished {
        answers[row.request].push(row.answer);
    }
    Ok(answers)
}

/// The answers of a batch, and who reads them. Row `k` of every tensor belongs to `rows[k]`.
struct Writing<'a> {
    /// They draw the tokens.
    threads: Threads,
    guide: Option<Guide<'a>>,
    requests: &'a [&'a GenerationRequest],
    prompts: Vec<&'a [u32]>,
    params: &'a SamplingParams,
    /// Whether all rows have to be of one length, because how a text is read depends on it.
    in_step: bool,
    readers: Vec<Reader<'a>>,
    rows: Vec<Row>,
}

impl Writing<'_> {
    /// A new batch, of the first that wait.
    fn begin(&mut self, waiting: &mut VecDeque<Row>, max_rows: usize) {
        let length = |row: &Row| self.prompts[row.request].len();
        let longest = waiting.front().map_or(0, length);
        let joins = |row: &&Row| !self.in_step || length(row) == longest;
        let count = waiting.iter().take(max_rows.max(1)).take_while(joins);
        let count = count.count();
        self.rows = waiting.drain(..count).collect();
        let room = if waiting.is_empty() || self.in_step {
            0
        } else {
            ROOM
        };
        let capacity = longest + self.params.max_new_tokens + room;
        let places: Vec<usize> = (0..count).collect();
        for reader in &mut self.readers {
            reader.begin(count, capacity);
        }
        self.join(&places, waiting.front().map(|row| row.request));
    }

    /// Draws until all rows have ended and none is left to join them.
    fn finish(
        &mut self,
        waiting: &mut VecDeque<Row>,
        stop: &Stop<'_>,
        finished: &mut Vec<Row>,
    ) -> Result<(), Error> {
        loop {
            self.draw()?;
            for place in 0..self.rows.len() {
                self.end(place, stop);
            }
            let is_done = |place: &usize| self.rows[*place].done;
            let mut ended: Vec<usize> = (0..self.rows.len()).filter(is_done).collect();
            if ended.len() == self.rows.len() {
                finished.append(&mut self.rows);
                return Ok(());
            }
            let change = ended.len() * AT_ONCE >= self.rows.len();
            let join = change && !waiting.is_empty() && !self.in_step;
            if change && !join {
                self.leave(finished);
            }
            let last = self.rows.iter().map(|row| row.answer.ids.last());
            let last: Vec<u32> = last.map(|id| id.copied().unwrap_or_default()).collect();
            self.readers
                .iter_mut()
                .for_each(|reader| reader.read(&last));
            if join {
                ended.truncate(waiting.len());
                for (&place, row) in ended.iter().zip(waiting.drain(..ended.len())) {
                    finished.push(std::mem::replace(&mut self.rows[place], row));
                }
                self.join(&ended, waiting.front().map(|row| row.request));
                // Who has ended and is not replaced must not go on at the positions of others.
                for place in 0..self.rows.len() {
                    if self.rows[place].done {
                        self.vacate(place);
                    }
                }
            }
        }
    }

    /// The rows at these places are new; `next` is the request that waits longest.
    fn join(&mut self, places: &[usize], next: Option<usize>) {
        let of = places.iter().map(|&place| self.rows[place].request);
        let of: Vec<usize> = of.collect();
        for reader in &mut self.readers {
            reader.join(places, &of, &self.prompts);
            reader.keep_prompt(next);
        }
    }

    fn vacate(&mut self, place: usize) {
        for reader in &mut self.readers {
            reader.vacate(place);
        }
    }

    /// Takes out the rows that have ended.
    fn leave(&mut self, finished: &mut Vec<Row>) {
        let kept = (0..self.rows.len()).filter(|&place| !self.rows[place].done);
        let kept: Vec<usize> = kept.collect();
        for reader in &mut self.readers {
            reader.keep(&kept);
        }
        finished.extend(self.rows.extract_if(.., |row| row.done));
    }

    /// Draws a token of each row that has not ended.
    fn draw(&mut self) -> Result<(), Error> {
        let logits: Vec<Vec<f32>> = self.readers.iter().map(Reader::logits).collect();
        let Self {
            threads,
            rows,
            requests,
            params,
            guide,
            ..
        } = self;
        let vocab = logits[0].len() / rows.len();
        let mut drawn: Vec<Result<(), Error>> = rows.iter().map(|_| Ok(())).collect();
        let places = rows.iter_mut().zip(&mut drawn).enumerate();
        let going_on = places.filter(|(_, (row, _))| !row.done);
        threads.for_each(going_on, |_, (k, (row, drawn))| {
            let of = |reader: usize| &logits[reader][k * vocab..(k + 1) * vocab];
            let guided = guide.map(|guide| guide.logits(of(0), of(1)));
            *drawn = next(row, requests, of(0), guided.as_deref(), params);
        });
        drawn.into_iter().collect()
    }

    /// Whether the row ends with the token just drawn.
    fn end(&mut self, place: usize, stop: &Stop<'_>) {
        let row = &mut self.rows[place];
        if row.done {
            return;
        }
        let answer = &mut row.answer;
        let is_last = answer.ids.last().is_some_and(|id| stop.ids.contains(id));
        if is_last || (stop.text)(&answer.ids) {
            answer.finish = FinishReason::Stop;
            row.done = true;
        }
        row.done |= answer.ids.len() == self.params.max_new_tokens;
        // Among rows that began together it goes on at their positions, and they need no mask.
        if row.done && self.readers[0].is_ragged() {
            self.vacate(place);
        }
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

/// All answers, unwritten: those to longer prompts first.
fn start(requests: &[&GenerationRequest]) -> VecDeque<Row> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&request| Reverse(requests[request].prompt_ids.len()));
    let rows = order.into_iter().flat_map(|request| {
        let seeds = requests[request].seeds.iter().enumerate();
        seeds.map(move |(number, seed)| Row {
            request,
            number,
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
        [requests[row.request].prompt_ids.as_slice(), &row.answer.ids].concat()
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
