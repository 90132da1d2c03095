//! `C ← A·B` for few rows at a time, with a right factor that is laid out once for many products.
//!
//! `gemm` lays out both factors in each product, which takes longer than a product of few rows itself. Such products
//! wait for memory besides: a factor that is rounded to bf16 takes half of it, on any processor.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    matrix::Matrix,
    strip::{Strip, WIDTH},
    unwritten,
};
use crate::host::{Number, Threads, for_rows, wide};

/// Multiplications of a product below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 20;

/// Rows of the left factor that are multiplied by all of the right one before the next: with a panel they fit into
/// the cache of a core.
const AT_ONCE: usize = 256;

/// Rows of a tile: with two registers of sums for each, and three more, it takes 15 of the 16 that AVX2 has.
const TILE: usize = 6;

/// Terms that are laid out before the next.
const BLOCK: usize = 64;

/// Half of a strip: numbers of the widest register.
const HALF: usize = WIDTH / 2;

/// A right factor `[K, N]`: panels of 32 columns, in each a line for row after row. The last is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Panels {
    lines: Lines,
    terms: usize,
    columns: usize,
}

#[derive(Debug)]
enum Lines {
    F32(Vec<F32>),
    Bf16(Vec<Bf16>),
}

/// 32 columns of a row.
type F32 = [[f32; HALF]; 2];

/// The same rounded to bf16: column `i` in the lower half of a number and column `i + 16` in the upper, so that a
/// register of them becomes two.
type Bf16 = [u32; HALF];

impl Panels {
    /// For products in f32 or, `rounded`, in bf16: both factors are rounded, sums and results are f32.
    pub(crate) fn new<T: Number>(right: Matrix<'_, T>, rounded: bool) -> Self {
        Self {
            lines: match rounded {
                true => Lines::Bf16(lay_out(right)),
                false => Lines::F32(lay_out(right)),
            },
            terms: right.rows(),
            columns: right.columns(),
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }
}

/// `out ← a·b`, row after row, on as many threads as it is worth. The sum of an element does not depend on what
/// other rows there are.
///
/// # Panics
/// When the shapes disagree.
pub(crate) fn multiply(out: &mut [f32], a: Matrix<'_>, b: &Panels) {
    assert_eq!(a.columns(), b.terms, "inner sides of a product");
    assert_eq!(out.len(), a.rows() * b.columns, "the result fits");
    if out.is_empty() || b.terms == 0 {
        out.fill(0.0);
        return;
    }
    match &b.lines {
        Lines::F32(lines) => multiply_by(out, a, lines, b.columns),
        Lines::Bf16(lines) => multiply_by(out, a, lines, b.columns),
    }
}

fn multiply_by<L: Line>(out: &mut [f32], a: Matrix<'_>, lines: &[L], columns: usize) {
    let terms = a.columns();
    for (index, out) in out.chunks_mut(AT_ONCE * columns).enumerate() {
        let count = out.len() / columns;
        let left = tiles::<L>(a.narrow(index * AT_ONCE, count));
        let strips = Strip::all(out, columns, [count, columns]);
        let parts = strips.into_iter().zip(lines.chunks(terms));
        let work = |(out, panel): (Strip<'_>, &[L])| {
            Arch::new().dispatch(Product {
                left: &left,
                panel,
                out,
            });
        };
        match count * columns * terms < WORTH_THREADS {
            true => parts.for_each(work),
            false => {
                let parts: Vec<_> = parts.collect();
                parts.into_par_iter().for_each(work);
            }
        }
    }
}

/// What a panel is made of.
trait Line: Copy + Send + Sync {
    const ZERO: Self;

    /// A number as it is multiplied.
    fn factor<T: Number>(number: T) -> f32;

    /// Of factors.
    fn of(columns: &[f32; WIDTH]) -> Self;

    /// Factors of the columns from `first` on in either half, as many as a register has.
    fn halves<S: Simd>(&self, simd: S, first: usize) -> [S::f32s; 2];
}

impl Line for F32 {
    const ZERO: Self = [[0.0; HALF]; 2];

    #[inline(always)]
    fn factor<T: Number>(number: T) -> f32 {
        number.to_f32()
    }

    #[inline(always)]
    fn of(columns: &[f32; WIDTH]) -> Self {
        let [mut lower, mut upper] = Self::ZERO;
        lower.copy_from_slice(&columns[..HALF]);
        upper.copy_from_slice(&columns[HALF..]);
        [lower, upper]
    }

