//! Normalisation against its definition.

use afd_backend::{
    device::test_device,
    ops::{layer_norm, rms_norm},
};
use rand::Rng;

use crate::reference::{check, draw, generator, host, tensor};

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

/// More rows than a share of the weight's gradient is of, and more numbers than one thread takes.
#[test]
fn many_rows_are_as_they_are_in_parts() {
    let (count, width, device) = (600, 64, test_device().autodiff());
    let mut rng = generator(7);
    let [x, gradient] = [2.0, 1.0].map(|scale| draw(&mut rng, count * width, scale));
    let weight = draw(&mut rng, width, 2.0);
    let of = |rows: std::ops::Range<usize>| {
        let part = |of: &[f64]| {
            let numbers = &of[rows.start * width..rows.end * width];
            tensor(numbers, &device).reshape([rows.len(), width])
        };
        let (x, weight) = (
            part(&x).require_grad(),
            tensor(&weight, &device).require_grad(),
        );
        let y = rms_norm(x.clone(), weight.clone(), 1e-6);
        let gradients = (y.clone() * part(&gradient)).sum().backward();
        let of_weight = host(weight.grad(&gradients).unwrap());
        (
            host(y.inner()),
            host(x.grad(&gradients).unwrap()),
            of_weight,
        )
    };
    let whole = of(0..count);
    let mut sums = vec![0.0; width];
    for start in (0..count).step_by(200) {
        let (y, of_x, of_weight) = of(start..start + 200);
        let at = start * width..(start + 200) * width;
        let both = whole.0[at.clone()].iter().zip(&y);
        let both = both.chain(whole.1[at].iter().zip(&of_x));
        both.for_each(|(whole, part)| assert!((whole - part).abs() < 1e-5, "{whole}, {part}"));
        sums.iter_mut()
            .zip(of_weight)
            .for_each(|(sum, part)| *sum += part);
    }
    for (whole, sum) in whole.2.iter().zip(sums) {
        assert!((whole - sum).abs() < 1e-3, "{whole}, {sum}");
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
