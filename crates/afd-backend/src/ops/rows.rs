//! Rows of a matrix by their numbers, such as the embeddings of tokens.

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "libtorch")]
use burn::backend::{LibTorch, libtorch::TchTensor};
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor, TensorMetadata,
        autodiff::checkpoint::strategy::CheckpointStrategy,
        backend_extension,
        ops::FloatTensorOps,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{IndexingUpdateOp, Int},
};

use super::tape::{Kept, record};

/// Rows `ids` `[N]` of `matrix` `[R, D]`: `[N, D]`, in its type.
///
/// Burn's `select`, but for libtorch, where its gradient is two tensors as large as `matrix`, and here one.
///
/// # Panics
/// When there is no such row, on devices that look.
pub fn rows(matrix: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    let taken = <Dispatch as Rows>::rows(matrix.into_dispatch(), ids.into_dispatch());
    Tensor::from_dispatch(taken)
}

/// What a backend computes; it does not know of gradients being recorded.
trait Kernel: Backend {
    /// The gradient of a matrix of `count` rows, from that of the rows `[N, D]` that were taken: by Burn's operations,
    /// which add to zeros where they are, but on libtorch.
    fn backward(
        count: usize,
        ids: IntTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = [count, gradient.shape()[1]].into();
        let zeros = Self::float_zeros(shape, &gradient.device(), gradient.dtype().into());
        Self::float_select_assign(zeros, 0, ids, gradient, IndexingUpdateOp::Add)
    }
}

#[cfg(feature = "flex")]
impl Kernel for Flex {}

#[cfg(feature = "cube")]
impl Kernel for Cube {}

#[cfg(feature = "libtorch")]
impl Kernel for LibTorch {
    fn backward(count: usize, ids: TchTensor, gradient: TchTensor) -> TchTensor {
        let _no_grad = tch::no_grad_guard();
        let (gradient, ids) = (gradient.tensor, ids.tensor);
        // No row is left out as padding, and none is divided by how often it was taken.
        let sums = tch::Tensor::embedding_dense_backward(&gradient, &ids, count as i64, -1, false);
        TchTensor::new(sums)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait Rows: Backend {
    fn rows(matrix: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl Rows for $backend {
            fn rows(matrix: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
                <Self as FloatTensorOps<Self>>::float_select(matrix, 0, ids)
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

impl<B: Kernel, C: CheckpointStrategy> Rows for Autodiff<B, C>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn rows(matrix: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let (matrix, of_matrix) = matrix.into_parts();
        let count = matrix.shape()[0];
        let taken = B::float_select(matrix, 0, ids.clone());
        record::<B, C, _, 1>([of_matrix], Taken::<B> { count, ids }, taken)
    }
}

/// What was taken, and of how many.
#[derive(Debug, Clone)]
struct Taken<B: Backend> {
    count: usize,
    ids: IntTensor<B>,
}

impl<B: Kernel> Kept<B, 1> for Taken<B> {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(B::backward(self.count, self.ids, gradient))]
    }
}

#[cfg(test)]
mod tests {
    use burn::{Tensor, tensor::Int};

    use super::rows;
    use crate::device::test_device;

    #[test]
    fn rows_and_their_gradients_on_paper() {
        let device = test_device().autodiff();
        let matrix = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let matrix = matrix.require_grad();
        let ids = Tensor::<1, Int>::from_data([2, 0, 2], &device.clone().inner());
        let taken = rows(matrix.clone(), ids);
        let numbers = |x: Tensor<2>| x.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(numbers(taken.clone()), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let weights = Tensor::<2>::from_data([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]], &device);
        let gradients = (taken * weights).sum().backward();
        let of_matrix = matrix.grad(&gradients).unwrap();
        // The third was taken twice, the second never.
        assert_eq!(numbers(of_matrix), [10.0, 20.0, 0.0, 0.0, 101.0, 202.0]);
    }
}
