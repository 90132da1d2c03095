//! Where a parameter stands on disk: under which name, which way round, and as which part of a
//! tensor that holds several.

use std::ops::Range;

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

    /// The parameter of `shape` out of the tensor's `values` on disk.
    pub(crate) fn take(&self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        let disk = self.disk_shape(shape);
        let values = match (self.layout, &self.part) {
            (Layout::InOut, None) => return values,
            (Layout::InOut, Some(_)) => transpose(&values, disk[0], disk[1]),
            (Layout::Same | Layout::OutIn, _) => values,
        };
        let values = match &self.part {
            None => values,
            Some(part) => {
                let width = values.len() / part.of;
                let rows = part.outputs.iter();
                rows.flat_map(|rows| &values[rows.start * width..rows.end * width])
                    .copied()
                    .collect()
            }
        };
        match self.layout {
            Layout::Same => values,
            Layout::OutIn | Layout::InOut => transpose(&values, shape[1], shape[0]),
        }
    }

    /// Puts the parameter's `values`, of `shape`, into the tensor `whole` on its way to disk.
    pub(crate) fn put(&self, values: &[f32], shape: &[usize], whole: &mut [f32]) {
        let rows = match self.layout {
            Layout::Same => values.to_vec(),
            Layout::OutIn | Layout::InOut => transpose(values, shape[0], shape[1]),
        };
        let disk = self.disk_shape(shape);
        let outputs = match self.layout {
            Layout::Same | Layout::OutIn => disk[0],
            Layout::InOut => disk[1],
        };
        let width = whole.len() / outputs;
        let targets: Vec<usize> = match &self.part {
            Some(part) => part.outputs.iter().cloned().flatten().collect(),
            None => (0..outputs).collect(),
        };
        for (row, output) in rows.chunks(width).zip(targets) {
            match self.layout {
                Layout::Same | Layout::OutIn => {
                    whole[output * width..(output + 1) * width].copy_from_slice(row);
                }
                Layout::InOut => {
                    for (input, value) in row.iter().enumerate() {
                        whole[input * outputs + output] = *value;
                    }
                }
            }
        }
    }
}

/// Side of the square blocks in which a matrix is transposed, so both sides stay in cache.
const BLOCK: usize = 32;

/// A `[rows, columns]` matrix as `[columns, rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for row0 in (0..rows).step_by(BLOCK) {
        for column0 in (0..columns).step_by(BLOCK) {
            for row in row0..(row0 + BLOCK).min(rows) {
                for column in column0..(column0 + BLOCK).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_the_identity() {
        let (rows, columns) = (BLOCK + 5, 2 * BLOCK + 1);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let there = transpose(&values, rows, columns);
        assert_eq!(there[1], values[columns]);
        assert_eq!(transpose(&there, columns, rows), values);
    }

    fn place(layout: Layout, outputs: Option<Vec<Range<usize>>>) -> Place {
        Place {
            name: "t".into(),
            layout,
            part: outputs.map(|outputs| Part { of: 4, outputs }),
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
            let taken = |place: &Place, shape| place.take(disk.clone(), shape);
            assert_eq!(
                taken(&whole, &[2, 4]),
                [0., 10., 20., 30., 1., 11., 21., 31.]
            );
            assert_eq!(taken(&odd, &[2, 2]), [10., 30., 11., 31.]);
            assert_eq!(taken(&even, &[2, 2]), [0., 20., 1., 21.]);
            // What was taken and is put back gives the tensor again.
            let mut back = vec![f32::NAN; 8];
            for part in [&odd, &even] {
                part.put(&taken(part, &[2, 2]), &[2, 2], &mut back);
            }
            assert_eq!(back, disk);
            let mut back = vec![f32::NAN; 8];
            whole.put(&taken(&whole, &[2, 4]), &[2, 4], &mut back);
            assert_eq!(back, disk);
        }
        let biases = place(Layout::Same, Some(vec![1..2, 3..4]));
        assert_eq!(biases.disk_shape(&[2]), [4]);
        assert_eq!(biases.take(vec![0., 1., 2., 3.], &[2]), [1., 3.]);
    }
}
