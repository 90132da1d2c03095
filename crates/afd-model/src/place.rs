//! Where a parameter stands on disk: under which name, which way round, and as which part of a
//! tensor that holds several.

use std::{io, ops::Range};

use crate::number::Number;

/// The place of one parameter in a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The tensor's name.
    pub(crate) name: String,
    pub(crate) layout: Layout,
    /// Which outputs of the tensor, where it holds those of several parameters.
    pub(crate) part: Option<Part>,
}

/// How a tensor lies on disk. In memory linear layers are `[in, out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Vectors and tables: as in memory.
    Same,
    /// A linear layer as PyTorch has it, `[out, in]`.
    OutIn,
    /// A linear layer as GPT-2 has it, `[in, out]`.
    InOut,
}

/// Some of the outputs of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// How many outputs the whole tensor has.
    pub(crate) of: usize,
    /// Those of this parameter, in its order.
    pub(crate) outputs: Vec<Range<usize>>,
}

impl Place {
    /// A whole tensor called `name`: a vector, an embedding, or a linear layer of PyTorch's.
    pub(crate) fn whole(name: impl Into<String>, rank: usize, table: bool) -> Self {
        Self {
            name: name.into(),
            layout: match rank == 2 && !table {
                true => Layout::OutIn,
                false => Layout::Same,
            },
            part: None,
        }
    }

    /// The shape of the tensor on disk, for a parameter of `shape` in memory.
    pub(crate) fn disk_shape(&self, shape: &[usize]) -> Vec<usize> {
        let whole = |outputs| self.part.as_ref().map_or(outputs, |part| part.of);
        match self.layout {
            Layout::Same => std::iter::once(whole(shape[0]))
                .chain(shape[1..].iter().copied())
                .collect(),
            Layout::OutIn => vec![whole(shape[1]), shape[0]],
            Layout::InOut => vec![shape[0], whole(shape[1])],
        }
    }

    /// The rows of the tensor on disk that hold something of a parameter of `shape`, in the order
    /// in which [`Self::unpack`] wants them.
    pub(crate) fn rows(&self, shape: &[usize]) -> Vec<Range<usize>> {
        match (self.layout, &self.part) {
            (Layout::Same | Layout::OutIn, Some(part)) => part.outputs.clone(),
            (Layout::Same | Layout::OutIn, None) | (Layout::InOut, _) => {
                std::iter::once(0..self.disk_shape(shape)[0]).collect()
            }
        }
    }

    /// Puts `values`, whole rows of the tensor on disk, into the parameter `out` of `shape`.
    /// `done` of the [`rows`](Self::rows) have been before.
    pub(crate) fn unpack<E: Number>(
        &self,
        values: &[f32],
        done: usize,
        shape: &[usize],
        out: &mut [E],
    ) {
        let disk = self.disk_shape(shape);
        let width: usize = disk[1..].iter().product();
        let rows = values.chunks_exact(width);
        match self.layout {
            Layout::Same => {
                let out = &mut out[done * width..];
                for (out, value) in out.iter_mut().zip(values) {
                    *out = E::of(*value);
                }
            }
            Layout::OutIn => transpose_into(values, width, &mut out[done..], shape[1]),
            Layout::InOut => {
                let out = out[done * shape[1]..].chunks_exact_mut(shape[1]);
                for (out, row) in out.zip(rows) {
                    let mut out = out.iter_mut();
                    for columns in self.columns(width) {
                        // This way round: zip asks its first side once more than it needs.
                        for (value, out) in row[columns].iter().zip(out.by_ref()) {
                            *out = E::of(*value);
                        }
                    }
                }
            }
        }
    }

    /// The pieces of a parameter of `shape` on their way to disk, one after the other: where in
    /// the tensor each begins, in numbers, and its numbers out of the parameter's `values`.
    pub(crate) fn pack(
        &self,
        values: &[f32],
        shape: &[usize],
        mut put: impl FnMut(usize, &[f32]) -> io::Result<()>,
    ) -> io::Result<()> {
        let disk = self.disk_shape(shape);
        let width: usize = disk[1..].iter().product();
        match self.layout {
            Layout::Same => {
                let mut values = values;
                for rows in self.rows(shape) {
                    let (now, later) = values.split_at(rows.len() * width);
                    put(rows.start * width, now)?;
                    values = later;
                }
            }
            Layout::OutIn => {
                let mut done = 0;
                let at_a_time = (WRITTEN / width).max(1);
                let mut block = Vec::new();
                for rows in self.rows(shape) {
                    for first in rows.clone().step_by(at_a_time) {
                        let count = at_a_time.min(rows.end - first);
                        block.clear();
                        block.resize(count * width, 0.0);
                        transpose_columns(values, shape[1], done, &mut block, width);
                        put(first * width, &block)?;
                        done += count;
                    }
                }
            }
            Layout::InOut => {
                for (input, mut row) in values.chunks_exact(shape[1]).enumerate() {
                    for columns in self.columns(width) {
                        let (now, later) = row.split_at(columns.len());
                        put(input * width + columns.start, now)?;
                        row = later;
                    }
                }
            }
        }
        Ok(())
    }

    /// Which of the `width` outputs of each input are this parameter's, where they lie in a row.
    fn columns(&self, width: usize) -> Vec<Range<usize>> {
        match &self.part {
            Some(part) => part.outputs.clone(),
            None => std::iter::once(0..width).collect(),
        }
    }
}

