//! Keys and values of the tokens already seen, in buffers allocated once.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use afd_backend::ops::Prefix;
use burn::{Tensor, tensor::Int};

use crate::{Decoder, sequences::index_tensor};

/// Per layer, `[rows, K, capacity, d]` keys and values, of which the first `len` columns are filled.
///
/// A row may begin behind the first column, having joined others that had read more; what is before
/// its beginning is never seen.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    /// The column each row begins at.
    starts: Vec<usize>,
    /// What each row was put in with, if it was.
    prompts: Vec<Option<Prompt>>,
    /// The number that the next prompt put in here gets.
    next_prompt: usize,
}

/// What a row is a copy of: rows with one `number` hold the same before column `end`, from where they begin.
#[derive(Debug, Clone, Copy)]
struct Prompt {
    number: usize,
    end: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// Room for `capacity` tokens in each of `rows` sequences of `decoder`, in the type its
    /// attention computes in.
    pub fn new(decoder: &Decoder, rows: usize, capacity: usize) -> Self {
        Self::beginning_at(vec![0; rows], decoder, capacity)
    }

    /// As [`Self::new`], for rows that begin at these columns and are padded before.
    pub(crate) fn beginning_at(starts: Vec<usize>, decoder: &Decoder, capacity: usize) -> Self {
        let layer = |_| LayerCache::new(decoder, starts.len(), capacity);
        Self {
            layers: (0..decoder.config().num_hidden_layers).map(layer).collect(),
            len: 0,
            prompts: vec![None; starts.len()],
            next_prompt: 0,
            starts,
        }
    }

    /// Columns that are filled: the number of tokens of a row that begins at the first.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has been seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The column each row begins at.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Whether a row begins behind the first column.
    pub(crate) fn is_ragged(&self) -> bool {
        self.starts.iter().any(|start| *start > 0)
    }

    /// What rows have in common by having been put in as copies of one; none where no two were.
    pub(crate) fn prefixes(&self) -> Option<Arc<[Prefix]>> {
        let mut first = BTreeMap::new();
        let shared = self.prompts.iter().enumerate().map(|(row, prompt)| {
            let own = Prefix { row, end: 0 };
            prompt.map_or(own, |Prompt { number, end }| Prefix {
                row: *first.entry(number).or_insert(row),
                end,
            })
        });
        let shared: Arc<[Prefix]> = shared.collect();
        let is_shared = shared.iter().enumerate().any(|(row, of)| of.row != row);
        is_shared.then_some(shared)
    }

    /// Keeps `rows` in this order.
    pub(crate) fn select(&mut self, rows: &[usize]) {
        for layer in &mut self.layers {
            layer.select_rows(rows);
        }
        self.starts = rows.iter().map(|&row| self.starts[row]).collect();
        self.prompts = rows.iter().map(|&row| self.prompts[row]).collect();
    }

    /// Puts row `of[i]` of `other` in the place of row `rows[i]`, so that both end here. An empty cache
    /// gets as long as `other`.
    ///
    /// # Panics
    /// When `other` is longer.
    pub(crate) fn put(&mut self, rows: &[usize], other: &Self, of: &[usize]) {
        if self.is_empty() {
            self.len = other.len;
        }
        let first = self.len - other.len;
        for (layer, theirs) in self.layers.iter_mut().zip(&other.layers) {
            layer.put(rows, first..self.len, theirs, of);
        }
        for (&row, &of) in rows.iter().zip(of) {
            self.starts[row] = first + other.starts[of];
            self.prompts[row] = Some(Prompt {
                number: self.next_prompt + of,
                end: self.len,
            });
        }
        self.next_prompt += other.starts.len();
    }

    /// Nobody reads this row from now on: it begins nowhere and sees its last token alone.
    pub(crate) fn vacate(&mut self, row: usize) {
        self.starts[row] = usize::MAX;
        self.prompts[row] = None;
    }

