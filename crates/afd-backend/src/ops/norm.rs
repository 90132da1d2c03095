//! Normalisation of rows: by their root mean square, or by mean and standard deviation.

use burn::Tensor;

/// `x / sqrt(mean(x²) + eps) · weight` over the last dimension.
///
/// `x` is `[…, D]`, `weight` `[D]`; the result has the shape of `x`.
///
/// # Panics
/// When the last dimension of `x` is not the length of `weight`.
pub fn rms_norm<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    let mean_square = x.clone().square().mean_dim(R - 1);
    let scale = mean_square.add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze::<R>()
}

/// `(x − mean(x)) / sqrt(var(x) + eps) · weight + bias` over the last dimension, the variance being
/// the mean square of `x − mean(x)`.
///
/// `x` is `[…, D]`, `weight` and `bias` `[D]`; the result has the shape of `x`.
///
/// # Panics
/// When the last dimension of `x` is not the length of `weight` and `bias`.
pub fn layer_norm<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<R> {
    let centred = x.clone() - x.mean_dim(R - 1);
    rms_norm(centred, weight, eps) + bias.unsqueeze::<R>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_device;

    #[test]
    fn on_paper() {
        // mean(3², 4²) = 12.5, so 3 → 3/√12.5 and 4 → 4/√12.5, the latter doubled by its weight.
        let device = test_device();
        let x = Tensor::<2>::from_data([[3.0, 4.0]], &device);
        let weight = Tensor::<1>::from_data([1.0, 2.0], &device);
        let y: Vec<f32> = rms_norm(x, weight, 0.0).into_data().try_to_vec().unwrap();
        assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
        assert!((y[1] - 8.0 / 12.5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn layer_norm_on_paper() {
        // 3 and 5 are −1 and 1 from their mean, and 1 is their standard deviation.
        let device = test_device();
        let x = Tensor::<2>::from_data([[3.0, 5.0]], &device);
        let weight = Tensor::<1>::from_data([1.0, 2.0], &device);
        let bias = Tensor::<1>::from_data([0.5, 0.25], &device);
        let y = layer_norm(x, weight, bias, 0.0).into_data();
        let y: Vec<f32> = y.try_to_vec().unwrap();
        assert!(
            (y[0] + 0.5).abs() < 1e-6 && (y[1] - 2.25).abs() < 1e-6,
            "{y:?}"
        );
    }
}