    #[inline(always)]
    fn halves<S: Simd>(&self, _: S, first: usize) -> [S::f32s; 2] {
        let [lower, upper] = self;
        let columns = first..first + S::F32_LANES;
        [
            S::as_simd_f32s(&lower[columns.clone()]).0[0],
            S::as_simd_f32s(&upper[columns]).0[0],
        ]
    }
}

impl Line for Bf16 {
    const ZERO: Self = [0; HALF];

    #[inline(always)]
    fn factor<T: Number>(number: T) -> f32 {
        number.rounded()
    }

    #[inline(always)]
    fn of(columns: &[f32; WIDTH]) -> Self {
        std::array::from_fn(|i| columns[i].to_bits() >> 16 | columns[HALF + i].to_bits())
    }

    #[inline(always)]
    fn halves<S: Simd>(&self, simd: S, first: usize) -> [S::f32s; 2] {
        let both = S::as_simd_u32s(&self[first..first + S::U32_LANES]).0[0];
        let lower = simd.wrapping_dyn_shl_u32s(both, simd.splat_u32s(16));
        let upper = simd.and_u32s(both, simd.splat_u32s(0xffff_0000));
        [
            simd.transmute_f32s_u32s(lower),
            simd.transmute_f32s_u32s(upper),
        ]
    }
}

fn lay_out<L: Line, T: Number>(right: Matrix<'_, T>) -> Vec<L> {
    let (terms, columns) = (right.rows(), right.columns());
    let mut lines = vec![L::ZERO; columns.div_ceil(WIDTH) * terms];
    let panels = lines.par_chunks_mut(terms.max(1)).enumerate();
    panels.for_each(|(index, panel)| {
        wide(
            #[inline(always)]
            || lay_out_panel(right, index * WIDTH, panel),
        );
    });
    lines
}

/// The columns from `first` on as a panel.
#[inline(always)]
fn lay_out_panel<L: Line, T: Number>(right: Matrix<'_, T>, first: usize, panel: &mut [L]) {
    let columns = WIDTH.min(right.columns() - first);
    let mut block = [[0.0; WIDTH]; BLOCK];
    for (index, lines) in panel.chunks_mut(BLOCK).enumerate() {
        let (start, block) = (index * BLOCK, &mut block[..lines.len()]);
        if right.has_rows_together() {
            for (k, line) in block.iter_mut().enumerate() {
                let row = &right.from(start + k, first)[..columns];
                for (value, number) in line.iter_mut().zip(row) {
                    *value = L::factor(*number);
                }
            }
        } else {
            for column in 0..columns {
                for (k, line) in block.iter_mut().enumerate() {
                    line[column] = L::factor(right.from(start + k, first + column)[0]);
                }
            }
        }
        for (line, columns) in lines.iter_mut().zip(block) {
            *line = L::of(columns);
        }
    }
}

/// The left factor by tiles of so many rows, in each the factors of column after column.
fn tiles<L: Line>(a: Matrix<'_>) -> Vec<f32> {
    let terms = a.columns();
    let mut factors = unwritten(a.rows() * terms);
    for_rows(Threads::Rayon, &mut factors, TILE * terms, |index, tile| {
        wide(
            #[inline(always)]
            || lay_out_tile::<L>(a, index * TILE, tile),
        );
    });
    factors
}

/// The rows from `first` on as a tile.
#[inline(always)]
fn lay_out_tile<L: Line>(a: Matrix<'_>, first: usize, tile: &mut [f32]) {
    let (terms, count) = (a.columns(), tile.len() / a.columns());
    let (whole, _) = tile.as_chunks_mut::<TILE>();
    if count == TILE && a.has_rows_together() {
        let rows: [&[f32]; TILE] = std::array::from_fn(|i| &a.from(first + i, 0)[..terms]);
        for (k, column) in whole.iter_mut().enumerate() {
            for (value, row) in column.iter_mut().zip(rows) {
                *value = L::factor(row[k]);
            }
        }
        return;
    }
    for i in 0..count {
        for (k, value) in tile[i..].iter_mut().step_by(count).enumerate() {
            *value = L::factor(a.from(first + i, k)[0]);
        }
    }
}

/// Tiles of a left factor by a panel, into the columns of it.
struct Product<'a, L> {
    left: &'a [f32],
    panel: &'a [L],
    out: Strip<'a>,
}

