//! How fast a device multiplies matrices: what it can do at best, to measure the rest by.

use std::time::Instant;

use afd_backend::ops;
use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};

/// Floating-point operations per second of a product of square matrices in `dtype`, and their
/// side: as large as they must be for one product to take a good part of a millisecond. None when
/// the products come out wrong.
pub(crate) fn matmul(device: &Device, dtype: FloatDType) -> Option<(usize, f64)> {
    // Small at first: a program that stands in for a GPU compiles a large product for minutes.
    let mut side = 32;
    let mut best = None;
    loop {
        let Some(seconds) = seconds_per_product(device, dtype, side) else {
            return best;
        };
        best = Some((side, 2.0 * (side as f64).powi(3) / seconds));
        if seconds > 3e-4 || side == 8192 {
            return best;
        }
        side *= 2;
    }
}

/// None when a product came out wrong.
fn seconds_per_product(device: &Device, dtype: FloatDType, side: usize) -> Option<f64> {
    // Powers of this matrix are the matrix itself, so they neither vanish nor overflow.
    let value = 1.0 / side as f64;
    let matrix = Tensor::<2>::ones([side, side], device)
        .mul_scalar(value)
        .cast(dtype);
    let seconds = |count: usize| {
        let start = Instant::now();
        let power = (0..count).fold(matrix.clone(), |power, _| {
            ops::matmul(power, matrix.clone(), dtype)
        });
        // Reading a value waits for all of them.
        let read = power.slice([0..1, 0..1]).into_data().iter::<f64>().next();
        let right = read.is_some_and(|read| (read - value).abs() < 0.1 * value);
        right.then(|| start.elapsed().as_secs_f64() / count as f64)
    };
    // The first product pays for what is set up once.
    seconds(1)?;
    let count = ((0.05 / seconds(1)?) as usize).clamp(1, 100);
    // Other programs only ever make it slower.
    let times = [seconds(count)?, seconds(count)?, seconds(count)?];
    Some(times.into_iter().fold(f64::INFINITY, f64::min))
}
