//! The rotation itself: forward by the angles, backward by their negatives, nothing else kept.

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

#[cfg(feature = "flex")]
use crate::host::{for_rows, wide};
#[cfg(feature = "flex")]
use crate::ops::flex::{all_f32, tensor, values};
use crate::ops::{
    primitive,
    tape::{Kept, constant, record},
};

/// Rotates `x` `[B, T, H, w]` by the angles of its positions (`cos`, `sin` `[B or 1, T, 1, d/2]`),
/// in the type of `x`. The first `d` numbers of each head are turned, the others stay. No gradient
/// flows to the angles.
///
/// # Panics
/// When `d` is more than `w`, or the shapes disagree.
pub fn rotate(x: Tensor<4>, (cos, sin): (Tensor<4>, Tensor<4>)) -> Tensor<4> {
    let [b, t, _, w] = x.dims();
    let [rows, positions, _, half] = cos.dims();
    assert!(2 * half <= w, "{} numbers of a head of {w}", 2 * half);
    let fits = (rows == b || rows == 1) && positions == t && sin.dims() == cos.dims();
    assert!(fits, "angles of {:?} for {:?}", cos.dims(), x.dims());
    // No operation where the caller has cast them, once for all layers.
    let plain = |table: Tensor<4>| constant(table.cast(x.dtype()));
    let angles = Angles {
        cos: plain(cos),
        sin: plain(sin),
        back: false,
    };
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as Rotate>::rotate(x, angles))
}

/// What to turn by, each `[B or 1, T, 1, d/2]`.
#[derive(Debug, Clone)]
struct Angles {
    cos: Tensor<4>,
    sin: Tensor<4>,
    /// By their negatives.
    back: bool,
}

/// What a backend computes; it does not know of gradients being recorded.
trait Kernel: Backend {
    /// `x` is `[B, T, H, w]`.
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self>;
}

/// The kernel as a composition of Burn's operations, for any backend.
fn composed<B: Backend>(x: FloatTensor<B>, angles: &Angles) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let x = Tensor::<4>::from_primitive::<B>(x);
    let (width, half) = (x.dims()[3], angles.cos.dims()[3]);
    let rest = (2 * half < width).then(|| x.clone().narrow(3, 2 * half, width - 2 * half));
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    let cos = angles.cos.clone();
    let sin = match angles.back {
        true => angles.sin.clone().neg(),
        false => angles.sin.clone(),
    };
    let turned = [
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos + first * sin,
    ];
    primitive::<B, 4>(Tensor::cat(turned.into_iter().chain(rest).collect(), 3))
}

#[cfg(feature = "libtorch")]
impl Kernel for LibTorch {
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self> {
        composed::<Self>(x, angles)
    }
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self> {
        composed::<Self>(x, angles)
    }
}

/// A token at a time, several at once.
#[cfg(feature = "flex")]
impl Kernel for Flex {
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self> {
        let table = |table: &Tensor<4>| {
            let table = table.clone().try_into_primitive::<Flex>();
            table.ok().map(|table| table.to_contiguous())
        };
        let (Some(cos), Some(sin), true) = (table(&angles.cos), table(&angles.sin), all_f32(&[&x]))
        else {
            return composed::<Self>(x, angles);
        };
        if !all_f32(&[&cos, &sin]) {
            return composed::<Self>(x, angles);
        }
        let shape = x.layout().shape().clone();
        let (heads, width) = (shape[2], shape[3]);
        let half = angles.cos.dims()[3];
        let x = x.to_contiguous();
        let (x, cos, sin) = (values(&x), values(&cos), values(&sin));
        let tokens = cos.len() / half.max(1);
        let sign = if angles.back { -1.0 } else { 1.0 };
        let mut out = vec![0.0; x.len()];
        for_rows(&mut out, heads * width, |i, out| {
            let x = &x[i * heads * width..(i + 1) * heads * width];
            // Angles are the same for every sequence, or each has its own.
            let at = i % tokens * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            wide(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                        let (turned, rest) = out.split_at_mut(2 * half);
                        let (first, second) = turned.split_at_mut(half);
                        for j in 0..half {
                            let (a, b, cos, sin) = (x[j], x[half + j], cos[j], sign * sin[j]);
                            first[j] = a * cos - b * sin;
                            second[j] = b * cos + a * sin;
                        }
                        rest.copy_from_slice(&x[2 * half..]);
                    }
                },
            );
        });
        tensor(out, shape)
    }
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "libtorch"),
    Cube: cfg(feature = "cube"),
    Autodiff
)]
trait Rotate: Backend {
    fn rotate(x: FloatTensor<Self>, angles: Angles) -> FloatTensor<Self>;
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl Rotate for $backend {
            fn rotate(x: FloatTensor<Self>, angles: Angles) -> FloatTensor<Self> {
                <Self as Kernel>::turn(x, &angles)
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

impl<B: Kernel, C: CheckpointStrategy> Rotate for Autodiff<B, C> {
    fn rotate(x: FloatTensor<Self>, angles: Angles) -> FloatTensor<Self> {
        let (x, of_x) = x.into_parts();
        let y = B::turn(x, &angles);
        record::<B, C, _, 1>([of_x], angles, y)
    }
}

impl<B: Kernel> Kept<B, 1> for Angles {
    fn backward(self, gradient: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        let back = Angles {
            back: !self.back,
            ..self
        };
        [Some(B::turn(gradient, &back))]
    }
}
