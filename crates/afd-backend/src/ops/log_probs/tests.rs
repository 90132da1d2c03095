//! Log-probabilities and their gradients on paper, and against all logits at once.

use burn::{
    Tensor,
    tensor::{Device, Int, Tolerance, activation::log_softmax},
};

use super::{LOGITS, ROWS, chunks, token_log_probs, weighted_log_probs};
use crate::{device::test_device, ops::cap};

#[test]
fn on_paper() {
    // Logits (0, ln 3): probabilities 1/4 and 3/4.
    let device = test_device();
    let hidden = Tensor::<2>::from_data([[1.0], [1.0]], &device);
    let weight = Tensor::<2>::from_data([[0.0, 3f32.ln()]], &device);
    let targets = Tensor::<1, Int>::from_data([0, 1], &device);
    let y: Vec<f32> = token_log_probs(hidden, weight, targets, None)
        .into_data()
        .try_to_vec()
        .unwrap();
    assert!((y[0] - 0.25f32.ln()).abs() < 1e-6);
    assert!((y[1] - 0.75f32.ln()).abs() < 1e-6);
}

#[test]
fn gradients_on_paper() {
    // The same with gradients 2 and 1: rows of [target] − p are (3/4, −3/4) and (−1/4, 1/4).
    let device = test_device().autodiff();
    let hidden = Tensor::<2>::from_data([[1.0], [1.0]], &device).require_grad();
    let weight = Tensor::<2>::from_data([[0.0, 3f32.ln()]], &device).require_grad();
    let targets = Tensor::<1, Int>::from_data([0, 1], &device.clone().inner());
    let y = token_log_probs(hidden.clone(), weight.clone(), targets, None);
    let factors = Tensor::<1>::from_data([2.0, 1.0], &device);
    let gradients = (y * factors).sum().backward();
    let of_hidden = hidden.grad(&gradients).unwrap().into_data();
    let of_weight = weight.grad(&gradients).unwrap().into_data();
    let ln3 = 3f32.ln();
    let expected = Tensor::<2>::from_data([[-1.5 * ln3], [0.25 * ln3]], &test_device());
    of_hidden.assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
    let expected = Tensor::<2>::from_data([[1.25, -1.25]], &test_device());
    of_weight.assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
}

/// Numbers that look like chance, in `±1`.
fn numbers<const R: usize>(shape: [usize; R], salt: usize, device: &Device) -> Tensor<R> {
    let count: usize = shape.iter().product();
    let number = |i: usize| (((i + salt) * 7919 + salt * salt) % 1009) as f32 / 504.5 - 1.0;
    let values: Vec<f32> = (0..count).map(number).collect();
    Tensor::<1>::from_data(values.as_slice(), device).reshape(shape)
}

/// The same by Burn's operations, with all logits at once.
fn at_once(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
) -> Tensor<1> {
    log_softmax(cap(hidden.matmul(weight), softcap), 1)
        .gather(1, targets.unsqueeze_dim(1))
        .squeeze_dim::<1>(1)
}

#[test]
fn logits_alive_at_once_are_as_many_as_the_head_has_numbers_or_few() {
    let first = |head| chunks(10_000, head).next().unwrap();
    assert_eq!(first([64, 1 << 20]), (0, 64));
    assert_eq!(first([512, 1 << 20]), (0, ROWS));
    assert_eq!(first([64, 512]), (0, LOGITS / 512));
    let all: Vec<_> = chunks(700, [512, 1 << 20]).collect();
    assert_eq!(all, [(0, 256), (256, 256), (512, 188)]);
}

