//! Prompts that several sequences begin with are read once: which sequences that pays for, and how.

use std::{collections::BTreeMap, ops::Range};

use burn::Tensor;

use crate::{Decoder, Padded, Sequence, Side, sequences::index_tensor};

/// What a forward pass costs beside its tokens, in tokens: reading the weights, and starting each
/// operation.
const CALL: usize = 64;

/// Sequences that are run together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// How many tokens are read once for all sequences of a group; none: each is run whole.
    pub(crate) prefix: usize,
    /// Indices of sequences, by prompts; of sequences that are run whole it is one group.
    pub(crate) groups: Vec<Vec<usize>>,
}

impl Chunk {
    /// Sequences that are run whole.
    pub(crate) fn whole(rows: Vec<usize>) -> Self {
        Self {
            prefix: 0,
            groups: vec![rows],
        }
    }

    /// Indices of the sequences, in the order they are run in.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flatten().copied()
    }

    /// The two as one, whose prompts are shared up to the end of the shorter.
    fn with(&self, other: &Self) -> Self {
        Self {
            prefix: self.prefix.min(other.prefix),
            groups: [self.groups.as_slice(), &other.groups].concat(),
        }
    }
}

/// Divides sequences into chunks of at most `batch`.
///
/// Those with one prompt, `ids[..prompt_len]`, share it where fewer tokens are run so, padding and
/// [`CALL`]s included. The others are run whole, those of similar length together. `ends[i]` tells how
/// many tokens of sequence `i` must be run; with none it is in no chunk.
///
/// Beyond `fixed_until` tokens the numbers of a text's beginning depend on how long the text is: if
/// any is longer, nothing is shared.
pub(crate) fn plan(
    sequences: &[Sequence<'_>],
    ends: &[usize],
    batch: usize,
    fixed_until: Option<usize>,
) -> Vec<Chunk> {
    let batch = batch.max(1);
    let mut rest: Vec<usize> = (0..sequences.len()).filter(|&i| ends[i] > 0).collect();
    let longest = rest.iter().map(|&i| sequences[i].ids.len()).max();
    let is_fixed = fixed_until.is_none_or(|until| longest.unwrap_or(0) <= until);
    let mut chunks = match is_fixed {
        true => Costs { sequences, ends }.sharing(&rest, batch),
        false => Vec::new(),
    };
    let mut shares = vec![false; sequences.len()];
    chunks
        .iter()
        .flat_map(Chunk::rows)
        .for_each(|i| shares[i] = true);
    rest.retain(|&i| !shares[i]);
    rest.sort_by_key(|&i| sequences[i].ids.len());
    let whole = rest.chunks(batch).map(|rows| Chunk::whole(rows.to_vec()));
    chunks.extend(whole);
    chunks
}

/// What chunks cost.
struct Costs<'a> {
    sequences: &'a [Sequence<'a>],
    ends: &'a [usize],
}