impl<L: Line> WithSimd for Product<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let terms = self.panel.len();
        for (index, left) in self.left.chunks(TILE * terms).enumerate() {
            let row = index * TILE;
            match left.len() / terms {
                1 => self.few::<1, S>(simd, left, row),
                2 => self.few::<2, S>(simd, left, row),
                3 => self.tile::<3, 1, S>(simd, left, row),
                4 => self.tile::<4, 1, S>(simd, left, row),
                5 => self.tile::<5, 1, S>(simd, left, row),
                _ => self.tile::<TILE, 1, S>(simd, left, row),
            }
        }
    }
}

impl<L: Line> Product<'_, L> {
    /// So few rows that there are registers for twice the columns: where they are narrow, the panel is then read from
    /// memory all the time, and not half of it.
    #[inline(always)]
    fn few<const ROWS: usize, S: Simd>(&mut self, simd: S, left: &[f32], row: usize) {
        match 2 * S::F32_LANES <= HALF {
            true => self.tile::<ROWS, 2, S>(simd, left, row),
            false => self.tile::<ROWS, 1, S>(simd, left, row),
        }
    }

    /// Rows of the result from `row` on, as many columns of either half at a time as `WIDE` registers hold.
    #[inline(always)]
    fn tile<const ROWS: usize, const WIDE: usize, S: Simd>(
        &mut self,
        simd: S,
        left: &[f32],
        row: usize,
    ) {
        let factors = left.as_chunks::<ROWS>().0.iter().zip(self.panel);
        for first in (0..HALF).step_by(WIDE * S::F32_LANES) {
            let mut sums = [[[simd.splat_f32s(0.0); 2]; WIDE]; ROWS];
            for (x, line) in factors.clone() {
                let mut y = [[simd.splat_f32s(0.0); 2]; WIDE];
                for (at, y) in y.iter_mut().enumerate() {
                    *y = line.halves(simd, first + at * S::F32_LANES);
                }
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = simd.splat_f32s(*x);
                    for (sums, y) in sums.iter_mut().zip(y) {
                        // Not `mul_add`, which calls a function where the processor has no such instruction.
                        sums[0] = simd.mul_add_e_f32s(x, y[0], sums[0]);
                        sums[1] = simd.mul_add_e_f32s(x, y[1], sums[1]);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                let line = self.out.line(row + i);
                for (at, sums) in sums.into_iter().enumerate() {
                    let start = first + at * S::F32_LANES;
                    store::<S>(line, start, sums[0]);
                    store::<S>(line, HALF + start, sums[1]);
                }
            }
        }
    }
}

/// What of a register there is room for, from column `start` on.
#[inline(always)]
fn store<S: Simd>(line: &mut [f32], start: usize, numbers: S::f32s) {
    if let Some(line) = line.get_mut(start..start + S::F32_LANES) {
        S::as_mut_simd_f32s(line).0[0] = numbers;
        return;
    }
    let mut whole = [0.0; HALF];
    S::as_mut_simd_f32s(&mut whole).0[0] = numbers;
    for (number, value) in line.iter_mut().skip(start).zip(whole) {
        *number = value;
    }
}

#[cfg(test)]
mod tests {
    use super::super::bf16::tests::{matrix, numbers};
    use super::*;

    fn of(panels: &Panels, number: f32) -> f64 {
        f64::from(match panels.lines {
            Lines::F32(_) => number,
            Lines::Bf16(_) => number.rounded(),
        })
    }

    /// For products in f32, and in bf16.
    fn both(right: Matrix<'_>) -> [Panels; 2] {
        [false, true].map(|rounded| Panels::new(right, rounded))
    }

