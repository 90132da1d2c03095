//! Hidden states of a decoder at chosen positions: what heads, and embeddings, are read from.

use std::ops::Range;

use afd_backend::{device::workers, ops::rows, workers::for_each};
use burn::Tensor;

use crate::{
    Batch, Decoder, Error, Sequence, Side,
    sequences::index_tensor,
    shared_prefix::{Chunk, plan},
};

impl Decoder {
    /// The hidden states, after the last norm, at some positions of each sequence, row after row:
    /// `[Σ positions, D]` in f32. They do not depend on the `side` that is padded; on the right short
    /// sequences share rows where that makes fewer and takes no more memory.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context, or a position lies outside it.
    pub(crate) fn hidden_at(
        &self,
        sequences: &[Sequence<'_>],
        side: Side,
        positions: impl Fn(&Sequence<'_>) -> Range<usize>,
    ) -> Tensor<2> {
        self.hidden_of(self.config().collator().collate(sequences, side, positions))
    }

    /// The hidden states, after the last norm, at the positions that `batch` reads, in its order:
    /// `[positions, D]` in f32.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context, or a position lies outside it.
    pub(crate) fn hidden_of(&self, batch: Batch) -> Tensor<2> {
        let device = self.device().inner();
        let Batch {
            mut padded,
            plain,
            read,
        } = batch;
        let positions = std::mem::take(&mut padded.positions);
        let tokens = positions.len();
        let ids = padded.on(&device);
        let hidden = match plain {
            true => self.forward(ids),
            false => self.forward_packed(ids, &positions),
        };
        let hidden = hidden.reshape([tokens, self.config().hidden_size]);
        rows(hidden, index_tensor(read.into_iter(), &device))
    }

    /// The embedding of each sequence on the host, `[D]` each: the hidden state of its last token.
    /// `batch` sequences are run at a time, without gradients.
    ///
    /// # Errors
    /// [`Error::ContextLength`], [`Error::TokenId`] on sequences this model cannot read,
    /// [`Error::NonFinite`] when the model answers NaN.
    pub fn embed_all(
        &self,
        sequences: &[Sequence<'_>],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let embeddings = |_: &(), hidden: Tensor<2>, _: &[Sequence<'_>]| hidden.flatten(0, 1);
        on_host((&(), self), sequences, batch, last, embeddings)
    }
}

/// What a model on a decoder makes of sequences, on the host: `values` of the hidden states at their
/// `positions`, as many of each state. At most `batch` sequences are run at a time: those with one
/// prompt share it where that pays, the others by length, so little is spent on padding.
///
/// # Errors
/// [`Error::ContextLength`], [`Error::TokenId`] on sequences the decoder cannot read,
/// [`Error::NonFinite`] when a value is NaN or infinite.
pub(crate) fn on_host<M: Clone + Send>(
    models: (&M, &Decoder),
    sequences: &[Sequence<'_>],
    batch: usize,
    positions: impl Fn(&Sequence<'_>) -> Range<usize> + Sync,
    values: impl Fn(&M, Tensor<2>, &[Sequence<'_>]) -> Tensor<1> + Sync,
) -> Result<Vec<Vec<f32>>, Error> {
    let config = models.1.config();
    config.check_sequences(sequences)?;
    let end = |row: &Sequence<'_>| match positions(row) {
        read if read.is_empty() => 0,
        read => read.end,
    };
    let ends: Vec<usize> = sequences.iter().map(end).collect();
    let chunks = plan(sequences, &ends, batch, config.fixed_until());
    run(models, sequences, &chunks, positions, values)
}

/// [`on_host`], for a caller who says which sequences are run together: `chunks` holds indices of
/// `sequences`, which are run whole. Those in none have no values.
///
/// # Errors
/// Those of [`on_host`].
pub(crate) fn on_host_in<M: Clone + Send>(
    models: (&M, &Decoder),
    sequences: &[Sequence<'_>],
    chunks: &[Vec<usize>],
    positions: impl Fn(&Sequence<'_>) -> Range<usize> + Sync,
    values: impl Fn(&M, Tensor<2>, &[Sequence<'_>]) -> Tensor<1> + Sync,
) -> Result<Vec<Vec<f32>>, Error> {
    models.1.config().check_sequences(sequences)?;
    let chunks: Vec<Chunk> = chunks.iter().cloned().map(Chunk::whole).collect();
    run(models, sequences, &chunks, positions, values)
}

/// [`on_host`] by chunks.
fn run<M: Clone + Send>(
    (model, decoder): (&M, &Decoder),
    sequences: &[Sequence<'_>],
    chunks: &[Chunk],
    positions: impl Fn(&Sequence<'_>) -> Range<usize> + Sync,
    values: impl Fn(&M, Tensor<2>, &[Sequence<'_>]) -> Tensor<1> + Sync,
) -> Result<Vec<Vec<f32>>, Error> {
    let mut out = vec![Vec::new(); sequences.len()];
    let states = vec![(model.clone(), decoder.packed()); workers(&decoder.device())];
    let work = |(model, decoder): &(M, Decoder), index: usize| {
        let chunk = &chunks[index];
        let rows: Vec<Sequence<'_>> = chunk.rows().map(|i| sequences[i]).collect();
        if rows.iter().all(|row| positions(row).is_empty()) {
            return Ok((0, Vec::new()));
        }
        let hidden = match chunk.prefix {
            0 => decoder.hidden_at(&rows, Side::Right, &positions),
            _ => decoder.hidden_sharing(sequences, chunk, &positions),
        };
        let count = hidden.dims()[0];
        let values = to_host(values(model, hidden, &rows))?;
        Ok((values.len() / count, values))
    };
    for_each(states, chunks.len(), work, |index, (each, values)| {
        let mut values = values.into_iter();
        for i in chunks[index].rows() {
            let count = each * positions(&sequences[i]).len();
            out[i] = values.by_ref().take(count).collect();
        }
        Ok(())
    })?;
    Ok(out)
}

/// A tensor's values on the host; NaN and infinity are refused.
pub(crate) fn to_host(tensor: Tensor<1>) -> Result<Vec<f32>, Error> {
    let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(Error::NonFinite)
    }
}

/// The position of the last token.
///
/// # Panics
/// When there is none.
pub(crate) fn last(sequence: &Sequence<'_>) -> Range<usize> {
    let length = sequence.ids.len();
    assert!(length > 0, "an empty sequence has no last token");
    length - 1..length
}
