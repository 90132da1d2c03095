//! Both ways against sums in f64 of the rounded numbers.

use super::*;

/// Numbers that bf16 cannot hold, of all sizes and signs.
pub(in super::super) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

fn kept(x: f32) -> f64 {
    f64::from(f32::from_bits(u32::from(x.to_bf16()) << 16))
}

/// A matrix of this shape, whichever way round it lies.
pub(in super::super) fn matrix(values: &[f32], shape: [usize; 2], transposed: bool) -> Matrix<'_> {
    let strides = if transposed {
        [1, shape[0]]
    } else {
        [shape[1], 1]
    };
    Matrix::strided(values, shape, strides)
}

/// The factor as `gemm` takes it, and as this processor does.
fn all(right: Matrix<'_>) -> Vec<Weights> {
    vec![Weights::rounded(right), Weights::new(right)]
}

#[test]
fn every_shape_is_multiplied_whichever_way_round_it_lies() {
    let shapes = [
        [1, 1, 1],
        [1, 32, 32],
        [16, 33, 17],
        [17, 64, 32],
        [33, 31, 70],
        [48, 100, 129],
        [5, 2, 200],
        // Factors that are laid out by several threads, by groups that eight does not divide.
        [300, 256, 300],
    ];
    for ([m, k, n], turned) in shapes
        .into_iter()
        .flat_map(|shape| [(shape, false), (shape, true)])
    {
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 5));
        let (a, b) = (matrix(&a, [m, k], turned), matrix(&b, [k, n], turned));
        for weights in all(b) {
            for keep in [false, true] {
                let row = n + 3;
                let before = numbers(m * row, 7);
                let mut out = before.clone();
                multiply(&mut out, row, keep, a, &weights);
                for (at, found) in out.iter().enumerate() {
                    let (i, j) = (at / row, at % row);
                    if j >= n {
                        assert_eq!(*found, before[at], "written beside {:?}", [m, k, n]);
                        continue;
                    }
                    let term = |t| kept(a.from(i, t)[0]) * kept(b.from(t, j)[0]);
                    let start = if keep { f64::from(before[at]) } else { 0.0 };
                    let exact = start + (0..k).map(term).sum::<f64>();
                    let off = (f64::from(*found) - exact).abs();
                    let bound = 1e-6 * (k as f64).sqrt() + 1e-6;
                    assert!(
                        off < bound,
                        "{:?} {turned} {keep}: {found}, {exact}",
                        [m, k, n]
                    );
                }
            }
        }
    }
}

#[test]
fn many_threads_write_what_one_does() {
    let [m, k, n] = [200, 256, 1000];
    let (a, b) = (numbers(m * k, 3), numbers(k * n, 5));
    let a = matrix(&a, [m, k], false);
    for weights in all(matrix(&b, [k, n], true)) {
        // Ten rows are too few for threads.
        let (mut whole, mut part) = (vec![0.0; m * n], vec![0.0; 10 * n]);
        multiply(&mut whole, n, false, a, &weights);
        for start in (0..m).step_by(10) {
            multiply(&mut part, n, false, a.narrow(start, 10), &weights);
            assert_eq!(part, whole[start * n..(start + 10) * n]);
        }
    }
}

#[test]
fn a_sum_of_nothing_is_zero_and_what_is_stored_in_bf16_is_taken_as_it_is() {
    let none = Matrix::new(&[0.0f32; 0], 0, 2, 2);
    for weights in all(none) {
        let mut out = [1.0, 2.0];
        let left = Matrix::new(&[0.0f32; 0], 1, 0, 0);
        multiply(&mut out, 2, true, left, &weights);
        assert_eq!(out, [1.0, 2.0]);
        multiply(&mut out, 2, false, left, &weights);
        assert_eq!(out, [0.0, 0.0]);
    }
    let halves = [1.5f32, -2.0].map(burn::tensor::bf16::from_f32);
    let halves = Matrix::new(&halves, 1, 2, 2);
    for weights in [Weights::new(halves), Weights::rounded(halves)] {
        let mut out = [0.0, 0.0];
        multiply(
            &mut out,
            2,
            false,
            Matrix::new(&[3.0f32], 1, 1, 1),
            &weights,
        );
        assert_eq!(out, [4.5, -6.0]);
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for weights in all(Matrix::new(&[1.0f32, 1.0], 2, 1, 1)) {
        let mut out = [0.0];
        let left = Matrix::new(&[f32::NAN, 1.0], 1, 2, 2);
        multiply(&mut out, 1, false, left, &weights);
        assert!(out[0].is_nan());
    }
}

#[test]
fn a_factor_of_another_shape_is_refused() {
    for weights in all(Matrix::new(&[1.0f32, 1.0], 2, 1, 1)) {
        let product = || {
            multiply(
                &mut [0.0],
                1,
                false,
                Matrix::new(&[1.0f32; 3], 1, 3, 3),
                &weights,
            )
        };
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(product));
        assert!(refused.is_err());
    }
}
