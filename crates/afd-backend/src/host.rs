//! Loops over numbers on the host, compiled for several generations of processors and chosen at run time.
//!
//! Each is plain Rust in a closure that [`wide`] runs (`wide(#[inline(always)] || max(x))`); sums and maxima go by lanes, because the
//! compiler may not reorder additions of its own. [`Threads`] says whose threads run the pieces of a long one.

#[cfg(any(feature = "flex", feature = "libtorch"))]
mod number;
mod threads;

use pulp::Arch;

#[cfg(any(feature = "flex", feature = "libtorch"))]
pub(crate) use number::Number;
pub use threads::{Threads, join_rayon};

/// Accumulators of a sum: two registers of the widest kind.
const LANES: usize = 32;

/// Numbers below which threads cost more than they bring.
#[cfg(any(feature = "flex", feature = "libtorch"))]
const WORTH_THREADS: usize = 16 * 1024;

/// Runs a closure with the widest registers this processor has.
///
/// The closure must be `#[inline(always)]`: one that is called and not inlined is compiled once, for the narrowest.
#[inline(always)]
pub fn wide<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// `work(i, row i)` for rows of `width` numbers of `out`, several at once where there are many.
#[cfg(any(feature = "flex", feature = "libtorch"))]
pub(crate) fn for_rows<T: Send>(
    threads: Threads,
    out: &mut [T],
    width: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if width == 0 {
        return;
    }
    let rows = (WORTH_THREADS / width).max(1);
    let block = |index: usize, block: &mut [T]| {
        for (i, row) in block.chunks_mut(width).enumerate() {
            work(index * rows + i, row);
        }
    };
    match out.len() <= WORTH_THREADS {
        true => block(0, out),
        false => threads.for_each(out.chunks_mut(rows * width), block),
    }
}

/// `e^x` to 2 units in the last place for `x ≤ 88`; exactly 0 below −87, so that no denormal, which
/// processors are slow on, comes of it.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5·2²³: adding it rounds to a whole number, which then stands in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    // ln 2 in two parts, so that the product with `n` is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.0e-1;
    let e = (p * r * r + r) + 1.0;
    let scale = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) << 23;
    let value = f32::from_bits(e.to_bits().wrapping_add(scale));
    if x < -87.0 { 0.0 } else { value }
}

/// The largest; −∞ of none.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b))
}

/// `Σ f(a, b)` over two slices of one length.
#[inline(always)]
pub fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *lane += f(*a, *b);
    }
    total(lanes)
}

/// By halves, so that the sum is rounded five times and not once for each lane.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
        half /= 2;
    }
    lanes[0]
}

/// Puts `f(x)` in the place of each `x` and returns the sum of all.
#[inline(always)]
pub fn map_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = f(*x);
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = f(*x);
        *lane += *x;
    }
    total(lanes)
}

/// `log Σ e^x`.
#[inline(always)]
pub fn log_sum_exp(x: &[f32]) -> f32 {
    let max = max(x);
    max + sum_pairs(x, x, |x, _| exp(x - max)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feature of pulp's for each generation has to be asked for; without one, its processors get what the first
    /// had.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn processors_with_avx2_or_avx_512_are_compiled_for() {
        let wide = matches!(Arch::new(), Arch::V3(_) | Arch::V4(_));
        assert_eq!(wide, pulp::x86::V3::try_new().is_some());
    }

    #[test]
    fn exp_is_the_exponential() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let found = f64::from(wide(
                #[inline(always)]
                || exp(x),
            ));
            assert!((found / exact - 1.0).abs() < 3e-7, "{x}: {found}, {exact}");
        }
        for x in [-87.1, -1e9, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0);
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_of_any_length_on_paper() {
        for n in [0, 1, 31, 32, 33, 100] {
            let mut x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let last = n as f32 - 1.0;
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { last });
            let squares = sum_pairs(&x, &x, |a, b| a * b);
            assert_eq!(squares, (0..n).map(|i| (i * i) as f32).sum::<f32>());
            assert_eq!(map_sum(&mut x, |x| x + 1.0), (1..=n).sum::<usize>() as f32);
            assert!(x.iter().enumerate().all(|(i, x)| *x == i as f32 + 1.0));
        }
        let uniform = [0.5f32; 70];
        assert!((log_sum_exp(&uniform) - 0.5 - 70f32.ln()).abs() < 1e-6);
    }

    #[cfg(any(feature = "flex", feature = "libtorch"))]
    #[test]
    fn rows_are_visited_once_however_many() {
        for threads in threads::pools() {
            for rows in [0, 1, 3, 5000] {
                let mut out = vec![0.0; rows * 7];
                for_rows(threads, &mut out, 7, |i, row| {
                    row.iter_mut().for_each(|x| *x += i as f32)
                });
                assert!(out.iter().enumerate().all(|(at, x)| *x == (at / 7) as f32));
            }
        }
    }
}
