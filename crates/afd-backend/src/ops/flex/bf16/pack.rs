//! Factors of a product, rounded to bf16 and laid out as the kernels read them: neighbours along the sum in pairs.

use rayon::prelude::*;

use super::{super::matrix::Matrix, Number, spare};
use crate::host::wide;

/// Rows or columns in a tile, and pairs along the sum.
pub(super) const SIDE: usize = 16;

/// A row of a tile: 16 pairs of neighbours along the sum, the first of a pair in the low half of its word. Tiles
/// whose rows do not begin where a line of the cache does are loaded at a sixth of the speed.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; SIDE]);

/// Tiles below which threads cost more than they bring.
const WORTH_THREADS: usize = 128;

/// Groups of rows that are laid out together where the columns of a factor lie together: what is read of a column is
/// then longer than a line of the cache.
const TOGETHER: usize = 8;

/// Rows of a factor, zeros behind them up to whole tiles: all tiles of 16 rows, one after the other, then those of the
/// next 16.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) lines: Vec<Line>,
    /// Rows that are not padding.
    pub(super) rows: usize,
    /// Terms of the sum that are not padding.
    pub(super) terms: usize,
}

impl Drop for Packed {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.lines));
    }
}

/// What stands in a line of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// 16 pairs of one row: the left factor.
    Rows,
    /// The same pair of 16 rows: the right factor, whose rows here are columns of the product.
    Panels,
}

impl Packed {
    pub(super) fn new<T: Number>(factor: Matrix<'_, T>, order: Order) -> Self {
        let (rows, terms) = (factor.rows(), factor.columns());
        let tiles = terms.div_ceil(2 * SIDE);
        // Panels are taken two at a time.
        let groups = match order {
            Order::Rows => rows.div_ceil(SIDE),
            Order::Panels => rows.div_ceil(2 * SIDE) * 2,
        };
        let mut lines = spare::take(groups * tiles * SIDE);
        let group = (tiles * SIDE).max(1);
        let together = match factor.has_rows_together() {
            true => 1,
            // As long as there is something for each thread.
            false => TOGETHER.min(groups.div_ceil(rayon::current_num_threads()).max(1)),
        };
        let lay_out = |(index, lines): (usize, &mut [Line])| {
            for k in 0..tiles {
                for (at, lines) in lines.chunks_mut(group).enumerate() {
                    let first = ((index * together + at) * SIDE, k * 2 * SIDE);
                    let tile = wide(
                        #[inline(always)]
                        || tile(factor, first, order),
                    );
                    for (line, pairs) in lines[k * SIDE..].iter_mut().zip(tile) {
                        *line = Line(pairs);
                    }
                }
            }
        };
        let part = together * group;
        match groups * tiles < WORTH_THREADS {
            true => lines.chunks_mut(part).enumerate().for_each(lay_out),
            false => lines.par_chunks_mut(part).enumerate().for_each(lay_out),
        }
        Self { lines, rows, terms }
    }

    /// Tiles along the sum, in each of them 32 terms.
    pub(super) fn tiles(&self) -> usize {
        self.terms.div_ceil(2 * SIDE)
    }
}

/// 16 rows and 32 terms from `(row, term)` on, zeros where there are none: as `order` says, by rows or by words.
#[inline(always)]
fn tile<T: Number>(
    factor: Matrix<'_, T>,
    (row, term): (usize, usize),
    order: Order,
) -> [[u32; SIDE]; SIDE] {
    let rows = factor.rows().saturating_sub(row).min(SIDE);
    let terms = factor.columns().saturating_sub(term).min(2 * SIDE);
    let mut tile = [[0u32; SIDE]; SIDE];
    if rows == 0 {
        return tile;
    }
    let by_rows = factor.has_rows_together();
    if by_rows {
        for (i, words) in tile[..rows].iter_mut().enumerate() {
            let line = factor.from(row + i, term);
            match line.first_chunk::<{ 2 * SIDE }>() {
                Some(line) if terms == 2 * SIDE => {
                    for (word, pair) in words.iter_mut().zip(line.as_chunks::<2>().0) {
                        *word = join(pair[0], pair[1]);
                    }
                }
                _ => {
                    for (word, pair) in words.iter_mut().zip(line[..terms].chunks(2)) {
                        *word = match pair {
                            [low, high] => join(*low, *high),
                            [low, ..] => u32::from(low.to_bf16()),
                            [] => 0,
                        };
                    }
                }
            }
        }
    } else {
        let line = |q: usize| factor.from(row, term + q);
        let apart = factor.row();
        for (q, words) in tile[..terms.div_ceil(2)].iter_mut().enumerate() {
            let low = line(2 * q);
            let high = (2 * q + 1 < terms).then(|| line(2 * q + 1));
            match (
                low.first_chunk::<SIDE>(),
                high.and_then(|high| high.first_chunk::<SIDE>()),
            ) {
                (Some(low), Some(high)) if apart == 1 && rows == SIDE => {
                    for ((word, low), high) in words.iter_mut().zip(low).zip(high) {
                        *word = join(*low, *high);
                    }
                }
                _ => {
                    for (i, word) in words[..rows].iter_mut().enumerate() {
                        let high = high.map_or(0, |high| high[i * apart].to_bf16());
                        *word = u32::from(low[i * apart].to_bf16()) | u32::from(high) << 16;
                    }
                }
            }
        }
    }
    match by_rows == (order == Order::Rows) {
        true => tile,
        false => transposed(tile),
    }
}

#[inline(always)]
fn join<T: Number>(low: T, high: T) -> u32 {
    u32::from(low.to_bf16()) | u32::from(high.to_bf16()) << 16
}

/// Weaving each row with the one eight further turns the eight bits of a word's place, row and column, by one: four
/// times, and they have changed places.
#[inline(always)]
fn transposed(mut tile: [[u32; SIDE]; SIDE]) -> [[u32; SIDE]; SIDE] {
    for _ in 0..4 {
        let mut woven = [[0; SIDE]; SIDE];
        for (i, pair) in woven.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (a, b) = (&tile[i], &tile[i + SIDE / 2]);
            for (half, row) in pair.iter_mut().enumerate() {
                for (j, words) in row.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let at = half * SIDE / 2 + j;
                    *words = [a[at], b[at]];
                }
            }
        }
        tile = woven;
    }
    tile
}
