//! Normalisation of rows: by their root mean square, or by mean and standard deviation.

mod composed;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "libtorch")]
mod libtorch;
#[cfg(any(feature = "flex", feature = "libtorch"))]
mod on_host;

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
};

use super::tape::{Kept, alike, record};
#[cfg(any(feature = "flex", feature = "libtorch"))]
use crate::host::Threads;

/// `x / sqrt(mean(x²) + eps) · weight` over the last dimension.
///
/// `x` is `[…, D]`, `weight` `[D]`; the result has the shape of `x`.
///
/// # Panics
/// When the last dimension of `x` is not the length of `weight`.
pub fn rms_norm<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    normalise(x, weight, eps, false)
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
    normalise(x, weight, eps, true) + bias.unsqueeze::<R>()
}

fn normalise<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    eps: f64,
    centred: bool,
) -> Tensor<R> {
    let (shape, width) = (x.dims(), weight.dims()[0]);
    assert_eq!(shape[R - 1], width, "a weight for each number of a row");
    let rows = shape.iter().product::<usize>() / width.max(1);
    let (x, weight) = alike(x, weight);
    let y = <Dispatch as Normalise>::normalise(
        x.reshape([rows, width]).into_dispatch(),
        weight.into_dispatch(),
        eps,
        centred,
    );
    Tensor::<2>::from_dispatch(y).reshape(shape)
}

/// The operation as its backward pass sees it.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    /// `[N, D]`.
    x: FloatTensor<B>,
    /// `[D]`.
    weight: FloatTensor<B>,
    eps: f64,
    /// Whether the mean is taken off first.
    centred: bool,
}

#[cfg(any(feature = "flex", feature = "libtorch"))]
impl<B: Backend> Inputs<B> {
    fn rule(&self, threads: Threads) -> on_host::Rule {
        on_host::Rule {
            eps: self.eps,
            centred: self.centred,
            threads,
        }
    }
}

/// What a backend computes; neither knows of gradients being recorded.
trait Kernel: Backend {
    fn forward(inputs: &Inputs<Self>) -> FloatTensor<Self>;

    /// Gradients of `x` and of `weight` from that of the result.
    fn backward(inputs: &Inputs<Self>, gradient: FloatTensor<Self>) -> [FloatTensor<Self>; 2];
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn forward(inputs: &Inputs<Self>) -> FloatTensor<Self> {
        composed::forward(inputs)
    }

    fn backward(inputs: &Inputs<Self>, gradient: FloatTensor<Self>) -> [FloatTensor<Self>; 2] {
        composed::backward(inputs, gradient)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait Normalise: Backend {
    fn normalise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
        centred: bool,
    ) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl Normalise for $backend {
            fn normalise(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                eps: f64,
                centred: bool,
            ) -> FloatTensor<Self> {
                <Self as Kernel>::forward(&Inputs {
                    x,
                    weight,
                    eps,
                    centred,
                })
            }
        }
    };
}

#[cfg(feature = "flex")]
without_gradients!(Flex);
#[cfg(feature = "libtorch")]
without_gradients!(LibTorch);
#[cfg(feature = "cube")]
without_gradients!(Cube);

impl<B: Kernel, C: CheckpointStrategy> Normalise for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn normalise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
        centred: bool,
    ) -> FloatTensor<Self> {
        let ((x, of_x), (weight, of_weight)) = (x.into_parts(), weight.into_parts());
        let inputs = Inputs {
            x,
            weight,
            eps,
            centred,
        };
        let y = B::forward(&inputs);
        record::<B, C, _, 2>([of_x, of_weight], inputs, y)
    }
}

impl<B: Kernel> Kept<B, 2> for Inputs<B> {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::backward(&self, gradient).map(Some)
    }
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
