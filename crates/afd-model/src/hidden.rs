//! Hidden states of a decoder at chosen positions: what heads, and embeddings, are read from.

use std::ops::Range;

use afd_backend::{device::workers, workers::for_each};
use burn::Tensor;

use crate::{
    Decoder, Error, Padded, Sequence, Side,
    causal_lm::{chunks_by_length, to_host},
    sequences::index_tensor,
};

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
        self.config().check_sequences(sequences)?;
        let chunks = chunks_by_length(sequences, batch);
        let mut out = vec![Vec::new(); sequences.len()];
        let states = vec![self.clone(); workers(&self.device())];
        let work = |model: &Self, index: usize| {
            let rows: Vec<Sequence<'_>> = chunks[index].iter().map(|&i| sequences[i]).collect();
            to_host(model.hidden_at(&rows, last).flatten(0, 1))
        };
        let width = self.config().hidden_size;
        for_each(states, chunks.len(), work, |index, values: Vec<f32>| {
            for (embedding, &i) in values.chunks(width).zip(&chunks[index]) {
                out[i] = embedding.to_vec();
            }
            Ok(())
        })?;
        Ok(out)
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
