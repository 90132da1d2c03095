//! Matrices in slices, with any strides, and their products `C ← β·C + α·A·B` in f32 by `gemm`.

use gemm::Parallelism;

/// Multiplications of a product below which threads cost more than they bring.
const WORTH_THREADS: usize = 192 * 192 * 192;

/// A matrix that lies in a slice: element `(i, j)` at `i · row + j · column`.
#[derive(Debug)]
pub(crate) struct Matrix<'a, T = f32> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<T> Clone for Matrix<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<'_, T> {}

impl<'a, T> Matrix<'a, T> {
    /// `rows` of `columns` numbers, one after the other, a new one every `row` numbers.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize, row: usize) -> Self {
        Self {
            values,
            rows,
            columns,
            row,
            column: 1,
        }
    }

    /// `columns` numbers `column` apart in each of `rows` rows, which are `row` apart.
    pub(crate) fn strided(
        values: &'a [T],
        [rows, columns]: [usize; 2],
        [row, column]: [usize; 2],
    ) -> Self {
        Self {
            values,
            rows,
            columns,
            row,
            column,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The transpose; nothing is moved.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row: self.column,
            column: self.row,
            ..self
        }
    }

    /// `count` rows from `start` on.
    pub(crate) fn narrow(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows of the matrix");
        Self {
            values: &self.values[start * self.row..],
            rows: count,
            ..self
        }
    }

    /// Whether a column lies together rather than a row.
    pub(crate) fn is_transposed(&self) -> bool {
        self.column > self.row
    }

    /// Whether the numbers of a row lie side by side.
    pub(crate) fn has_rows_together(&self) -> bool {
        self.column == 1
    }

    /// From element `(i, j)` on, in the order in which they lie.
    pub(crate) fn from(&self, i: usize, j: usize) -> &'a [T] {
        &self.values[i * self.row + j * self.column..]
    }

    /// How far apart rows are.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row + (self.columns - 1) * self.column < self.values.len()
    }
}

/// `out ← keep·out + alpha·a·b`, where row `i` of `out` begins at `i · row`. With `threads` a large
/// product is spread over the cores; without, it stays on this one.
///
/// # Panics
/// When the shapes disagree, or a matrix does not fit into its slice.
pub(crate) fn multiply(
    out: &mut [f32],
    row: usize,
    keep: bool,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    threads: bool,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner sides of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= row || m == 1, "rows of the result overlap");
    assert!((m - 1) * row + n <= out.len(), "the result fits");
    assert!(a.fits() && b.fits(), "the factors fit");
    let parallelism = match threads && m * n * k >= WORTH_THREADS {
        true => Parallelism::Rayon(0),
        false => Parallelism::None,
    };
    #[allow(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: every element of the three matrices lies within its slice, as was just checked, `out`
    // is borrowed mutably and so shares nothing with the others, and its rows do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row as isize,
            keep,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_paper() {
        let a = [1.0, 2.0, 3.0, 4.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, 2, 2, 2), Matrix::new(&b, 2, 2, 2));
        let mut out = [1.0, 1.0, 9.0, 1.0, 1.0];
        multiply(&mut out, 3, false, 1.0, a, b, false);
        assert_eq!(out, [19.0, 22.0, 9.0, 43.0, 50.0]);
        multiply(&mut out, 3, true, 2.0, a.t(), b, false);
        // AᵀB = [[26, 30], [38, 44]].
        assert_eq!(out, [71.0, 82.0, 9.0, 119.0, 138.0]);
        multiply(&mut out, 2, false, 1.0, a.narrow(1, 1), b.t(), false);
        assert_eq!(out[..2], [39.0, 53.0]);
    }
}
