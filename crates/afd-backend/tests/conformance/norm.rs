//! Normalisation against its definition.

use afd_backend::ops::{layer_norm, rms_norm};
use rand::Rng;

use crate::reference::{check, draw, generator};

/// `x / sqrt(mean(x²) + eps) · weight`, row by row.
fn by_definition([x, weight]: &[Vec<f64>; 2], eps: f64) -> Vec<f64> {
    let width = weight.len();
    let row = |row: &[f64]| -> Vec<f64> {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        row.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
    };
    x.chunks(width).flat_map(row).collect()
}

fn check_rows(rows: [usize; 2], width: usize, eps: f64, scale: f32) {
    let mut rng = generator(width as u64);
    let x = draw(&mut rng, rows[0] * rows[1] * width, scale);
    let inputs = [x, draw(&mut rng, width, 2.0)];
    check(
        &format!("rms_norm of {rows:?} rows of {width}, eps {eps}"),
        &inputs,
        |[x, weight]| rms_norm(x.reshape([rows[0], rows[1], width]), weight, eps).flatten(0, 2),
        |inputs| by_definition(inputs, eps),
    );
}

#[test]
fn widths_and_sizes() {
    check_rows([1, 1], 1, 1e-6, 2.0);
    check_rows([2, 3], 5, 1e-6, 2.0);
    check_rows([1, 7], 64, 1e-5, 2.0);
    // Inputs large enough that a sum of squares would overflow f16, and so small that `eps`
    // is most of the mean.
    check_rows([2, 2], 12, 1e-6, 1000.0);
    check_rows([2, 2], 12, 1e-2, 0.05);
    let mut rng = generator(1);
    for _ in 0..2 {
        let mut upto = |limit| rng.random_range(1..limit);
        check_rows([upto(4), upto(6)], upto(40), 1e-6, 2.0);
    }
}

#[test]
fn rows_of_zeros_stay_zeros() {
    check(
        "rms_norm of zeros",
        &[vec![0.0; 6], vec![0.5, -1.0, 2.0]],
        |[x, weight]| rms_norm(x.reshape([2, 3]), weight, 1e-2).flatten(0, 1),
        |inputs| by_definition(inputs, 1e-2),
    );
}

/// `(x − mean) / sqrt(variance + eps) · weight + bias`, row by row.
fn layer_norm_by_definition([x, weight, bias]: &[Vec<f64>; 3], eps: f64) -> Vec<f64> {
    let width = weight.len();
    let row = |row: &[f64]| -> Vec<f64> {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + eps).sqrt();
        let terms = row.iter().zip(weight).zip(bias);
        terms
            .map(|((x, w), b)| (x - mean) * scale * w + b)
            .collect()
    };
    x.chunks(width).flat_map(row).collect()
}

#[test]
fn layer_norm_in_widths_and_sizes() {
    for (rows, width, eps, scale) in [(1, 2, 1e-5, 2.0), (6, 5, 1e-5, 2.0), (4, 64, 1e-2, 0.05)] {
        let mut rng = generator(width as u64);
        let inputs = [
            draw(&mut rng, rows * width, scale),
            draw(&mut rng, width, 2.0),
            draw(&mut rng, width, 1.0),
        ];
        check(
            &format!("layer_norm of {rows} rows of {width}, eps {eps}"),
            &inputs,
            |[x, weight, bias]| {
                layer_norm(x.reshape([rows, width]), weight, bias, eps).flatten(0, 1)
            },
            |inputs| layer_norm_by_definition(inputs, eps),
        );
    }
}