    /// Where no column is left, drops the first ones, which no row reaches any more.
    pub(crate) fn make_room(&mut self) {
        let is_full = |layer: &LayerCache| layer.capacity() == Some(self.len);
        let first = self.starts.iter().copied().min().unwrap_or_default();
        if first > 0 && first < self.len && self.layers.first().is_some_and(is_full) {
            for layer in &mut self.layers {
                layer.shift(first..self.len);
            }
            self.len -= first;
            for start in &mut self.starts {
                *start = start.saturating_sub(first);
            }
            for prompt in self.prompts.iter_mut().flatten() {
                prompt.end = prompt.end.saturating_sub(first);
            }
        }
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

impl LayerCache {
    pub(crate) fn new(decoder: &Decoder, rows: usize, capacity: usize) -> Self {
        let (config, device, dtype) = (decoder.config(), decoder.device(), decoder.activations());
        let shape = [rows, config.num_key_value_heads, capacity, config.head_dim];
        let zeros = || Some(Tensor::zeros(shape, (&device, dtype.into())));
        Self {
            keys: zeros(),
            values: zeros(),
        }
    }

    fn both(&mut self) -> [&mut Option<Tensor<4>>; 2] {
        [&mut self.keys, &mut self.values]
    }

    fn capacity(&self) -> Option<usize> {
        self.keys.as_ref().map(|keys| keys.dims()[2])
    }

    /// Keeps `rows` in this order; a row may be named more than once.
    pub(crate) fn select(&mut self, rows: Tensor<1, Int>) {
        for slot in self.both() {
            *slot = slot.take().map(|tensor| tensor.select(0, rows.clone()));
        }
    }

    fn select_rows(&mut self, rows: &[usize]) {
        if let Some(keys) = &self.keys {
            self.select(index_tensor(rows.iter().copied(), &keys.device()));
        }
    }

    /// Rows `of` of another in the place of `rows`, at these columns.
    fn put(&mut self, rows: &[usize], columns: Range<usize>, other: &Self, of: &[usize]) {
        let theirs = [&other.keys, &other.values];
        for (slot, theirs) in self.both().into_iter().zip(theirs) {
            if let Some(theirs) = theirs {
                let of = index_tensor(of.iter().copied(), &theirs.device());
                let new = theirs.clone().narrow(2, 0, columns.len()).select(0, of);
                *slot = slot
                    .take()
                    .map(|buffer| put_rows(buffer, rows, columns.start, new));
            }
        }
    }

    /// Moves these columns to the front.
    fn shift(&mut self, columns: Range<usize>) {
        for slot in self.both() {
            *slot = slot.take().map(|buffer| {
                let [rows, heads, _, width] = buffer.dims();
                let kept = buffer.clone().narrow(2, columns.start, columns.len());
                buffer.slice_assign([0..rows, 0..heads, 0..columns.len(), 0..width], kept)
            });
        }
    }

    /// Writes `[rows, K, T, d]` keys and values behind the first `past` tokens and returns
    /// everything up to and including them.
    pub(crate) fn append(
        &mut self,
        past: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        (
            write(&mut self.keys, past, keys),
            write(&mut self.values, past, values),
        )
    }
}

/// The buffer is moved out and back, so that it has one owner and is written in place.
fn write(slot: &mut Option<Tensor<4>>, past: usize, new: Tensor<4>) -> Tensor<4> {
    let [rows, heads, tokens, width] = new.dims();
    let end = past + tokens;
    match slot.take() {
        Some(buffer) => {
            let dtype = buffer.dtype();
            let buffer =
                buffer.slice_assign([0..rows, 0..heads, past..end, 0..width], new.cast(dtype));
            let filled = buffer.clone().narrow(2, 0, end);
            *slot = Some(buffer);
            filled
        }
        None => new,
    }
}

/// `buffer` with row `i` of `new` in its row `rows[i]`, from index `first` of the dimension before the
/// last on: neighbours at once, in place where the buffer has one owner.
pub(crate) fn put_rows<const D: usize>(
    buffer: Tensor<D>,
    rows: &[usize],
    first: usize,
    new: Tensor<D>,
) -> Tensor<D> {
    let dims = new.dims();
    let mut done = 0;
    let runs = rows.chunk_by(|row, next| row + 1 == *next);
    runs.fold(buffer, |buffer, run| {
        let part = new.clone().narrow(0, done, run.len());
        done += run.len();
        let mut place: [Range<usize>; D] = dims.map(|size| 0..size);
        place[0] = run[0]..run[0] + run.len();
        place[D - 2] = first..first + dims[D - 2];
        buffer.slice_assign(place, part)
    })
}
