//! AdamW against its definition.

use afd_backend::{
    device::test_device,
    ops::{AdamW, Moving},
};

use burn::Tensor;

use crate::reference::{draw, generator, host, tensor};

const OPTIONS: AdamW = AdamW {
    beta_1: 0.75,
    beta_2: 0.9375,
    epsilon: 0.0078125,
    weight_decay: 0.5,
};

/// Some steps on `weights`, each with a gradient of its own, one number at a time.
fn by_definition(weights: &[f64], gradients: &[Vec<f64>], rate: f64) -> Vec<f64> {
    let (b1, b2) = (f64::from(OPTIONS.beta_1), f64::from(OPTIONS.beta_2));
    let one = |(i, weight): (usize, &f64)| {
        let (mut w, mut m, mut v) = (*weight, 0.0, 0.0);
        for (step, gradient) in gradients.iter().enumerate() {
            let time = step as i32 + 1;
            m = b1 * m + (1.0 - b1) * gradient[i];
            v = b2 * v + (1.0 - b2) * gradient[i].powi(2);
            let root = (v / (1.0 - b2.powi(time))).sqrt() + f64::from(OPTIONS.epsilon);
            w = w * (1.0 - rate * f64::from(OPTIONS.weight_decay))
                - rate * m / (1.0 - b1.powi(time)) / root;
        }
        w
    };
    weights.iter().enumerate().map(one).collect()
}

/// Weights that lie otherwise than they are counted take another way on libtorch, as those on a GPU do; and a step of
/// no length changes the moments alone.
#[test]
fn steps_of_a_transposed_tensor_and_of_no_length() {
    let device = test_device();
    let mut rng = generator(7);
    let weights = draw(&mut rng, 12, 1.0);
    let gradients: Vec<_> = (0..3).map(|_| draw(&mut rng, 12, 1.0)).collect();
    let turned = |values: &[f64]| tensor(values, &device).reshape([3, 4]).swap_dims(0, 1);
    let zeros = vec![0.0; 12];
    let mut moving = Moving {
        weight: turned(&weights),
        moment_1: turned(&zeros),
        moment_2: turned(&zeros),
    };
    for (step, gradient) in gradients.iter().enumerate() {
        moving = OPTIONS.step(moving, turned(gradient), 0.125, step as i32 + 1);
    }
    let expected = by_definition(&weights, &gradients, 0.125);
    let back = |found: Tensor<2>| host(found.swap_dims(0, 1).reshape([12]));
    let found = back(moving.weight.clone());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
    }
    let moments = back(moving.moment_1.clone());
    let after = OPTIONS.step(moving, turned(&gradients[0]), 0.0, 4);
    assert_eq!(back(after.weight), found);
    assert_ne!(back(after.moment_1), moments);
}

/// The last has more numbers than one thread takes at a time.
#[test]
fn steps_of_tensors_of_any_size() {
    let device = test_device();
    for count in [1, 6, 40_000] {
        let mut rng = generator(count as u64);
        let weights = draw(&mut rng, count, 1.0);
        let gradients: Vec<_> = (0..3).map(|_| draw(&mut rng, count, 1.0)).collect();
        let first = tensor(&weights, &device);
        let mut moving = Moving {
            weight: first.clone(),
            moment_1: first.zeros_like(),
            moment_2: first.zeros_like(),
        };
        for (step, gradient) in gradients.iter().enumerate() {
            let gradient = tensor(gradient, &device);
            moving = OPTIONS.step(moving, gradient.clone(), 0.125, step as i32 + 1);
            assert_eq!(
                host(gradient),
                gradients[step],
                "the gradient is left alone"
            );
        }
        let expected = by_definition(&weights, &gradients, 0.125);
        for (found, expected) in host(moving.weight).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
        // Somebody held the weights, which are therefore as they were.
        assert_eq!(host(first), weights);
    }
}