impl Costs<'_> {
    /// The chunks of at most `batch` of these `rows` that share prompts.
    fn sharing(&self, rows: &[usize], batch: usize) -> Vec<Chunk> {
        let mut by_prompt: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
        for &i in rows {
            let Sequence { ids, prompt_len } = self.sequences[i];
            let prompt = &ids[..prompt_len.min(ids.len())];
            by_prompt.entry(prompt).or_default().push(i);
        }
        let mut pieces: Vec<Chunk> = by_prompt
            .into_iter()
            .filter(|(prompt, _)| !prompt.is_empty())
            .flat_map(|(prompt, rows)| self.pieces(prompt.len(), rows, batch))
            .collect();
        pieces.sort_by_key(|piece| (piece.prefix, self.longest(piece)));
        let mut chunks: Vec<Chunk> = Vec::new();
        for piece in pieces {
            let joined = chunks.last().and_then(|last| {
                let joined = last.with(&piece);
                // The first may pay only when others have joined it.
                let pays = self.cost(&joined) <= self.cost(last) + self.least(&piece);
                (joined.rows().count() <= batch && pays).then_some(joined)
            });
            match (chunks.last_mut(), joined) {
                (Some(last), Some(joined)) => *last = joined,
                _ => chunks.push(piece),
            }
        }
        chunks.retain(|chunk| self.cost(chunk) < self.unshared(chunk));
        chunks
    }

    /// Answers to one prompt of `prompt` tokens, at least two at a time and at most `batch`.
    fn pieces(&self, prompt: usize, mut rows: Vec<usize>, batch: usize) -> Vec<Chunk> {
        rows.sort_by_key(|&i| self.ends[i]);
        let mut pieces: Vec<Vec<usize>> = Vec::new();
        for i in rows {
            match pieces.last_mut() {
                // A longer answer pads those before it; by itself it would read the prompt again.
                Some(piece)
                    if piece.len() < batch
                        && piece.len() * (self.ends[i] - self.ends[piece[0]]) <= prompt =>
                {
                    piece.push(i);
                }
                _ => pieces.push(vec![i]),
            }
        }
        let shared = pieces.into_iter().filter(|piece| piece.len() > 1);
        let shared = shared.map(|piece| Chunk {
            prefix: prompt,
            groups: vec![piece],
        });
        shared.collect()
    }

    /// How many tokens of its longest sequence a chunk runs behind the prefix.
    fn longest(&self, chunk: &Chunk) -> usize {
        let behind = |i: usize| match chunk.prefix {
            0 => self.sequences[i].ids.len(),
            prefix => self.ends[i].saturating_sub(prefix),
        };
        chunk.rows().map(behind).max().unwrap_or(0)
    }

    /// How many tokens are run, padding included.
    fn tokens(&self, chunk: &Chunk) -> usize {
        chunk.groups.len() * chunk.prefix + chunk.rows().count() * self.longest(chunk)
    }

    /// What a chunk costs that shares prompts: a call more than one that does not.
    fn cost(&self, chunk: &Chunk) -> usize {
        self.tokens(chunk) + CALL
    }

    /// What the same sequences cost run whole, if none is padded.
    fn unshared(&self, chunk: &Chunk) -> usize {
        chunk.rows().map(|i| self.sequences[i].ids.len()).sum()
    }

    /// What the cheaper way costs.
    fn least(&self, chunk: &Chunk) -> usize {
        self.cost(chunk).min(self.unshared(chunk))
    }
}

impl Decoder {
    /// [`Self::hidden_at`] for the sequences of a chunk that shares prompts, in its order: the prefixes
    /// are run first, then, on their keys and values, what follows in each sequence. Within the prefix
    /// the sequences of a group are alike.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context, or a position lies outside it.
    pub(crate) fn hidden_sharing(
        &self,
        sequences: &[Sequence<'_>],
        chunk: &Chunk,
        positions: impl Fn(&Sequence<'_>) -> Range<usize>,
    ) -> Tensor<2> {
        let device = self.device().inner();
        let (prefix, width) = (chunk.prefix, self.config().hidden_size);
        let prefixes: Vec<&[u32]> = chunk
            .groups
            .iter()
            .map(|group| &sequences[group[0]].ids[..prefix])
            .collect();
        let of_group = |(g, group): (usize, &Vec<usize>)| vec![g; group.len()];
        let groups: Vec<usize> = chunk.groups.iter().enumerate().flat_map(of_group).collect();
        let rows: Vec<&Sequence<'_>> = chunk.rows().map(|i| &sequences[i]).collect();
        // Nothing is run that nobody reads: often an answer's last token.
        let end = |row: &Sequence<'_>| positions(row).end.max(prefix);
        let rests: Vec<&[u32]> = rows.iter().map(|row| &row.ids[prefix..end(row)]).collect();
        let longest = rests.iter().map(|rest| rest.len()).max().unwrap_or(0);

        let ids = Padded::new(&prefixes, Side::Right).on(&device);
        let read = prefixes.len() * prefix;
        let hidden = match longest {
            0 => self.forward(ids).reshape([read, width]),
            _ => {
                // Real tokens never look at padding to their right.
                let behind = Padded::new(&rests, Side::Right).on(&device);
                let of = index_tensor(groups.iter().copied(), &device);
                let (hidden, behind) = self.forward_sharing(ids, behind, &of);
                let behind = behind.reshape([rows.len() * longest, width]);
                Tensor::cat(vec![hidden.reshape([read, width]), behind], 0)
            }
        };
        let wanted = groups.iter().zip(&rows).enumerate();
        let wanted = wanted.flat_map(|(index, (group, row))| {
            positions(row).map(move |at| match at.checked_sub(prefix) {
                None => group * prefix + at,
                Some(behind) => read + index * longest + behind,
            })
        });
        hidden.select(0, index_tensor(wanted, &device))
    }
}
