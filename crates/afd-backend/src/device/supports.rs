//! Whether a device computes in a type of numbers, which is tried: what drivers and libraries say
//! about it is about other devices, or about storing it.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

use super::fault;
use crate::ops::matmul;

/// Rows of the trial's input and columns of its weight.
const OUTER: usize = 32;
/// Terms of each of its sums.
const INNER: usize = 64;

/// Tries whether `device` multiplies matrices in `dtype`, forward and backward.
///
/// # Errors
/// The reason why not: what the device did wrong, or refused to do.
pub fn supports(device: &Device, dtype: FloatDType) -> Result<(), String> {
    let is_flex = super::is_flex(device);
    if is_flex && !matches!(dtype, FloatDType::F32 | FloatDType::BF16) {
        return Err("flex only stores it, and computes it as f32 on one thread".into());
    }
    // A kernel that cannot be compiled would fail on a thread of its own.
    if !is_flex && !device.supports_dtype(dtype) {
        return Err("the device or its driver has no arithmetic in it".into());
    }
    match fault::catch(|| trial(device, dtype)) {
        Ok(true) => Ok(()),
        Ok(false) => Err("a small product of matrices came out wrong".into()),
        Err(message) => Err(message),
    }
}

/// Whether a linear layer with f32 weights, computed in `dtype`, has the output and the gradient
/// it should have. All values and sums are whole numbers up to 128, which every type can hold.
fn trial(device: &Device, dtype: FloatDType) -> bool {
    let input = whole(OUTER, INNER, |i, k| (i + 2 * k) % 3, 1);
    let weight = whole(INNER, OUTER, |k, j| (3 * k + j) % 5, 2);
    let slope = whole(OUTER, OUTER, |i, j| (i * j) % 3, 1);

    let device = device.clone().autodiff();
    let on_device = |matrix: &Matrix| {
        let shape = [matrix.rows, matrix.columns];
        Tensor::<2>::from_data(TensorData::new(matrix.values.clone(), shape), &device)
    };
    let leaf = on_device(&weight).require_grad();
    let output = matmul(on_device(&input), leaf.clone(), dtype).cast(FloatDType::F32);
    let gradients = (output.clone() * on_device(&slope)).sum().backward();
    let Some(gradient) = leaf.grad(&gradients) else {
        return false;
    };
    holds(output, &input.times(&weight)) && holds(gradient, &input.transposed().times(&slope))
}

/// Whether the tensor has exactly these values.
fn holds(tensor: Tensor<2>, expected: &Matrix) -> bool {
    let values = tensor.into_data().try_to_vec::<f32>();
    values.is_ok_and(|values| values == expected.values)
}

/// A matrix on the host.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

/// The matrix of `value(row, column) - middle`.
fn whole(
    rows: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> usize,
    middle: usize,
) -> Matrix {
    let cells = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let values = cells
        .map(|(i, j)| value(i, j) as f32 - middle as f32)
        .collect();
    Matrix {
        rows,
        columns,
        values,
    }
}

impl Matrix {
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.columns + column]
    }

    fn times(&self, other: &Self) -> Self {
        let cells = (0..self.rows).flat_map(|i| (0..other.columns).map(move |j| (i, j)));
        let values = cells
            .map(|(i, j)| {
                let terms = (0..self.columns).map(|k| self.at(i, k) * other.at(k, j));
                terms.sum()
            })
            .collect();
        Self {
            rows: self.rows,
            columns: other.columns,
            values,
        }
    }

    fn transposed(&self) -> Self {
        let cells = (0..self.columns).flat_map(|i| (0..self.rows).map(move |j| (i, j)));
        Self {
            rows: self.columns,
            columns: self.rows,
            values: cells.map(|(i, j)| self.at(j, i)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{is_flex, test_device, test_name};

    #[test]
    fn every_device_computes_in_f32() {
        assert_eq!(supports(&test_device(), FloatDType::F32), Ok(()));
    }

    /// So that tests which leave out what a device does not compute in do not leave out all.
    #[test]
    fn flex_and_libtorch_compute_in_bf16() {
        if ["flex", "libtorch"].contains(&test_name().as_str()) {
            assert_eq!(supports(&test_device(), FloatDType::BF16), Ok(()));
        }
    }

    #[test]
    fn flex_refuses_what_it_only_stores() {
        let device = test_device();
        if is_flex(&device) {
            let refused = supports(&device, FloatDType::F16).unwrap_err();
            assert!(refused.contains("stores"));
        }
    }

    #[test]
    fn sums_are_small_enough_for_every_type() {
        let input = whole(OUTER, INNER, |i, k| (i + 2 * k) % 3, 1);
        let weight = whole(INNER, OUTER, |k, j| (3 * k + j) % 5, 2);
        let product = input.times(&weight);
        assert!(product.values.iter().all(|value| value.abs() <= 128.0));
        assert!(product.values.iter().any(|value| *value != 0.0));
    }
}
