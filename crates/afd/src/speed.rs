//! How fast a device multiplies matrices: what it can do at best, to measure the rest by.

use std::time::Instant;

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};

/// Floating-point operations per second of a product of square matrices in `dtype`, and their
/// side: as large as they must be for one product to take a few milliseconds.
pub(crate) fn matmul(device: &Device, dtype: FloatDType) -> (usize, f64) {
    let mut side = 256;
    loop {
        let seconds = seconds_per_product(device, dtype, side);
        if seconds > 2e-3 || side == 8192 {
            return (side, 2.0 * (side as f64).powi(3) / seconds);
        }
        side *= 2;
    }
}

fn seconds_per_product(device: &Device, dtype: FloatDType, side: usize) -> f64 {
    // Powers of this matrix are the matrix itself, so they neither vanish nor overflow.
    let matrix = Tensor::<2>::ones([side, side], device)
        .div_scalar(side as f64)
        .cast(dtype);
    let seconds = |count: usize| {
        let start = Instant::now();
        let power = (0..count).fold(matrix.clone(), |power, _| power.matmul(matrix.clone()));
        // Reading a value waits for all of them.
        power.slice([0..1, 0..1]).into_data();
        start.elapsed().as_secs_f64() / count as f64
    };
    // The first product pays for what is set up once.
    seconds(1);
    let count = (0.05 / seconds(1)) as usize;
    // Other programs only ever make it slower.
    let times = (0..3).map(|_| seconds(count.clamp(1, 100)));
    times.fold(f64::INFINITY, f64::min)
}
