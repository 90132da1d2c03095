//! The rotation itself: forward by the angles, backward by their negatives, nothing else kept.

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "libtorch")]
use burn::backend::{LibTorch, libtorch::TchTensor};
use burn::{
    Tensor,
    backend::{
        Autodiff, Backend, Dispatch, DispatchKindConversion, DispatchTensor,
        autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
};

#[cfg(any(feature = "flex", feature = "libtorch"))]
use super::on_host::Turn;
#[cfg(any(feature = "flex", feature = "libtorch"))]
use crate::host::Threads;
#[cfg(feature = "flex")]
use crate::ops::flex::{all_f32, tensor, unwritten, values};
#[cfg(feature = "libtorch")]
use crate::ops::libtorch::{Element, filled, here, numbers};
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

/// On the CPU our own.
#[cfg(feature = "libtorch")]
impl Kernel for LibTorch {
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self> {
        let _no_grad = tch::no_grad_guard();
        let turned = match x.tensor.kind() {
            tch::Kind::BFloat16 => turn_on_host::<burn::tensor::bf16>(&x.tensor, angles),
            _ => turn_on_host::<f32>(&x.tensor, angles),
        };
        match turned {
            Some(turned) => TchTensor::new(turned),
            None => composed::<Self>(x, angles),
        }
    }
}

/// None where the numbers are not there, or of another type.
#[cfg(feature = "libtorch")]
fn turn_on_host<T: Element>(x: &tch::Tensor, angles: &Angles) -> Option<tch::Tensor> {
    let table = |table: &Tensor<4>| {
        let table = table.clone().try_into_primitive::<LibTorch>();
        here::<T>(&table.ok()?.tensor)
    };
    let (shape, x) = (x.size(), here::<T>(x)?);
    let (cos, sin) = (table(&angles.cos)?, table(&angles.sin)?);
    let (x, turn) = (
        numbers::<T>(&x)?,
        Turn {
            cos: numbers(&cos)?,
            sin: numbers(&sin)?,
            half: angles.cos.dims()[3],
            back: angles.back,
            threads: Threads::OpenMp,
        },
    );
    let [heads, width] = [shape[2], shape[3]].map(|count| count as usize);
    filled(&shape, |out| turn.heads(x, [heads, width], out))
}

#[cfg(feature = "cube")]
impl Kernel for Cube {
    fn turn(x: FloatTensor<Self>, angles: &Angles) -> FloatTensor<Self> {
        composed::<Self>(x, angles)
    }
}

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
        let x = x.to_contiguous();
        let mut out = unwritten(values(&x).len());
        let turn = Turn {
            cos: values(&cos),
            sin: values(&sin),
            half: angles.cos.dims()[3],
            back: angles.back,
            threads: Threads::Rayon,
        };
        turn.heads(values(&x), [shape[2], shape[3]], &mut out);
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
