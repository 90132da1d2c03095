//! The kernel as a composition of Burn's operations, for any backend; of tensors of any number of dimensions, which
//! primitives are.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::backend::{Backend, tensor::FloatTensor};

use super::{CUBIC, Gelu, ROOT};

pub(super) fn forward<B: Backend>(x: &FloatTensor<B>, kind: Gelu) -> FloatTensor<B> {
    B::float_mul(x.clone(), share::<B>(x, kind))
}

/// What `x` is multiplied by.
fn share<B: Backend>(x: &FloatTensor<B>, kind: Gelu) -> FloatTensor<B> {
    let part = match kind {
        Gelu::Exact => B::float_erf(B::float_mul_scalar(x.clone(), FRAC_1_SQRT_2.into())),
        Gelu::Tanh => {
            let square = B::float_mul(x.clone(), x.clone());
            let bend = B::float_add_scalar(B::float_mul_scalar(square, CUBIC.into()), 1f32.into());
            let inner = B::float_mul(bend, x.clone());
            // A GPU's tanh may be no number far out, where it is 1 long since.
            let inner = B::float_mul_scalar(inner, ROOT.into());
            B::float_tanh(B::float_clamp(inner, (-15f32).into(), 15f32.into()))
        }
    };
    B::float_mul_scalar(B::float_add_scalar(part, 1f32.into()), 0.5f32.into())
}

pub(super) fn backward<B: Backend>(
    x: FloatTensor<B>,
    kind: Gelu,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    let share = share::<B>(&x, kind);
    let square = B::float_mul(x.clone(), x.clone());
    // The slope of the share, times `x`.
    let bend = match kind {
        Gelu::Exact => {
            let density = B::float_exp(B::float_mul_scalar(square, (-0.5f32).into()));
            B::float_mul_scalar(density, (0.5 * ROOT).into())
        }
        Gelu::Tanh => {
            let inner = B::float_mul_scalar(square, (3.0 * CUBIC).into());
            let inner = B::float_add_scalar(inner, 1f32.into());
            // `(1 − t²)/2` of `t = 2·share − 1`.
            let rest = B::float_sub(share.clone(), B::float_mul(share.clone(), share.clone()));
            B::float_mul_scalar(B::float_mul(inner, rest), (2.0 * ROOT).into())
        }
    };
    B::float_mul(gradient, B::float_add(share, B::float_mul(x, bend)))
}
