//! The gate of SwiGLU against its definition.

use afd_backend::{
    device::{supports, test_device},
    ops::swiglu,
};
use burn::{Tensor, tensor::FloatDType};

use crate::reference::{check, check_halves, draw, generator, host, tensor};

fn by_definition([gate, up]: &[Vec<f64>; 2]) -> Vec<f64> {
    let both = gate.iter().zip(up);
    both.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

#[test]
fn numbers_of_every_size() {
    // The last are more than a thread takes at a time.
    for (count, scale) in [(1, 2.0), (7, 2.0), (100, 20.0), (4100, 2.0)] {
        let mut rng = generator(count as u64);
        let inputs = [draw(&mut rng, count, scale), draw(&mut rng, count, 2.0)];
        let what = format!("swiglu of {count} numbers up to {scale}");
        check(&what, &inputs, |[gate, up]| swiglu(gate, up), by_definition);
    }
}

#[test]
fn a_gate_far_open_lets_through_and_one_far_shut_does_not() {
    check(
        "swiglu of extremes",
        &[vec![-200.0, -90.0, 0.0, 90.0, 200.0], vec![3.0; 5]],
        |[gate, up]| swiglu(gate, up),
        by_definition,
    );
}

#[test]
fn in_16_bits() {
    let mut rng = generator(5);
    let inputs = [draw(&mut rng, 4100, 5.0), draw(&mut rng, 4100, 2.0)];
    let op = |[gate, up]: [_; 2], _| swiglu(gate, up);
    check_halves("swiglu in 16 bits", &inputs, op, by_definition);
}

/// Of numbers that bf16 holds. A composition rounds each of some eight operations, by half a unit of the last place or,
/// where it takes differences, of a larger one.
#[test]
fn gradients_in_bf16_are_those_in_f32() {
    if supports(&test_device(), FloatDType::BF16).is_err() {
        return;
    }
    let device = test_device().autodiff();
    let mut rng = generator(6);
    let [gate, up, weights] = [5.0, 2.0, 2.0].map(|scale| draw(&mut rng, 4100, scale));
    let gradients = |dtype: FloatDType| {
        let held = |values: &[f64]| tensor(values, &device).cast(FloatDType::BF16).cast(dtype);
        let [gate, up] = [&gate, &up].map(|values| held(values).detach().require_grad());
        let y = swiglu(gate.clone(), up.clone()) * held(&weights);
        let gradients = y.sum().backward();
        [gate, up].map(|of| host(of.grad(&gradients).unwrap().cast(FloatDType::F32)))
    };
    let (rounded, exact) = (gradients(FloatDType::BF16), gradients(FloatDType::F32));
    for (rounded, exact) in rounded.iter().flatten().zip(exact.iter().flatten()) {
        let tolerance = 8.0 / 256.0 * exact.abs().max(1.0);
        assert!((rounded - exact).abs() <= tolerance, "{rounded}, {exact}");
    }
}

/// More numbers than one thread takes.
#[test]
fn many_numbers_are_as_they_are_in_parts() {
    const PART: usize = 10_000;
    let device = test_device().autodiff();
    let mut rng = generator(7);
    let [gate, up, gradient] = [5.0, 2.0, 1.0].map(|scale| draw(&mut rng, 4 * PART, scale));
    let of = |at: std::ops::Range<usize>| {
        let part = |of: &[f64]| tensor(&of[at.clone()], &device);
        let (gate, up) = (part(&gate).require_grad(), part(&up).require_grad());
        let y = swiglu(gate.clone(), up.clone());
        let gradients = (y.clone() * part(&gradient)).sum().backward();
        let of = |x: Tensor<1>| host(x.grad(&gradients).unwrap());
        [host(y.inner()), of(gate), of(up)]
    };
    let whole = of(0..4 * PART);
    for start in (0..4 * PART).step_by(PART) {
        for (whole, part) in whole.iter().zip(of(start..start + PART)) {
            let both = whole[start..start + PART].iter().zip(part);
            both.for_each(|(whole, part)| assert!((whole - part).abs() < 1e-5, "{whole}, {part}"));
        }
    }
}
