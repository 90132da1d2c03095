//! Where a product goes that several threads compute, each some of its columns.
#![allow(unsafe_code, reason = "threads write columns of one matrix")]

use std::marker::PhantomData;

use super::pack::SIDE;

/// A matrix in a slice. Whoever computes some columns of it touches no others.
pub(super) struct Target<'a> {
    start: *mut f32,
    /// How far apart rows are.
    pub(super) row: usize,
    rows: usize,
    columns: usize,
    /// Whether what is there already is added to.
    pub(super) keep: bool,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: a thread reads and writes the columns it was given, and no column is given to two.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    /// # Panics
    /// When the matrix does not fit into the slice.
    pub(super) fn new(
        out: &'a mut [f32],
        row: usize,
        [rows, columns]: [usize; 2],
        keep: bool,
    ) -> Self {
        assert!(columns <= row || rows == 1, "rows of the result overlap");
        assert!((rows - 1) * row + columns <= out.len(), "the result fits");
        Self {
            start: out.as_mut_ptr(),
            row,
            rows,
            columns,
            keep,
            borrowed: PhantomData,
        }
    }

    /// Where the tile from `(row, column)` on begins, if it lies within the matrix.
    pub(super) fn whole(&self, (row, column): (usize, usize)) -> Option<*mut f32> {
        let fits = row + SIDE <= self.rows && column + SIDE <= self.columns;
        // SAFETY: the matrix lies within the slice, and the place within the matrix.
        fits.then(|| unsafe { self.start.add(row * self.row + column) })
    }

    /// What a row has of the columns `column..column + 16`, for `work`.
    pub(super) fn line(&self, row: usize, column: usize, work: impl FnOnce(&mut [f32])) {
        let columns = column.min(self.columns)..(column + SIDE).min(self.columns);
        if row < self.rows && !columns.is_empty() {
            // SAFETY: within the matrix, and of these columns nobody else has any.
            work(unsafe {
                let start = self.start.add(row * self.row + columns.start);
                std::slice::from_raw_parts_mut(start, columns.len())
            });
        }
    }
}
