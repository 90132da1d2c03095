//! Ragged rows of token ids on the host, and their padded form on a device.

use std::{cmp::Reverse, ops::Range};

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};

/// A prompt and its answer as one row of ids; the answer, end token included, starts at
/// `prompt_len`.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Prompt ids followed by answer ids.
    pub ids: &'a [u32],
    /// Number of prompt ids; 0 for plain text, whose first token is then conditioned on
    /// nothing and not predicted.
    pub prompt_len: usize,
}

impl Sequence<'_> {
    /// How many tokens get a log-probability: those of the answer that have a predecessor.
    pub fn targets(&self) -> usize {
        self.ids.len() - self.first_target()
    }

    /// Number of answer tokens, end token included.
    pub fn answer_len(&self) -> usize {
        self.ids.len() - self.prompt_len
    }

    /// The position of the first token that gets a log-probability.
    pub fn first_target(&self) -> usize {
        self.prompt_len.max(1).min(self.ids.len())
    }

    /// The positions whose next token gets a log-probability.
    pub(crate) fn predictors(&self) -> Range<usize> {
        let first = self.first_target().saturating_sub(1);
        first..first + self.targets()
    }
}

/// On which side short rows are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Real tokens first: positions and the causal mask are the same for every row.
    Right,
    /// Real tokens last.
    Left,
}

/// Texts, as ids, in one tensor to be.
#[derive(Debug, Clone)]
pub struct Padded {
    /// Ids, row by row, 0 where there is none.
    pub ids: Vec<i32>,
    /// Rows `B`, and tokens of each, `T`.
    pub shape: [usize; 2],
    /// Position of each token in its own text, row by row; 0 on padding.
    pub positions: Vec<usize>,
    /// Index into the flattened `[B·T]` of the first token of each text.
    pub starts: Vec<usize>,
}

impl Padded {
    /// A row for each of `texts`, as long as the longest of them.
    pub fn new(texts: &[&[u32]], side: Side) -> Self {
        let length = longest(texts);
        let start = |(row, text): (usize, &&[u32])| match side {
            Side::Right => row * length,
            Side::Left => (row + 1) * length - text.len(),
        };
        let starts = texts.iter().enumerate().map(start).collect();
        Self::placed(texts, starts, [texts.len(), length])
    }

    /// As few rows as first-fit-decreasing finds, as long as the longest of `texts`: several stand in one row
    /// where they fit, one after the other. It is [`Self::new`] if that saves no row, or if the mask
    /// that the rows then need, of `T` numbers a token, is larger than what is saved: `per_token` numbers
    /// for each token fewer.
    pub fn packed(texts: &[&[u32]], per_token: usize) -> Self {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let (rows, starts) = first_fit(&lengths);
        let (length, saved) = (longest(texts), texts.len() - rows);
        match saved > 0 && rows * length <= saved * per_token {
            true => Self::placed(texts, starts, [rows, length]),
            false => Self::new(texts, Side::Right),
        }
    }

    fn placed(texts: &[&[u32]], starts: Vec<usize>, shape: [usize; 2]) -> Self {
        let total = shape[0] * shape[1];
        let (mut ids, mut positions) = (vec![0i32; total], vec![0; total]);
        for (text, start) in texts.iter().zip(&starts) {
            for (offset, id) in text.iter().enumerate() {
                ids[start + offset] = *id as i32;
                positions[start + offset] = offset;
            }
        }
        Self {
            ids,
            shape,
            positions,
            starts,
        }
    }

    /// The ids on a device, `[B, T]`.
    pub fn on(self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.ids, self.shape), device)
    }
}

fn longest(texts: &[&[u32]]) -> usize {
    texts.iter().map(|text| text.len()).max().unwrap_or(0)
}

/// Puts texts of these `lengths` into rows as long as the longest, each, from the longest to the
/// shortest, into the first row with room: how many rows that makes, and where each text starts, counted
/// through all rows.
fn first_fit(lengths: &[usize]) -> (usize, Vec<usize>) {
    let room = lengths.iter().copied().max().unwrap_or(0);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| Reverse(lengths[i]));
    let (mut filled, mut starts) = (Vec::new(), vec![0; lengths.len()]);
    for i in order {
        let fits = |used: &usize| used + lengths[i] <= room;
        let row = filled.iter().position(fits).unwrap_or(filled.len());
        if row == filled.len() {
            filled.push(0);
        }
        starts[i] = row * room + filled[row];
        filled[row] += lengths[i];
    }
    (filled.len(), starts)
}

/// A one-dimensional index tensor.
pub(crate) fn index_tensor(
    indices: impl Iterator<Item = usize>,
    device: &Device,
) -> Tensor<1, Int> {
    let values: Vec<i32> = indices.map(|index| index as i32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_rows_from_the_longest_to_the_shortest() {
        // 5; 4 and 1; 3 and 2.
        assert_eq!(first_fit(&[5, 3, 2, 4, 1]), (3, vec![0, 10, 13, 5, 9]));
        // Nothing fits beside another, equal ones keep their order, an empty text takes no room.
        assert_eq!(first_fit(&[3, 5, 4]), (3, vec![10, 0, 5]));
        assert_eq!(first_fit(&[4, 4]), (2, vec![0, 4]));
        assert_eq!(first_fit(&[4, 0]), (1, vec![0, 4]));
        assert_eq!(first_fit(&[]), (0, vec![]));
    }

    #[test]
    fn texts_share_a_row_where_its_mask_is_smaller_than_what_is_saved() {
        let texts: [&[u32]; 3] = [&[5, 6], &[7, 8, 9, 10], &[11]];
        // Two rows of 4 tokens instead of three: the mask holds 2·4·4 numbers, 4 tokens are saved.
        let packed = Padded::packed(&texts, 8);
        assert_eq!(packed.positions, [0, 1, 2, 3, 0, 1, 0, 0]);
        assert_eq!(packed.starts, [4, 0, 6]);
        assert_eq!(packed.ids, [7, 8, 9, 10, 5, 6, 11, 0]);
        assert_eq!(packed.shape, [2, 4]);
        let padded = Padded::packed(&texts, 7);
        assert_eq!(padded.shape, [3, 4]);
        assert_eq!(padded.starts, [0, 4, 8]);
    }
}
