//! Tensors of libtorch that lie in the host's memory, as the numbers they are: for kernels of our own, where those
//! take fewer passes than libtorch has operations.

use tch::{Device, Kind, Tensor};

/// A tensor's numbers where they lie: on the CPU, in f32, one after the other; none elsewhere, and none of nothing.
#[allow(unsafe_code, reason = "tch hands out a pointer and no slice")]
pub(super) fn numbers(tensor: &Tensor) -> Option<&[f32]> {
    // SAFETY: a contiguous tensor of f32 on the CPU is so many numbers from its data pointer on, which live as long
    // as the tensor; while it is borrowed, kernels write to tensors only that share no numbers with any other.
    place(tensor).map(|(first, count)| unsafe { std::slice::from_raw_parts(first, count) })
}

/// The same to be written; of a tensor that shares its numbers with no other.
#[allow(unsafe_code, reason = "tch hands out a pointer and no slice")]
pub(super) fn numbers_mut(tensor: &mut Tensor) -> Option<&mut [f32]> {
    // SAFETY: as in `numbers`; the caller has the tensor's numbers for itself, or has copied them.
    place(tensor).map(|(first, count)| unsafe { std::slice::from_raw_parts_mut(first, count) })
}

/// A new tensor of f32 on the CPU that `fill` has written every number of; none when it has none.
pub(super) fn filled(shape: &[i64], fill: impl FnOnce(&mut [f32])) -> Option<Tensor> {
    let mut tensor = Tensor::empty(shape, (Kind::Float, Device::Cpu));
    fill(numbers_mut(&mut tensor)?);
    Some(tensor)
}

/// Where a tensor's numbers begin, and how many there are.
fn place(tensor: &Tensor) -> Option<(*mut f32, usize)> {
    let plain = tensor.device() == Device::Cpu && tensor.kind() == Kind::Float;
    let fits = plain && tensor.is_contiguous() && tensor.numel() > 0;
    fits.then(|| (tensor.data_ptr().cast(), tensor.numel()))
}