    /// By this processor, on as many threads as it is worth, and by registers of 1, 4, 8 and 16 numbers.
    fn products(a: Matrix<'_>, b: &Panels) -> Vec<Vec<f32>> {
        fn narrow<L: Line, S: Simd>(
            simd: S,
            a: Matrix<'_>,
            lines: &[L],
            columns: usize,
        ) -> Vec<f32> {
            let left = tiles::<L>(a);
            let mut out = vec![f32::NAN; a.rows() * columns];
            let strips = Strip::all(&mut out, columns, [a.rows(), columns]);
            for (out, panel) in strips.into_iter().zip(lines.chunks(a.columns())) {
                Product {
                    left: &left,
                    panel,
                    out,
                }
                .with_simd(simd);
            }
            out
        }
        fn all<L: Line>(a: Matrix<'_>, lines: &[L], columns: usize) -> Vec<Vec<f32>> {
            vec![
                narrow(pulp::Scalar, a, lines, columns),
                narrow(pulp::Scalar128b, a, lines, columns),
                narrow(pulp::Scalar256b, a, lines, columns),
                narrow(pulp::Scalar512b, a, lines, columns),
            ]
        }
        let mut out = match &b.lines {
            Lines::F32(lines) => all(a, lines, b.columns),
            Lines::Bf16(lines) => all(a, lines, b.columns),
        };
        let mut chosen = vec![f32::NAN; a.rows() * b.columns];
        multiply(&mut chosen, a, b);
        out.push(chosen);
        out
    }

    #[test]
    fn every_shape_is_multiplied_whichever_way_round_it_lies() {
        let shapes = [
            [1, 1, 1],
            [1, 32, 32],
            [2, 63, 17],
            [3, 64, 31],
            [4, 65, 33],
            [5, 129, 48],
            [6, 2, 200],
            [13, 100, 129],
            // More rows than are multiplied at once, more than one thread is to do.
            [300, 70, 100],
        ];
        for ([m, k, n], turned) in shapes.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let (a, b) = (numbers(m * k, 3), numbers(k * n, 5));
            let (a, b) = (matrix(&a, [m, k], turned), matrix(&b, [k, n], turned));
            for panels in both(b) {
                for out in products(a, &panels) {
                    for (at, found) in out.into_iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let number = |x: &[f32]| of(&panels, x[0]);
                        let exact: f64 = (0..k)
                            .map(|t| number(a.from(i, t)) * number(b.from(t, j)))
                            .sum();
                        let off = (f64::from(found) - exact).abs();
                        let bound = 1e-6 * (k as f64).sqrt() + 1e-6;
                        assert!(off < bound, "{:?} {turned}: {found}, {exact}", [m, k, n]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_alone_and_among_others() {
        let [m, k, n] = [270, 200, 300];
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 5));
        let a = matrix(&a, [m, k], false);
        for panels in both(matrix(&b, [k, n], true)) {
            let mut whole = vec![f32::NAN; m * n];
            multiply(&mut whole, a, &panels);
            for (i, row) in whole.chunks(n).enumerate() {
                let mut alone = vec![f32::NAN; n];
                multiply(&mut alone, a.narrow(i, 1), &panels);
                assert_eq!(alone, row, "{i}");
            }
        }
    }

    #[test]
    fn what_is_held_in_bf16_is_taken_as_it_is_and_what_is_no_number_stays_none() {
        let halves = [1.5f32, -2.0].map(burn::tensor::bf16::from_f32);
        for rounded in [false, true] {
            let panels = Panels::new(Matrix::new(&halves, 1, 2, 2), rounded);
            for (x, expected) in [
                (3.0, [4.5, -6.0]),
                (f32::INFINITY, [f32::INFINITY, -f32::INFINITY]),
            ] {
                let mut out = [f32::NAN; 2];
                multiply(&mut out, Matrix::new(&[x], 1, 1, 1), &panels);
                assert_eq!(out, expected);
            }
        }
        for panels in both(Matrix::new(&[f32::NAN, 1.0], 1, 2, 2)) {
            let mut out = [0.0; 2];
            multiply(&mut out, Matrix::new(&[1.0], 1, 1, 1), &panels);
            assert!(out[0].is_nan() && out[1] == 1.0, "{out:?}");
        }
    }

    #[test]
    fn a_sum_of_nothing_is_zero_and_other_shapes_are_refused() {
        for panels in both(Matrix::new(&[0.0; 0], 0, 2, 2)) {
            let mut out = [1.0, 2.0];
            multiply(&mut out, Matrix::new(&[0.0; 0], 1, 0, 0), &panels);
            assert_eq!(out, [0.0, 0.0]);
        }
        for panels in both(Matrix::new(&[1.0, 1.0], 2, 1, 1)) {
            multiply(&mut [], Matrix::new(&[0.0; 0], 0, 2, 2), &panels);
            for (mut out, width) in [(vec![0.0], 3), (vec![0.0; 2], 2)] {
                let product =
                    || multiply(&mut out, Matrix::new(&[1.0; 3], 1, width, width), &panels);
                let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(product));
                assert!(refused.is_err());
            }
        }
    }
}
