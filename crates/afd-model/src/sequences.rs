//! Ragged rows of token ids on the host, and their padded form on a device.

use std::ops::Range;

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

/// Rows of ids as one `[B, T]` tensor.
#[derive(Debug, Clone)]
pub struct Padded {
    /// Ids, 0 where there is none.
    pub ids: Tensor<2, Int>,
    /// Position of each token in its own row, `[B, T]`; 0 on padding.
    pub positions: Tensor<2, Int>,
    /// Whether a token is real, row by row.
    pub present: Vec<bool>,
    /// Index into the flattened `[B·T]` of the first real token of each row.
    pub starts: Vec<usize>,
}

impl Padded {
    /// Pads `rows` to the longest of them.
    pub fn new(rows: &[&[u32]], side: Side, device: &Device) -> Self {
        let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let total = rows.len() * length;
        let (mut ids, mut positions) = (vec![0i32; total], vec![0i32; total]);
        let mut present = vec![false; total];
        let mut starts = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let start = match side {
                Side::Right => index * length,
                Side::Left => (index + 1) * length - row.len(),
            };
            for (offset, id) in row.iter().enumerate() {
                ids[start + offset] = *id as i32;
                positions[start + offset] = offset as i32;
                present[start + offset] = true;
            }
            starts.push(start);
        }
        let tensor = |values: Vec<i32>| {
            Tensor::from_data(TensorData::new(values, [rows.len(), length]), device)
        };
        Self {
            ids: tensor(ids),
            positions: tensor(positions),
            present,
            starts,
        }
    }
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
