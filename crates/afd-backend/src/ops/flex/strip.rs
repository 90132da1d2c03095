//! Columns of a matrix that one thread computes while others compute the rest.
#![allow(unsafe_code, reason = "threads write columns of one matrix")]

use std::marker::PhantomData;

/// Columns of a strip.
pub(super) const WIDTH: usize = 32;

/// Up to [`WIDTH`] columns of a matrix in a slice. No two strips have a column in common.
pub(super) struct Strip<'a> {
    start: *mut f32,
    /// How far apart rows are.
    apart: usize,
    rows: usize,
    columns: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: a strip reads and writes its own columns only, and is to them what a mutable slice is.
unsafe impl Send for Strip<'_> {}

impl<'a> Strip<'a> {
    /// All strips of a matrix, from the left.
    ///
    /// # Panics
    /// When the matrix does not fit into the slice.
    pub(super) fn all(out: &'a mut [f32], apart: usize, [rows, columns]: [usize; 2]) -> Vec<Self> {
        assert!(columns <= apart || rows == 1, "rows of the result overlap");
        let end = (rows - 1)
            .checked_mul(apart)
            .and_then(|last| last.checked_add(columns));
        assert!(end.is_some_and(|end| end <= out.len()), "the result fits");
        let start = out.as_mut_ptr();
        let strip = |first: usize| Self {
            start: start.wrapping_add(first),
            apart,
            rows,
            columns: (columns - first).min(WIDTH),
            borrowed: PhantomData,
        };
        (0..columns).step_by(WIDTH).map(strip).collect()
    }

    /// Where `rows` whole rows from `row` on begin, and how far apart they are; none where there are fewer or they are
    /// narrower.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn whole(&mut self, row: usize, rows: usize) -> Option<(*mut f32, usize)> {
        let fits = row + rows <= self.rows && self.columns == WIDTH;
        fits.then(|| (self.start.wrapping_add(row * self.apart), self.apart))
    }

    /// What there is of a row: nothing behind the last.
    pub(super) fn line(&mut self, row: usize) -> &mut [f32] {
        if row >= self.rows {
            return &mut [];
        }
        let start = self.start.wrapping_add(row * self.apart);
        // SAFETY: the row lies within the slice, which is borrowed, and nobody else has these columns of it.
        unsafe { std::slice::from_raw_parts_mut(start, self.columns) }
    }

    /// Zeros everywhere.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn clear(&mut self) {
        for row in 0..self.rows {
            self.line(row).fill(0.0);
        }
    }
}
