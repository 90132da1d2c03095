//! `C ← β·C + A·B` with both factors rounded to bf16 and sums in f32, as matrix units do it.
//!
//! On processors with such a unit it takes factors in tiles, and is several times as fast as f32. Elsewhere `gemm`
//! multiplies what was rounded, at its usual speed. Preparing a right factor takes time either way: [`Weights`] serve
//! many products.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod spare;
#[cfg(test)]
pub(super) mod tests;

use super::{
    matrix::{self, Matrix},
    unwritten,
};
use crate::host::{Number, Threads, for_rows, wide};

/// Whether this processor has a unit for it.
pub(crate) fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A right factor, as it is multiplied by here.
#[derive(Debug)]
pub(crate) struct Weights(Factor);

#[derive(Debug)]
enum Factor {
    /// For a matrix unit.
    #[cfg(target_arch = "x86_64")]
    Tiles(pack::Packed),
    /// For `gemm`: rounded, in f32, row after row.
    Rounded { values: Vec<f32>, shape: [usize; 2] },
}

impl Weights {
    pub(crate) fn new<T: Number>(right: Matrix<'_, T>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_native() {
            let tiles = pack::Packed::new(right.t(), pack::Order::Panels);
            return Self(Factor::Tiles(tiles));
        }
        Self::rounded(right)
    }

    fn rounded<T: Number>(right: Matrix<'_, T>) -> Self {
        Self(Factor::Rounded {
            values: rounded(right),
            shape: [right.rows(), right.columns()],
        })
    }

    pub(crate) fn columns(&self) -> usize {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Factor::Tiles(tiles) => tiles.rows,
            Factor::Rounded { shape, .. } => shape[1],
        }
    }
}

/// `out ← keep·out + a·b`, where row `i` of `out` begins at `i · row`, on as many threads as it is worth.
///
/// # Panics
/// When the shapes disagree.
pub(crate) fn multiply<T: Number>(
    out: &mut [f32],
    row: usize,
    keep: bool,
    a: Matrix<'_, T>,
    b: &Weights,
) {
    match &b.0 {
        #[cfg(target_arch = "x86_64")]
        Factor::Tiles(b) => amx::multiply(out, row, keep, a, b),
        Factor::Rounded { values, shape } => {
            let (m, [k, n]) = (a.rows(), *shape);
            assert_eq!(a.columns(), k, "inner sides of a product");
            let rows = rounded(a);
            let (a, b) = (Matrix::new(&rows, m, k, k), Matrix::new(values, k, n, n));
            matrix::multiply(out, row, keep, 1.0, a, b, true);
        }
    }
}

/// What is left of the numbers in bf16, as f32 and row after row.
fn rounded<T: Number>(matrix: Matrix<'_, T>) -> Vec<f32> {
    let width = matrix.columns();
    let mut values = unwritten(matrix.rows() * width);
    for_rows(Threads::Rayon, &mut values, width, |i, row| {
        wide(
            #[inline(always)]
            || {
                for (j, value) in row.iter_mut().enumerate() {
                    *value = matrix.from(i, j)[0].rounded();
                }
            },
        );
    });
    values
}
