//! Hidden states of a decoder at chosen positions: what heads, and embeddings, are read from.

use std::ops::Range;

use afd_backend::{device::workers, workers::for_each};
use burn::Tensor;

use crate::{Decoder, Error, Padded, Sequence, Side, sequences::index_tensor};

impl Decoder {
    /// The hidden states, after the last norm, at some positions of each sequence, row after row:
    /// `[Σ positions, D]` in f32.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context, or a position lies outside it.
    pub(crate) fn hidden_at(
        &self,
        sequences: &[Sequence<'_>],
        positions: impl Fn(&Sequence<'_>) -> Range<usize>,
    ) -> Tensor<2> {
        let device = self.device().inner();
        let rows: Vec<&[u32]> = sequences.iter().map(|s| s.ids).collect();
        let padded = Padded::new(&rows, Side::Right, &device);
        let [batch, length] = padded.ids.dims();
        let read: Vec<usize> = sequences
            .iter()
            .zip(&padded.starts)
            .flat_map(|(sequence, start)| positions(sequence).map(move |at| start + at))
            .collect();
        let width = self.config().hidden_size;
        self.forward(padded.ids)
            .reshape([batch * length, width])
            .select(0, index_tensor(read.into_iter(), &device))
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
        let width = self.config().hidden_size;
        let embed = |model: &Self, rows: &[Sequence<'_>]| model.hidden_at(rows, last).flatten(0, 1);
        on_host((self, self), sequences, batch, |_| width, embed)
    }
}

/// What a model on a decoder makes of sequences, on the host: `values`, of which a sequence has
/// `count`. `batch` sequences are run at a time, longest together, so little is spent on padding.
///
/// # Errors
/// [`Error::ContextLength`], [`Error::TokenId`] on sequences the decoder cannot read,
/// [`Error::NonFinite`] when a value is NaN or infinite.
pub(crate) fn on_host<M: Clone + Send>(
    models: (&M, &Decoder),
    sequences: &[Sequence<'_>],
    batch: usize,
    count: impl Fn(&Sequence<'_>) -> usize + Sync,
    values: impl Fn(&M, &[Sequence<'_>]) -> Tensor<1> + Sync,
) -> Result<Vec<Vec<f32>>, Error> {
    let chunks = chunks_by_length(sequences, batch);
    on_host_in(models, sequences, &chunks, count, values)
}

/// [`on_host`], for a caller who says which sequences are run together: `chunks` holds indices of
/// `sequences`. Those in none have no values.
///
/// # Errors
/// Those of [`on_host`].
pub(crate) fn on_host_in<M: Clone + Send>(
    (model, decoder): (&M, &Decoder),
    sequences: &[Sequence<'_>],
    chunks: &[Vec<usize>],
    count: impl Fn(&Sequence<'_>) -> usize + Sync,
    values: impl Fn(&M, &[Sequence<'_>]) -> Tensor<1> + Sync,
) -> Result<Vec<Vec<f32>>, Error> {
    decoder.config().check_sequences(sequences)?;
    let mut out = vec![Vec::new(); sequences.len()];
    let states = vec![model.clone(); workers(&decoder.device())];
    let work = |model: &M, index: usize| {
        let rows: Vec<Sequence<'_>> = chunks[index].iter().map(|&i| sequences[i]).collect();
        match rows.iter().all(|row| count(row) == 0) {
            true => Ok(Vec::new()),
            false => to_host(values(model, &rows)),
        }
    };
    for_each(states, chunks.len(), work, |index, values: Vec<f32>| {
        let mut values = values.into_iter();
        for &i in &chunks[index] {
            out[i] = values.by_ref().take(count(&sequences[i])).collect();
        }
        Ok(())
    })?;
    Ok(out)
}

/// Indices of `sequences`, `batch` at a time, sequences of similar length together.
fn chunks_by_length(sequences: &[Sequence<'_>], batch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| sequences[i].ids.len());
    order.chunks(batch.max(1)).map(<[usize]>::to_vec).collect()
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
