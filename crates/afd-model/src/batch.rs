//! Sequences put together for a pass of a decoder: on the host and without its weights, so that it can be
//! done ahead of the pass, on another thread.

use std::ops::Range;

use crate::{DecoderConfig, Padded, Sequence, Side};

/// Puts sequences together as a decoder reads them; a data collator, in transformers' words.
#[derive(Debug, Clone, Copy)]
pub struct Collator {
    /// Numbers that a layer makes of a token.
    per_token: usize,
    pad_token_id: Option<u32>,
}

/// Sequences in rows, and the positions at which their hidden states are read.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) padded: Padded,
    /// Whether rows need no mask of their own: each holds one text, from its beginning on.
    pub(crate) plain: bool,
    /// Indices into the flattened `[B·T]`, sequence after sequence.
    pub(crate) read: Vec<usize>,
}

impl DecoderConfig {
    /// What puts sequences together for a decoder of this shape.
    pub fn collator(&self) -> Collator {
        Collator {
            per_token: self.kept_by_a_layer(),
            pad_token_id: self.pad_token_id,
        }
    }
}

impl Collator {
    /// For the log-probability of every answer token ([`Sequence::targets`]): read at the token before it.
    /// On the right short sequences share rows where that makes fewer and takes no more memory.
    pub fn predictors(&self, sequences: &[Sequence<'_>], side: Side) -> Batch {
        self.collate(sequences, side, |sequence| sequence.predictors())
    }

    /// For a number of every answer token, read at the token itself, which sees the prompt and the answer up
    /// to it.
    pub fn answers(&self, sequences: &[Sequence<'_>]) -> Batch {
        self.collate(sequences, Side::Right, answer)
    }

    /// For a number of each sequence, read at [`Self::last_of`].
    ///
    /// # Panics
    /// When a sequence is empty.
    pub fn last(&self, sequences: &[Sequence<'_>]) -> Batch {
        self.collate(sequences, Side::Right, |sequence| {
            let last = self.last_of(sequence);
            last..last + 1
        })
    }

    /// The position that a sequence's score is read at: that of its last token, or, where
    /// `config.json` names a padding token, of the last one that is none. So transformers finds it,
    /// in padded batches and alone. Where the end token is also the padding, as in GPT-2, an end
    /// token that was appended is therefore passed over.
    ///
    /// # Panics
    /// When the sequence is empty.
    pub fn last_of(&self, sequence: &Sequence<'_>) -> usize {
        assert!(!sequence.ids.is_empty(), "an empty sequence has no score");
        match self.pad_token_id {
            None => sequence.ids.len() - 1,
            // The first position where there is nothing but padding.
            Some(pad) => sequence.ids.iter().rposition(|&id| id != pad).unwrap_or(0),
        }
    }

    pub(crate) fn collate(
        &self,
        sequences: &[Sequence<'_>],
        side: Side,
        positions: impl Fn(&Sequence<'_>) -> Range<usize>,
    ) -> Batch {
        let texts: Vec<&[u32]> = sequences.iter().map(|s| s.ids).collect();
        let padded = match side {
            Side::Right => Padded::packed(&texts, self.per_token),
            Side::Left => Padded::new(&texts, side),
        };
        let read = sequences
            .iter()
            .zip(&padded.starts)
            .flat_map(|(sequence, start)| positions(sequence).map(move |at| start + at));
        Batch {
            read: read.collect(),
            plain: side == Side::Right && padded.shape[0] == texts.len(),
            padded,
        }
    }
}

impl Batch {
    /// The tokens behind the positions that are read.
    pub(crate) fn next_tokens(&self) -> impl Iterator<Item = usize> {
        // A sequence stands in its row in one piece.
        self.read.iter().map(|at| self.padded.ids[at + 1] as usize)
    }
}

/// The positions of the answer's tokens.
pub(crate) fn answer(sequence: &Sequence<'_>) -> Range<usize> {
    sequence.prompt_len..sequence.ids.len()
}
