//! Log-probabilities of tokens against the definition.

use afd_backend::{
    device::test_device,
    ops::{token_log_probs, weighted_log_probs},
};
use burn::{
    Tensor,
    tensor::{FloatDType, Int},
};
use rand::Rng;

use crate::reference::{check, check_halves, draw, draw_whole, generator, tensor};

/// `log softmax(cap(hidden · weight))[target]`, row by row.
fn by_definition(
    [hidden, weight]: &[Vec<f64>; 2],
    targets: &[i32],
    softcap: Option<f64>,
) -> Vec<f64> {
    let width = hidden.len() / targets.len();
    let vocab = weight.len() / width;
    let row = |(row, target): (&[f64], &i32)| {
        let logits: Vec<f64> = (0..vocab)
            .map(|token| (0..width).map(|i| row[i] * weight[i * vocab + token]).sum())
            .map(|logit: f64| softcap.map_or(logit, |cap| cap * (logit / cap).tanh()))
            .collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        logits[*target as usize] - largest - total.ln()
    };
    hidden.chunks(width).zip(targets).map(row).collect()
}

fn check_rows([n, width, vocab]: [usize; 3], inputs: &[Vec<f64>; 2], softcap: Option<f64>) {
    let mut rng = generator((n + vocab) as u64);
    let last = vocab as i32 - 1;
    // The first and the last token are among the targets; some are targets more than once.
    let targets: Vec<i32> = (0..n)
        .map(|row| match row {
            0 => last,
            1 => 0,
            _ => rng.random_range(0..=last),
        })
        .collect();
    let indices = Tensor::<1, Int>::from_data(targets.as_slice(), &test_device());
    check(
        &format!("log-probs of {n} tokens, width {width}, vocabulary {vocab}"),
        inputs,
        |[hidden, weight]| {
            token_log_probs(
                hidden.reshape([n, width]),
                weight.reshape([width, vocab]),
                indices.clone(),
                softcap,
            )
        },
        |inputs| by_definition(inputs, &targets, softcap),
    );
    let factors = draw(&mut rng, n, 1.0);
    check(
        &format!("their weighted sum, {n} tokens, width {width}, vocabulary {vocab}"),
        inputs,
        |[hidden, weight]| {
            weighted_log_probs(
                hidden.reshape([n, width]),
                weight.reshape([width, vocab]),
                indices.clone(),
                tensor(&factors, &test_device()),
                softcap,
            )
        },
        |inputs| {
            let log_probs = by_definition(inputs, &targets, softcap);
            vec![log_probs.iter().zip(&factors).map(|(l, f)| l * f).sum()]
        },
    );
}

fn check_drawn(n: usize, width: usize, vocab: usize) {
    let mut rng = generator((n * width + vocab) as u64);
    let hidden = draw(&mut rng, n * width, 2.0);
    let weight = draw(&mut rng, width * vocab, 1.0);
    let inputs = [hidden, weight];
    check_rows([n, width, vocab], &inputs, None);
    check_rows([n, width, vocab], &inputs, Some(1.5));
}

#[test]
fn rows_widths_and_vocabularies() {
    check_drawn(1, 3, 2);
    check_drawn(7, 5, 11);
    check_drawn(3, 4, 259);
    let mut rng = generator(3);
    for _ in 0..2 {
        let mut upto = |limit| rng.random_range(2..limit);
        check_drawn(upto(12), upto(10), upto(40));
    }
}

#[test]
fn half_precision_is_close_to_the_definition() {
    let (n, width, vocab) = (5, 8, 11);
    let mut rng = generator(8);
    let inputs = [
        draw(&mut rng, n * width, 2.0),
        draw(&mut rng, width * vocab, 1.0),
    ];
    let targets = [0, 10, 4, 4, 7];
    check_halves(
        "log-probs",
        &inputs,
        |[hidden, weight], _| {
            let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &test_device());
            let hidden = hidden.cast(FloatDType::F32).reshape([n, width]);
            let log_probs = token_log_probs(hidden, weight.reshape([width, vocab]), targets, None);
            assert_eq!(log_probs.dtype(), FloatDType::F32.into());
            log_probs
        },
        |inputs| by_definition(inputs, &targets, None),
    );
}

/// More rows than are taken at a time, and not a multiple of that many.
#[test]
fn rows_in_several_parts() {
    check_drawn(1024 + 3, 1, 3);
}

/// Logits of ±80 and ±3000, exact in f32: where softmax is 1 and 0, logarithms of it would be
/// infinite.
#[test]
fn saturated_logits_stay_finite() {
    for (logit, hidden) in [(80, 8), (3000, 300)] {
        let mut rng = generator(logit);
        let inputs = [draw_whole(&mut rng, 9, hidden), draw_whole(&mut rng, 6, 10)];
        check_rows([9, 1, 6], &inputs, None);
    }
}
