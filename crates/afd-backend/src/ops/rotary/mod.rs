//! Rotary position embedding in the half-split ("rotate half") layout of Hugging Face.

#[cfg(any(feature = "flex", feature = "libtorch"))]
mod on_host;
mod turn;

use burn::{Tensor, tensor::Device, tensor::Int, tensor::TensorData};

pub use turn::rotate;

/// Cosines and sines for positions `0..max_positions`.
///
/// Computed in f64 on the host once, so every device rotates by the same angles.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RotaryTable {
    /// Angles `position · frequencies[i]` for `i` in `0..d/2`, where `d` numbers of a head are
    /// turned, most often all; both tables are `[max_positions, d/2]`.
    pub fn new(max_positions: usize, frequencies: &[f64], device: &Device) -> Self {
        let half = frequencies.len();
        let angle = |n: usize| (n / half) as f64 * frequencies[n % half];
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = (0..max_positions * half)
                .map(|n| f(angle(n)) as f32)
                .collect();
            Tensor::from_data(TensorData::new(values, [max_positions, half]), device)
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    /// The rows for `length` consecutive positions from `start`: `[1, length, 1, d/2]` twice.
    pub fn range(&self, start: usize, length: usize) -> (Tensor<4>, Tensor<4>) {
        let half = self.cos.dims()[1];
        let rows = |table: &Tensor<2>| {
            table
                .clone()
                .narrow(0, start, length)
                .reshape([1, length, 1, half])
        };
        (rows(&self.cos), rows(&self.sin))
    }

    /// The rows for the given positions `[B, T]`: `[B, T, 1, d/2]` twice.
    pub fn gather(&self, positions: Tensor<2, Int>) -> (Tensor<4>, Tensor<4>) {
        let ([b, t], half) = (positions.dims(), self.cos.dims()[1]);
        let flat = positions.reshape([b * t]);
        let rows = |table: &Tensor<2>| {
            table
                .clone()
                .select(0, flat.clone())
                .reshape([b, t, 1, half])
        };
        (rows(&self.cos), rows(&self.sin))
    }
}

/// `theta^(−2i/d)` for `i` in `0..d/2`.
///
/// # Panics
/// When `d` is odd.
pub fn frequencies(d: usize, theta: f64) -> Vec<f64> {
    assert!(d.is_multiple_of(2), "{d} numbers cannot be turned in pairs");
    let frequency = |i| theta.powf(-2.0 * f64::from(i) / d as f64);
    (0..d as u32 / 2).map(frequency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_device;

    #[test]
    fn a_quarter_turn_on_paper() {
        // theta is irrelevant for the first frequency: position p turns (x0, x1) by p radians.
        let device = test_device();
        let table = RotaryTable::new(3, &frequencies(2, 10_000.0), &device);
        let x = Tensor::<4>::from_data([[[[1.0, 0.0]], [[1.0, 0.0]]]], &device);
        let y: Vec<f32> = rotate(x, table.range(1, 2))
            .into_data()
            .try_to_vec()
            .unwrap();
        let expect = [1f32.cos(), 1f32.sin(), 2f32.cos(), 2f32.sin()];
        for (y, e) in y.iter().zip(expect) {
            assert!((y - e).abs() < 1e-6);
        }
    }

    #[test]
    fn gather_is_range_at_consecutive_positions() {
        let device = test_device();
        let table = RotaryTable::new(8, &frequencies(4, 100.0), &device);
        let positions = Tensor::<2, Int>::from_data([[3, 4, 5]], &device);
        let (a, b) = (table.range(3, 3).0, table.gather(positions).0);
        a.into_data().assert_eq(&b.into_data(), true);
    }
}
