//! A model as it reads answers being written: each prompt once, then a token of every answer at a time.

use burn::{
    Tensor,
    tensor::{Int, TensorData},
};

use crate::{
    CausalLm, Decoder, KvCache, cache::put_rows, causal_lm::OutputHead, sequences::index_tensor,
};

/// Tokens of prompts read at a time: enough for matrix kernels, and no more memory than that takes.
const PROMPT_TOKENS: usize = 8192;

/// A model and what it has read of the answers being written.
pub(crate) struct Reader<'a> {
    model: &'a CausalLm,
    /// The model's, with weights laid out for products of few rows.
    decoder: Decoder,
    head: OutputHead,
    cache: KvCache,
    /// Of the last token of each row, `[rows, 1, D]`; none before a row has read its prompt.
    hidden: Option<Tensor<3>>,
    /// The prompt read last, by its number, while other answers to it wait.
    last: Option<(usize, Prompts)>,
}

/// Prompts that were read, and the hidden state of the last token of each, `[prompts, 1, D]`.
struct Prompts {
    cache: KvCache,
    hidden: Tensor<3>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(model: &'a CausalLm) -> Self {
        let decoder = model.model.packed();
        Self {
            head: model.head_for_reading(),
            cache: KvCache::new(&decoder, 0, 0),
            model,
            decoder,
            hidden: None,
            last: None,
        }
    }

    /// Forgets all rows and has so many, which have read nothing; room for `capacity` tokens.
    pub(crate) fn begin(&mut self, rows: usize, capacity: usize) {
        // The old one first: there may not be room for both.
        self.cache = KvCache::new(&self.decoder, 0, 0);
        self.hidden = None;
        self.cache = KvCache::new(&self.decoder, rows, capacity);
    }

    /// Forgets what was read of the last prompt, unless it is this one, which answers still wait for.
    pub(crate) fn keep_prompt(&mut self, next: Option<usize>) {
        self.last.take_if(|(number, _)| Some(*number) != next);
    }

    /// Whether rows have begun at columns of their own.
    pub(crate) fn is_ragged(&self) -> bool {
        self.cache.is_ragged()
    }

    /// Row `rows[i]` goes on from prompt `of[i]`. Each prompt is read once, for all that follow it here.
    ///
    /// # Panics
    /// When a prompt is longer than what other rows have read, if they have.
    pub(crate) fn join(&mut self, rows: &[usize], of: &[usize], prompts: &[&[u32]]) {
        let mut rows = rows;
        for of in self.parts(of, prompts) {
            let (now, later) = rows.split_at(of.len());
            rows = later;
            let mut numbers = of.to_vec();
            numbers.dedup();
            let read = match self.last.take() {
                Some((number, read)) if numbers == [number] => read,
                _ => self.read_prompts(numbers.iter().map(|&number| prompts[number])),
            };
            let place = |number: &usize| numbers.iter().position(|known| known == number);
            let places: Vec<usize> = of.iter().filter_map(place).collect();
            self.cache.put(now, &read.cache, &places);
            let new = index_tensor(places.into_iter(), &self.decoder.device());
            let new = read.hidden.clone().select(0, new);
            let hidden = self.hidden.take().unwrap_or_else(|| {
                let [_, one, width] = new.dims();
                let shape = [self.cache.starts().len(), one, width];
                Tensor::zeros(shape, (&new.device(), new.dtype()))
            });
            self.hidden = Some(put_rows(hidden, now, 0, new));
            if let Some(&number) = numbers.last() {
                self.last = Some((number, read.only(numbers.len() - 1)));
            }
        }
    }

    /// Cuts rows that follow prompts `of` into parts whose prompts are read together. The prompt that has
    /// been read is a part of its own.
    fn parts<'b>(&self, of: &'b [usize], prompts: &[&[u32]]) -> Vec<&'b [usize]> {
        let known = self.last.as_ref().map(|(number, _)| *number);
        let (mut first, mut tokens) = (None, 0);
        let same_part = |one: &usize, next: &usize| {
            // The first is the longest.
            let longest = prompts[*first.get_or_insert(*one)].len();
            tokens += if one == next { 0 } else { longest };
            let fits = one == next || (Some(*one) != known && tokens + longest <= PROMPT_TOKENS);
            if !fits {
                (first, tokens) = (None, 0);
            }
            fits
        };
        of.chunk_by(same_part).collect()
    }

    fn read_prompts<'b>(&self, prompts: impl Iterator<Item = &'b [u32]>) -> Prompts {
        let prompts: Vec<&[u32]> = prompts.collect();
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let padding: Vec<usize> = prompts.iter().map(|ids| longest - ids.len()).collect();
        let ids = prompts.iter().zip(&padding).flat_map(|(ids, &padding)| {
            let padding = std::iter::repeat_n(0, padding);
            padding.chain(ids.iter().copied())
        });
        let ids = id_tensor(ids, prompts.len(), &self.decoder.device());
        let mut cache = KvCache::beginning_at(padding, &self.decoder, longest);
        let hidden = self.decoder.forward_cached(ids, &mut cache);
        // Copied, so that the hidden states of all tokens go.
        let end = index_tensor([longest - 1].into_iter(), &self.decoder.device());
        Prompts {
            hidden: hidden.select(1, end),
            cache,
        }
    }

    /// Logits of the next token of each row, one row after the other; nothing before the first has joined.
    pub(crate) fn logits(&self) -> Vec<f32> {
        let Some(hidden) = &self.hidden else {
            return Vec::new();
        };
        let hidden = hidden.clone().squeeze_dim::<2>(1);
        let logits = self.model.logits(hidden, &self.head);
        // f32 is moved, not copied.
        let data = logits.into_data().convert::<f32>();
        data.try_into_vec()
            .unwrap_or_else(|error| unreachable!("made f32 just now: {error:?}"))
    }

    /// Keeps these rows, in this order.
    pub(crate) fn keep(&mut self, rows: &[usize]) {
        self.cache.select(rows);
    }

    /// Nobody asks for this row's logits again until another answer joins in its place.
    pub(crate) fn vacate(&mut self, row: usize) {
        self.cache.vacate(row);
    }

    /// Reads one more token of each row.
    pub(crate) fn read(&mut self, last: &[u32]) {
        self.cache.make_room();
        let ids = id_tensor(last.iter().copied(), last.len(), &self.decoder.device());
        self.hidden = Some(self.decoder.forward_cached(ids, &mut self.cache));
    }
}

impl Prompts {
    fn only(mut self, prompt: usize) -> Self {
        self.cache.select(&[prompt]);
        let prompt = index_tensor([prompt].into_iter(), &self.hidden.device());
        self.hidden = self.hidden.select(0, prompt);
        self
    }
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
