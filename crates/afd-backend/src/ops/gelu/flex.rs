//! The kernel on Flex: one pass, on all cores.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::backend::{Flex, flex::FlexTensor};

use super::{CUBIC, Gelu, Kernel, ROOT, composed};
use crate::host::{Threads, exp, for_rows, wide};
use crate::ops::flex::{all_f32, tensor, unwritten, values};

/// Numbers that are worked on in one call.
const PART: usize = 4096;

impl Kernel for Flex {
    fn forward(x: &FlexTensor, kind: Gelu) -> FlexTensor {
        if !all_f32(&[x]) {
            return composed::forward::<Self>(x, kind);
        }
        let x = x.to_contiguous();
        each(&x, &x, |out, x, _| match kind {
            Gelu::Exact => map(
                out,
                x,
                x,
                #[inline(always)]
                |x, _| x * normal(x),
            ),
            Gelu::Tanh => map(
                out,
                x,
                x,
                #[inline(always)]
                |x, _| x * approximate(x),
            ),
        })
    }

    fn backward(x: FlexTensor, kind: Gelu, gradient: FlexTensor) -> FlexTensor {
        if !all_f32(&[&x, &gradient]) {
            return composed::backward::<Self>(x, kind, gradient);
        }
        let (x, gradient) = (x.to_contiguous(), gradient.to_contiguous());
        each(&x, &gradient, |out, x, g| match kind {
            Gelu::Exact => map(
                out,
                x,
                g,
                #[inline(always)]
                |x, g| g * (normal(x) + x * (0.5 * ROOT) * exp(-0.5 * x * x)),
            ),
            Gelu::Tanh => map(
                out,
                x,
                g,
                #[inline(always)]
                |x, g| {
                    let share = approximate(x);
                    // `(1 − t²)/2` of `t = 2·share − 1`, times the slope of what `t` is taken of.
                    let bend = 2.0 * (share - share * share) * ROOT * (1.0 + 3.0 * CUBIC * x * x);
                    g * (share + x * bend)
                },
            ),
        })
    }
}

/// A new tensor like `x`, part by part out of `x` and `y`.
fn each(
    x: &FlexTensor,
    y: &FlexTensor,
    work: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) -> FlexTensor {
    let (from, other) = (values(x), values(y));
    let mut out = unwritten(from.len());
    for_rows(Threads::Rayon, &mut out, PART, |i, part| {
        let here = i * PART..i * PART + part.len();
        work(part, &from[here.clone()], &other[here]);
    });
    tensor(out, x.layout().shape().clone())
}

#[inline(always)]
fn map(out: &mut [f32], x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) {
    wide(
        #[inline(always)]
        || {
            for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                *out = f(*x, *y);
            }
        },
    );
}

/// `Φ(x)`, off by less than 1e-7: formula 7.1.26 of Abramowitz and Stegun for the error function.
#[inline(always)]
fn normal(x: f32) -> f32 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// `(1 + tanh u)/2` of the approximation's `u`, which is the logistic function of `2u`.
#[inline(always)]
fn approximate(x: f32) -> f32 {
    let u = ROOT * x * (1.0 + CUBIC * x * x);
    1.0 / (1.0 + exp((-2.0 * u).min(80.0)))
}