/// How many numbers [`Place::pack`] gathers at a time.
const WRITTEN: usize = 1 << 20;

/// Side of the square blocks in which a matrix is transposed, so both sides stay in cache.
const BLOCK: usize = 32;

/// Rows of `width` become columns of `out`, whose rows are `stride` long.
fn transpose_into<E: Number>(values: &[f32], width: usize, out: &mut [E], stride: usize) {
    let rows = values.len() / width;
    // By way of a block of its own: rows a power of two apart share their place in a cache.
    let mut block = [[E::default(); BLOCK]; BLOCK];
    for row0 in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - row0);
        for column0 in (0..width).step_by(BLOCK) {
            let breadth = BLOCK.min(width - column0);
            for row in 0..height {
                let start = (row0 + row) * width + column0;
                let values = &values[start..start + breadth];
                for (column, value) in block.iter_mut().zip(values) {
                    column[row] = E::of(*value);
                }
            }
            for (column, block) in block[..breadth].iter().enumerate() {
                let start = (column0 + column) * stride + row0;
                out[start..start + height].copy_from_slice(&block[..height]);
            }
        }
    }
}

/// Columns of `values`, whose rows are `stride` long, from `first` on become the rows of `out`.
fn transpose_columns(values: &[f32], stride: usize, first: usize, out: &mut [f32], width: usize) {
    let rows = out.len() / width;
    for row0 in (0..rows).step_by(BLOCK) {
        for column0 in (0..width).step_by(BLOCK) {
            for row in row0..(row0 + BLOCK).min(rows) {
                for column in column0..(column0 + BLOCK).min(width) {
                    out[row * width + column] = values[column * stride + first + row];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(layout: Layout, outputs: Option<Vec<Range<usize>>>) -> Place {
        Place {
            name: "t".into(),
            layout,
            part: outputs.map(|outputs| Part { of: 4, outputs }),
        }
    }

    /// The parameter out of the tensor on disk, `at_a_time` rows in one block.
    fn take(place: &Place, disk: &[f32], shape: &[usize], at_a_time: usize) -> Vec<f32> {
        let width: usize = place.disk_shape(shape)[1..].iter().product();
        let mut out = vec![f32::NAN; shape.iter().product()];
        let mut done = 0;
        for rows in place.rows(shape) {
            for first in rows.clone().step_by(at_a_time) {
                let count = at_a_time.min(rows.end - first);
                let block = &disk[first * width..(first + count) * width];
                place.unpack(block, done, shape, &mut out);
                done += count;
            }
        }
        out
    }

    fn put(place: &Place, values: &[f32], shape: &[usize], disk: &mut [f32]) {
        let put = |start: usize, piece: &[f32]| {
            disk[start..start + piece.len()].copy_from_slice(piece);
            Ok(())
        };
        place.pack(values, shape, put).unwrap();
    }

    #[test]
    fn a_matrix_is_turned_and_turned_back() {
        let (inputs, outputs) = (BLOCK + 5, 2 * BLOCK + 1);
        let values: Vec<f32> = (0..inputs * outputs).map(|i| i as f32).collect();
        let whole = place(Layout::OutIn, None);
        let mut disk = vec![f32::NAN; values.len()];
        put(&whole, &values, &[inputs, outputs], &mut disk);
        assert_eq!(disk[1], values[outputs]);
        for at_a_time in [1, 7, 100] {
            let back = take(&whole, &disk, &[inputs, outputs], at_a_time);
            assert_eq!(back, values, "{at_a_time} rows at a time");
        }
    }

    #[test]
    fn parts_are_taken_from_either_way_round() {
        // Four outputs of two inputs: output o of input i is 10·o + i.
        let out_in: Vec<f32> = [0, 1, 10, 11, 20, 21, 30, 31].map(|v| v as f32).into();
        let in_out: Vec<f32> = [0, 10, 20, 30, 1, 11, 21, 31].map(|v| v as f32).into();
        for (layout, disk) in [(Layout::OutIn, out_in), (Layout::InOut, in_out)] {
            let whole = place(layout, None);
            let [odd, even] = [vec![1..2, 3..4], vec![0..1, 2..3]].map(|o| place(layout, Some(o)));
            let taken = |place: &Place, shape| take(place, &disk, shape, 1);
            assert_eq!(
                taken(&whole, &[2, 4]),
                [0., 10., 20., 30., 1., 11., 21., 31.]
            );
            assert_eq!(taken(&odd, &[2, 2]), [10., 30., 11., 31.]);
            assert_eq!(taken(&even, &[2, 2]), [0., 20., 1., 21.]);
            // What was taken and is put back gives the tensor again.
            let mut back = vec![f32::NAN; 8];
            for part in [&odd, &even] {
                put(part, &taken(part, &[2, 2]), &[2, 2], &mut back);
            }
            assert_eq!(back, disk);
            let mut back = vec![f32::NAN; 8];
            put(&whole, &taken(&whole, &[2, 4]), &[2, 4], &mut back);
            assert_eq!(back, disk);
        }
        let biases = place(Layout::Same, Some(vec![1..2, 3..4]));
        assert_eq!(biases.disk_shape(&[2]), [4]);
        assert_eq!(take(&biases, &[0., 1., 2., 3.], &[2], 1), [1., 3.]);
        let mut back = vec![f32::NAN; 4];
        put(&biases, &[1., 3.], &[2], &mut back);
        assert_eq!((back[1], back[3]), (1., 3.));
    }
}
