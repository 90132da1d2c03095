//! An operation on the device against the same operation one number at a time in f64.

use afd_backend::device::{supports, test_device};
use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Largest difference from the reference, as a share of the largest number of the result, or
/// of 1 where that is smaller, inputs being of size 1.
///
/// Numbers in f32 are off by 6e-8 of their size, sums of the some fifty products of these
/// shapes by several times that.
const TOLERANCE: f64 = 1e-5;

/// Half the distance over which derivatives are taken: where a function is smooth over lengths
/// of 1e-2 and more, they are right to eight digits.
const STEP: f64 = 1e-5;

/// The generator of a test's numbers.
pub(crate) fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Numbers between `−scale` and `scale` that f32 holds exactly, so that device and reference
/// start from the same.
pub(crate) fn draw(rng: &mut ChaCha8Rng, count: usize, scale: f32) -> Vec<f64> {
    let number = |_| f64::from(rng.random_range(-scale..scale));
    (0..count).map(number).collect()
}

/// Whole numbers between `−largest` and `largest`, whose products and sums are exact in f32.
pub(crate) fn draw_whole(rng: &mut ChaCha8Rng, count: usize, largest: i32) -> Vec<f64> {
    let number = |_| f64::from(rng.random_range(-largest..=largest));
    (0..count).map(number).collect()
}

/// Checks `op` at `inputs` against `reference`, which takes and gives the same numbers in the
/// same order: its value without and with automatic differentiation, and its gradient with
/// respect to every input.
///
/// The derivative taken is that of a sum of the result with weights drawn at random, so every
/// number of the result counts.
pub(crate) fn check<const N: usize>(
    what: &str,
    inputs: &[Vec<f64>; N],
    op: impl Fn([Tensor<1>; N]) -> Tensor<1>,
    reference: impl Fn(&[Vec<f64>; N]) -> Vec<f64>,
) {
    let plain = test_device();
    let expected = reference(inputs);
    let tensors = |device| inputs.each_ref().map(|values| tensor(values, device));
    assert_close(&format!("{what}, value"), op(tensors(&plain)), &expected);

    let tracked = tensors(&plain.clone().autodiff()).map(Tensor::require_grad);
    let value = op(tracked.clone());
    let tracked_value = value.clone().inner();
    assert_close(&format!("{what}, tracked value"), tracked_value, &expected);

    let weights = draw(&mut generator(expected.len() as u64), expected.len(), 1.0);
    let gradients = (value * tensor(&weights, &plain)).sum().backward();
    let sum = |inputs: &[Vec<f64>; N]| -> f64 {
        let terms = reference(inputs);
        terms.iter().zip(&weights).map(|(term, w)| term * w).sum()
    };
    for (index, input) in tracked.iter().enumerate() {
        assert_close(
            &format!("{what}, gradient of input {index}"),
            input.grad(&gradients).unwrap(),
            &derivative(inputs, index, sum),
        );
    }
}

/// Checks the value of `op` in every type of 16 bits this device computes in, at inputs which that
/// type holds exactly; `op` is told the type and gives f32.
///
/// bf16 keeps 8 digits of a number and f16 11: an operation that rounds its intermediate results
/// to them is off by a few units of the last.
pub(crate) fn check_halves<const N: usize>(
    what: &str,
    inputs: &[Vec<f64>; N],
    op: impl Fn([Tensor<1>; N], FloatDType) -> Tensor<1>,
    reference: impl Fn(&[Vec<f64>; N]) -> Vec<f64>,
) {
    let device = test_device();
    for (dtype, digits) in [(FloatDType::BF16, 8), (FloatDType::F16, 11)] {
        if supports(&device, dtype).is_err() {
            continue;
        }
        let tensors = inputs
            .each_ref()
            .map(|values| tensor(values, &device).cast(dtype));
        let exact = tensors.each_ref().map(|values| host(values.clone()));
        let found = host(op(tensors, dtype).cast(FloatDType::F32));
        let expected = reference(&exact);
        assert_eq!(found.len(), expected.len(), "{what}");
        let size = expected.iter().fold(1.0, |size: f64, e| size.max(e.abs()));
        let tolerance = 4.0 * size / f64::from(1 << digits);
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "{what} in {dtype:?}, number {index}: {found}, by definition {expected}"
            );
        }
    }
}

/// A tensor of numbers that f32 holds exactly.
pub(crate) fn tensor(values: &[f64], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// A tensor's numbers on the host.
pub(crate) fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// `∂f/∂inputs[index]` by central differences.
fn derivative<const N: usize>(
    inputs: &[Vec<f64>; N],
    index: usize,
    f: impl Fn(&[Vec<f64>; N]) -> f64,
) -> Vec<f64> {
    let mut moved = inputs.clone();
    let mut at = |n: usize, value: f64| {
        moved[index][n] = value;
        f(&moved)
    };
    let slope = |(n, &value): (usize, &f64)| {
        let slope = (at(n, value + STEP) - at(n, value - STEP)) / (2.0 * STEP);
        at(n, value);
        slope
    };
    inputs[index].iter().enumerate().map(slope).collect()
}

fn assert_close(what: &str, found: Tensor<1>, expected: &[f64]) {
    let found = host(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0, |size: f64, e| size.max(e.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE * size,
            "{what}, number {index}: {found}, by definition {expected}"
        );
    }
}

#[test]
fn derivatives_are_those_on_paper() {
    // f = x²y: 2xy and x² at (3, −2).
    let at = [vec![3.0], vec![-2.0]];
    let f = |x: &[Vec<f64>; 2]| x[0][0] * x[0][0] * x[1][0];
    assert!((derivative(&at, 0, f)[0] + 12.0).abs() < 1e-8);
    assert!((derivative(&at, 1, f)[0] - 9.0).abs() < 1e-8);
}

#[test]
#[should_panic(expected = "gradient of input 1")]
fn a_wrong_gradient_is_seen() {
    let inputs = [vec![1.0, 2.0], vec![3.0, 4.0]];
    let product = |x: &[Vec<f64>; 2]| x[0].iter().zip(&x[1]).map(|(a, b)| a * b).collect();
    // The same value, without a derivative with respect to the second factor's second half.
    let op = |[a, b]: [Tensor<1>; 2]| a * (b.clone().mul_scalar(0.5) + b.detach().mul_scalar(0.5));
    check("product", &inputs, op, product);
}
