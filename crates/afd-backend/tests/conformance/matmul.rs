//! Products with weights, in every type the device computes in, of whole numbers, which every type holds.

use afd_backend::{
    device::{supports, test_device},
    ops::{PackedWeight, activation_dtype, matmul},
};
use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};

use crate::reference::{draw_whole, generator, host, tensor};

/// `[M, K, N]`; the last is more than a thread takes.
const SHAPES: [[usize; 3]; 4] = [[1, 1, 1], [3, 33, 17], [40, 70, 35], [130, 129, 260]];

fn dtypes() -> Vec<FloatDType> {
    let all = [FloatDType::F32, FloatDType::BF16, FloatDType::F16].into_iter();
    all.filter(|dtype| supports(&test_device(), *dtype).is_ok())
        .collect()
}

fn matrix(values: &[f64], rows: usize, device: &Device) -> Tensor<2> {
    tensor(values, device).reshape([rows, values.len() / rows])
}

/// `a · b` of `[M, K]` and `[K, N]`, or with either transposed before.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3], turned: [bool; 2]) -> Vec<f64> {
    let a = |i: usize, t: usize| {
        if turned[0] {
            a[t * m + i]
        } else {
            a[i * k + t]
        }
    };
    let b = |t: usize, j: usize| {
        if turned[1] {
            b[j * k + t]
        } else {
            b[t * n + j]
        }
    };
    (0..m * n)
        .map(|at| (0..k).map(|t| a(at / n, t) * b(t, at % n)).sum())
        .collect()
}

#[test]
fn values_and_gradients() {
    let plain = test_device();
    for ([m, k, n], dtype) in SHAPES
        .iter()
        .flat_map(|s| dtypes().into_iter().map(|d| (*s, d)))
    {
        let mut rng = generator((m + n) as u64);
        // Sums stay below 256, up to which bf16 holds every whole number, where the result is of that type.
        let mut numbers = |count| draw_whole(&mut rng, count, 1);
        let (x, w, g) = (numbers(m * k), numbers(k * n), numbers(m * n));
        let tracked = plain.clone().autodiff();
        let x_on = matrix(&x, m, &tracked).require_grad();
        let w_on = matrix(&w, k, &tracked).require_grad();
        let y = matmul(x_on.clone(), w_on.clone(), dtype);
        assert_eq!(y.dtype(), activation_dtype(&plain, dtype).into());
        let exact = product(&x, &w, [m, k, n], [false, false]);
        assert_eq!(host(y.clone().inner()), exact, "{dtype:?} {:?}", [m, k, n]);
        let weighted = y.cast(FloatDType::F32) * matrix(&g, m, &plain).autodiff();
        let gradients = weighted.sum().backward();
        let of_x = host(x_on.grad(&gradients).unwrap());
        let of_w = host(w_on.grad(&gradients).unwrap());
        assert_eq!(of_x, product(&g, &w, [m, n, k], [false, true]), "{dtype:?}");
        assert_eq!(of_w, product(&x, &g, [k, m, n], [true, false]), "{dtype:?}");
    }
}

#[test]
fn a_weight_laid_out_before_gives_the_same_whichever_way_round_and_in_whichever_type_it_is_held() {
    let device = test_device();
    for ([m, k, n], dtype) in SHAPES
        .iter()
        .flat_map(|s| dtypes().into_iter().map(|d| (*s, d)))
    {
        let mut rng = generator((m + n) as u64);
        let mut numbers = |count| draw_whole(&mut rng, count, 1);
        let x = matrix(&numbers(m * k), m, &device);
        let w = matrix(&numbers(k * n), k, &device);
        let turned = matrix(&host(w.clone().transpose()), n, &device).transpose();
        let exact = host(matmul(x.clone(), w.clone(), dtype));
        for w in [turned, w.clone().cast(dtype), w] {
            assert_eq!(host(matmul(x.clone(), w.clone(), dtype)), exact);
            if let Some(packed) = PackedWeight::new(w, dtype) {
                assert_eq!(host(packed.multiply(x.clone())), exact, "{dtype:?}");
            }
        }
    }
}

/// Half a unit of bf16's last place is lost in every factor, the gradient's too.
#[test]
fn factors_are_rounded() {
    if supports(&test_device(), FloatDType::BF16).is_err() {
        return;
    }
    let device = test_device().autodiff();
    let beyond = 1.0 + 2f64.powi(-9);
    let one = |value: f64| matrix(&[value], 1, &device).require_grad();
    for (x, w) in [(beyond, 1.0), (1.0, beyond)] {
        let (x, w) = (one(x), one(w));
        let y = matmul(x.clone(), w.clone(), FloatDType::BF16).cast(FloatDType::F32);
        assert_eq!(host(y.clone().inner()), [1.0]);
        let gradients = y.sum().backward();
        assert_eq!(host(x.grad(&gradients).unwrap()), [1.0]);
        assert_eq!(host(w.grad(&gradients).unwrap()), [1.0]);
    }
    let (x, w) = (one(1.0), one(1.0));
    let y = matmul(x.clone(), w, FloatDType::BF16).cast(FloatDType::F32);
    let gradients = y.mul_scalar(beyond).sum().backward();
    assert_eq!(host(x.grad(&gradients).unwrap()), [1.0]);
}
