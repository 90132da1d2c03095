//! Tensors of libtorch that lie in the host's memory, as the numbers they are: for kernels of our own, where those
//! take fewer passes than libtorch has operations.

use burn::tensor::bf16;
use tch::{Device, Kind, Tensor};

use crate::host::Number;

/// A number as libtorch has it.
pub(super) trait Element: Number {
    const KIND: Kind;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// The tensor with its numbers one after the other, if they are on the CPU and of this type; it is copied where they
/// lie otherwise.
pub(super) fn here<T: Element>(tensor: &Tensor) -> Option<Tensor> {
    let is_here = tensor.device() == Device::Cpu && tensor.kind() == T::KIND;
    is_here.then(|| tensor.contiguous())
}

/// A tensor's numbers where they lie: on the CPU, of this type, one after the other; none elsewhere, and none of
/// nothing.
#[allow(unsafe_code, reason = "tch hands out a pointer and no slice")]
pub(super) fn numbers<T: Element>(tensor: &Tensor) -> Option<&[T]> {
    // SAFETY: a contiguous tensor on the CPU is so many numbers of its type from its data pointer on, which live as
    // long as the tensor; while it is borrowed, kernels write to tensors only that share no numbers with any other.
    place(tensor).map(|(first, count)| unsafe { std::slice::from_raw_parts(first, count) })
}

/// The same to be written.
///
/// # Safety
/// The tensor shares its numbers with no other.
#[allow(unsafe_code, reason = "tch hands out a pointer and no slice")]
pub(super) unsafe fn numbers_mut<T: Element>(tensor: &mut Tensor) -> Option<&mut [T]> {
    // SAFETY: as in `numbers`, and nobody else has these numbers.
    place(tensor).map(|(first, count)| unsafe { std::slice::from_raw_parts_mut(first, count) })
}

/// A new tensor on the CPU that `fill` has written every number of, before it reads any; none when it has none.
#[allow(unsafe_code, reason = "the numbers of a tensor are written in place")]
pub(super) fn filled<T: Element>(shape: &[i64], fill: impl FnOnce(&mut [T])) -> Option<Tensor> {
    let mut tensor = Tensor::empty(shape, (T::KIND, Device::Cpu));
    // SAFETY: it was made here. What it holds is whatever libtorch's memory held, which all are numbers.
    fill(unsafe { numbers_mut(&mut tensor) }?);
    Some(tensor)
}

/// Where a tensor's numbers begin, and how many there are.
fn place<T: Element>(tensor: &Tensor) -> Option<(*mut T, usize)> {
    let plain = tensor.device() == Device::Cpu && tensor.kind() == T::KIND;
    let fits = plain && tensor.is_contiguous() && tensor.numel() > 0;
    fits.then(|| (tensor.data_ptr().cast(), tensor.numel()))
}
