//! What kernels on Flex are made of, beside the loops of [`crate::host`]: matrix products on slices.

pub(super) mod bf16;
pub(super) mod held;
pub(super) mod matrix;
pub(super) mod panels;
mod strip;

use burn::{
    backend::flex::FlexTensor,
    tensor::{DType, TensorData},
};

use matrix::Matrix;

/// Whether these are numbers the kernels compute on; what is stored in 16 bits is left to Burn.
pub(super) fn all_f32(tensors: &[&FlexTensor]) -> bool {
    tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}

/// A tensor of these values, row after row; they are not copied.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<burn::tensor::Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// So many numbers for a kernel that writes each of them before it reads any. They may be anything; NaN in builds that
/// check themselves, so that one which was not written is seen.
///
/// Zeros would be written by one thread while others wait: they were 8 % of the samples of fine-tuning in bf16.
pub(super) fn unwritten(count: usize) -> Vec<f32> {
    #[cfg(all(
        not(debug_assertions),
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    #[allow(
        unsafe_code,
        reason = "there is no other way to have memory as it comes"
    )]
    {
        let mut numbers: Vec<f32> = Vec::with_capacity(count);
        // SAFETY: no instruction, but the compiler has to take it for one that writes where the pointer leads, so that
        // from here on some number stands in each of the places, of which there are at least `count`.
        unsafe {
            std::arch::asm!("/* {} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
            numbers.set_len(count);
        }
        numbers
    }
    #[cfg(not(all(
        not(debug_assertions),
        any(target_arch = "x86_64", target_arch = "aarch64")
    )))]
    vec![
        if cfg!(debug_assertions) {
            f32::NAN
        } else {
            0.0
        };
        count
    ]
}

/// The values of a tensor that is known to be contiguous, because [`FlexTensor::to_contiguous`]
/// made it.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}

/// Indices of any integer type on the host.
pub(super) fn indices(tensor: &FlexTensor) -> Vec<usize> {
    let data = tensor.clone().into_data();
    data.iter::<i64>().map(|index| index as usize).collect()
}

/// A tensor of two dimensions as a matrix in its `storage`, or none where it runs backwards.
pub(super) fn matrix<'a, T>(tensor: &FlexTensor, storage: &'a [T]) -> Option<Matrix<'a, T>> {
    let (rows, columns, row, column) = tensor.layout().as_2d_strides()?;
    let strides = [row.try_into().ok()?, column.try_into().ok()?];
    let values = &storage[tensor.layout().start_offset()..];
    Some(Matrix::strided(values, [rows, columns], strides))
}