#[test]
fn values_and_gradients_are_those_of_all_logits_at_once() {
    let device = test_device().autodiff();
    // More rows than are worked on together, and a rest.
    let (n, width, vocab) = (ROWS + 3, 5, LOGITS / ROWS + 1);
    assert_eq!(chunks(n, [width, vocab]).count(), 2);
    let targets: Vec<i32> = (0..n).map(|i| (i * 31 % vocab) as i32).collect();
    let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &device.clone().inner());
    let factors = numbers([n], 3, &device);
    for softcap in [None, Some(1.5)] {
        for transposed in [false, true] {
            let of = |operation: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>| {
                let hidden = numbers([n, width], 1, &device).require_grad();
                // A tied head is the embedding turned around.
                let (own, head) = match transposed {
                    false => {
                        let own = numbers([width, vocab], 2, &device).require_grad();
                        (own.clone(), own)
                    }
                    true => {
                        let own = numbers([vocab, width], 2, &device).require_grad();
                        (own.clone(), own.transpose())
                    }
                };
                let y = operation(hidden.clone(), head);
                let gradients = (y.clone() * factors.clone()).sum().backward();
                [
                    y.inner().into_data(),
                    hidden.grad(&gradients).unwrap().into_data(),
                    own.grad(&gradients).unwrap().into_data(),
                ]
            };
            let ours = of(&|h, w| token_log_probs(h, w, targets.clone(), softcap));
            let reference = of(&|h, w| at_once(h, w, targets.clone(), softcap));
            for (ours, reference) in ours.iter().zip(&reference) {
                ours.assert_approx_eq::<f32>(reference, Tolerance::absolute(2e-5));
            }
            // The factors' sum is what the sum's gradient is then.
            let weights = factors.clone() / factors.clone().sum();
            let added = of(&|h, w| {
                weighted_log_probs(h, w, targets.clone(), weights.clone(), softcap).expand([n])
            });
            for (added, reference) in added[1..].iter().zip(&reference[1..]) {
                added.assert_approx_eq::<f32>(reference, Tolerance::absolute(2e-5));
            }
        }
    }
}

#[test]
fn a_weighted_sum_is_that_of_its_terms_tracked_or_not() {
    let plain = test_device();
    let targets = Tensor::<1, Int>::from_data([1, 0, 2], &plain);
    let factors = Tensor::<1>::from_data([0.5, 0.0, -2.0], &plain);
    let of = |device: &Device| {
        let (hidden, weight) = (numbers([3, 4], 1, device), numbers([4, 3], 2, device));
        let each = token_log_probs(hidden.clone(), weight.clone(), targets.clone(), None);
        let sum = weighted_log_probs(hidden, weight, targets.clone(), factors.clone(), None);
        let each: Vec<f32> = each.into_data().iter().collect();
        let sum: Vec<f32> = sum.into_data().iter().collect();
        assert_eq!(sum.len(), 1);
        assert!((sum[0] - (0.5 * each[0] - 2.0 * each[2])).abs() < 1e-6);
    };
    of(&plain);
    of(&plain.clone().autodiff());
}

#[test]
fn what_is_frozen_gets_no_gradient_and_costs_the_other_none() {
    let plain = test_device();
    let device = plain.clone().autodiff();
    let targets = Tensor::<1, Int>::from_data([1, 0, 2], &plain);
    let both = || (numbers([3, 4], 1, &device), numbers([4, 3], 2, &device));
    for weighted in [false, true] {
        let gradients = |hidden: Tensor<2>, weight: Tensor<2>| {
            let (h, w, targets) = (hidden.clone(), weight.clone(), targets.clone());
            let sum = match weighted {
                false => token_log_probs(h, w, targets, None).sum(),
                true => weighted_log_probs(h, w, targets, Tensor::ones([3], &plain), None),
            };
            let gradients = sum.backward();
            (hidden.grad(&gradients), weight.grad(&gradients))
        };
        let (hidden, weight) = both();
        let (of_hidden, of_weight) = gradients(hidden.require_grad(), weight.require_grad());
        let (hidden, weight) = both();
        let (alone, none) = gradients(hidden.require_grad(), weight.inner());
        assert!(none.is_none());
        alone
            .unwrap()
            .into_data()
            .assert_eq(&of_hidden.unwrap().into_data(), true);
        let (hidden, weight) = both();
        let (none, alone) = gradients(hidden.inner(), weight.require_grad());
        assert!(none.is_none());
        alone
            .unwrap()
            .into_data()
            .assert_eq(&of_weight.unwrap().into_data(), true);
    }
}
