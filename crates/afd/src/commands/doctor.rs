//! `afd doctor`: what this build and this machine can do.

use std::{thread::available_parallelism, time::Instant};

use afd_backend::device;
use burn::Tensor;

use super::print;
use crate::error::Error;

/// Side of the square matrices of the speed figure.
const SIDE: usize = 512;

pub(crate) fn run() -> Result<(), Error> {
    let threads = available_parallelism().map_or(1, usize::from);
    print(&format!(
        "afd {}\nthreads {threads}\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    for name in device::available() {
        let device = device::open(name)?;
        let matrix = Tensor::<2>::ones([SIDE, SIDE], &device);
        let product = || {
            matrix
                .clone()
                .matmul(matrix.clone())
                .sum()
                .into_scalar::<f32>()
        };
        // The first product pays for what is set up once.
        let expected = (SIDE * SIDE * SIDE) as f32;
        let works = product() == expected;
        let start = Instant::now();
        let mut times = 0;
        while start.elapsed().as_millis() < 300 {
            product();
            times += 1;
        }
        let flops = 2.0 * (SIDE as f64).powi(3) * f64::from(times);
        let speed = flops / start.elapsed().as_secs_f64() / 1e9;
        let verdict = if works { "works" } else { "computes wrongly" };
        print(&format!(
            "{name:<8} {verdict}, f32 matmul {SIDE}x{SIDE}: {speed:.0} GFLOP/s\n"
        ))?;
    }
    Ok(())
}
