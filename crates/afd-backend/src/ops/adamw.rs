//! A step of AdamW on one tensor: on Flex in one pass over its numbers, in place and on all cores; so on
//! libtorch on the CPU, and in few passes on a GPU.

use burn::Tensor;

#[cfg(feature = "flex")]
use crate::device::is_flex;
#[cfg(feature = "libtorch")]
use crate::device::is_libtorch;
#[cfg(any(feature = "flex", feature = "libtorch"))]
use crate::host::Threads;

/// The constants of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay rate of the first moment.
    pub beta_1: f32,
    /// Decay rate of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled: the weight is multiplied by `1 − rate · weight_decay` first.
    pub weight_decay: f32,
}

/// A weight with the moments of its gradient, all of one shape, in f32.
#[derive(Debug, Clone)]
pub struct Moving<const R: usize> {
    /// The weight.
    pub weight: Tensor<R>,
    /// Moving average of the gradient.
    pub moment_1: Tensor<R>,
    /// Moving average of its square.
    pub moment_2: Tensor<R>,
}

impl AdamW {
    /// Step number `time`, from 1 on, at the rate `rate`, without automatic differentiation.
    ///
    /// Formula: `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`,
    /// `w ← (1 − rate·decay)·w − rate · m/(1 − β₁^time) / (√(v/(1 − β₂^time)) + ε)`.
    /// Source: Loshchilov & Hutter, arXiv 1711.05101, as PyTorch has it.
    ///
    /// Where nobody else holds a tensor it changes in place.
    pub fn step<const R: usize>(
        &self,
        moving: Moving<R>,
        gradient: Tensor<R>,
        rate: f64,
        time: i32,
    ) -> Moving<R> {
        let constants = Constants {
            keep: (1.0 - rate * f64::from(self.weight_decay)) as f32,
            rate: rate as f32,
            correct_1: 1.0 - self.beta_1.powi(time),
            correct_2: 1.0 - self.beta_2.powi(time),
        };
        #[cfg(feature = "flex")]
        if is_flex(&moving.weight.device()) {
            return self.on_flex(moving, gradient, constants);
        }
        // Its division by the rate would make a step of none into a number that is none.
        #[cfg(feature = "libtorch")]
        if is_libtorch(&moving.weight.device()) && constants.rate != 0.0 {
            return self.on_libtorch(moving, gradient, constants);
        }
        self.composed(moving, gradient, constants)
    }

    fn composed<const R: usize>(
        &self,
        moving: Moving<R>,
        gradient: Tensor<R>,
        c: Constants,
    ) -> Moving<R> {
        let moment_1 = moving.moment_1.mul_scalar(self.beta_1)
            + gradient.clone().mul_scalar(1.0 - self.beta_1);
        let moment_2 = moving.moment_2.mul_scalar(self.beta_2)
            + gradient.square().mul_scalar(1.0 - self.beta_2);
        let root = moment_2.clone().div_scalar(c.correct_2).sqrt();
        let delta = moment_1.clone().div_scalar(c.correct_1) / root.add_scalar(self.epsilon);
        Moving {
            weight: moving.weight.mul_scalar(c.keep) - delta.mul_scalar(c.rate),
            moment_1,
            moment_2,
        }
    }

    #[cfg(feature = "libtorch")]
    fn on_libtorch<const R: usize>(
        &self,
        moving: Moving<R>,
        gradient: Tensor<R>,
        c: Constants,
    ) -> Moving<R> {
        use burn::backend::{LibTorch, libtorch::TchTensor};

        use super::libtorch::{numbers, numbers_mut};

        let _no_grad = tch::no_grad_guard();
        let own = |x: Tensor<R>| {
            let x: TchTensor = super::primitive::<LibTorch, R>(x);
            match x.can_mut() {
                true => x.tensor,
                false => x.tensor.copy(),
            }
        };
        let gradient: TchTensor = super::primitive::<LibTorch, R>(gradient);
        let gradient = &gradient.tensor;
        let Moving {
            weight,
            moment_1,
            moment_2,
        } = moving;
        let [mut weight, mut moment_1, mut moment_2] = [weight, moment_1, moment_2].map(own);
        let gradients = gradient.contiguous();
        #[allow(unsafe_code, reason = "a step is taken in place")]
        // SAFETY: `own` has seen to it that nobody else has these numbers.
        let [weights, first, second] = unsafe {
            [
                numbers_mut(&mut weight),
                numbers_mut(&mut moment_1),
                numbers_mut(&mut moment_2),
            ]
        };
        let held = (weights, first, second, numbers(&gradients));
        match held {
            (Some(weight), Some(first), Some(second), Some(gradient)) => {
                self.sweep(Threads::OpenMp, c, weight, [first, second], gradient);
            }
            _ => self.in_passes(c, &mut weight, [&mut moment_1, &mut moment_2], gradient),
        }
        let back = |x| Tensor::<R>::from_primitive::<LibTorch>(TchTensor::new(x));
        Moving {
            weight: back(weight),
            moment_1: back(moment_1),
            moment_2: back(moment_2),
        }
    }

    /// In place, in as few passes as libtorch has operations for: on a GPU, and where a tensor's numbers do not lie one
    /// after the other.
    #[cfg(feature = "libtorch")]
    fn in_passes(
        &self,
        c: Constants,
        weight: &mut tch::Tensor,
        [moment_1, moment_2]: [&mut tch::Tensor; 2],
        gradient: &tch::Tensor,
    ) {
        let _ = moment_1.lerp_(gradient, f64::from(1.0 - self.beta_1));
        let _ = moment_2.lerp_(&gradient.square(), f64::from(1.0 - self.beta_2));
        *weight *= f64::from(c.keep);
        // `rate · m/c₁ / (√v/√c₂ + ε)` with its constants in the denominator.
        let by = f64::from(-c.correct_1) / f64::from(c.rate);
        let mut denominator = moment_2.sqrt();
        denominator *= by / f64::from(c.correct_2).sqrt();
        denominator += by * f64::from(self.epsilon);
        let _ = weight.addcdiv_(moment_1, &denominator);
    }

    #[cfg(feature = "flex")]
    fn on_flex<const R: usize>(
        &self,
        moving: Moving<R>,
        gradient: Tensor<R>,
        constants: Constants,
    ) -> Moving<R> {
        use burn::backend::{Flex, flex::FlexTensor};

        use super::flex::{all_f32, tensor, values};

        let flex = |tensor: Tensor<R>| super::primitive::<Flex, R>(tensor);
        let whole = |x: FlexTensor| {
            let own = x.is_contiguous() && x.storage::<f32>().len() == x.layout().num_elements();
            let shape = x.layout().shape().clone();
            match own {
                true => x,
                false => tensor(values(&x.to_contiguous()).to_vec(), shape),
            }
        };
        let Moving {
            weight,
            moment_1,
            moment_2,
        } = moving;
        let [weight, moment_1, moment_2, gradient] =
            [weight, moment_1, moment_2, gradient].map(flex);
        let back = |x: FlexTensor| Tensor::<R>::from_primitive::<Flex>(x);
        if !all_f32(&[&weight, &moment_1, &moment_2, &gradient]) {
            let moving = Moving {
                weight: back(weight),
                moment_1: back(moment_1),
                moment_2: back(moment_2),
            };
            return self.composed(moving, back(gradient), constants);
        }
        let [mut weight, mut moment_1, mut moment_2] = [weight, moment_1, moment_2].map(whole);
        let gradient = gradient.to_contiguous();
        let moments = [moment_1.storage_mut::<f32>(), moment_2.storage_mut::<f32>()];
        self.sweep(
            Threads::Rayon,
            constants,
            weight.storage_mut::<f32>(),
            moments,
            values(&gradient),
        );
        Moving {
            weight: back(weight),
            moment_1: back(moment_1),
            moment_2: back(moment_2),
        }
    }

    /// One pass over all numbers, on all cores.
    #[cfg(any(feature = "flex", feature = "libtorch"))]
    fn sweep(
        &self,
        threads: Threads,
        constants: Constants,
        weights: &mut [f32],
        moments: [&mut [f32]; 2],
        gradients: &[f32],
    ) {
        /// Numbers that a thread takes at a time.
        const PART: usize = 16 * 1024;

        let [first, second] = moments.map(|moment| moment.chunks_mut(PART));
        let parts = weights.chunks_mut(PART).zip(first).zip(second);
        threads.for_each(
            parts.zip(gradients.chunks(PART)),
            |_, (((weights, first), second), gradients)| {
                crate::host::wide(
                    #[inline(always)]
                    || self.part(constants, weights, [first, second], gradients),
                );
            },
        );
    }

    #[cfg(any(feature = "flex", feature = "libtorch"))]
    #[inline(always)]
    fn part(
        &self,
        c: Constants,
        weights: &mut [f32],
        [first, second]: [&mut [f32]; 2],
        gradients: &[f32],
    ) {
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((w, (m, v)), g) in weights.iter_mut().zip(moments).zip(gradients) {
            *m = self.beta_1 * *m + (1.0 - self.beta_1) * g;
            *v = self.beta_2 * *v + (1.0 - self.beta_2) * (g * g);
            let root = (*v / c.correct_2).sqrt();
            *w = *w * c.keep - *m / c.correct_1 / (root + self.epsilon) * c.rate;
        }
    }
}

/// What the numbers of a step have in common.
#[derive(Debug, Clone, Copy)]
struct Constants {
    /// What is left of a weight after its decay.
    keep: f32,
    rate: f32,
    /// `1 − β^time`, of either moment.
    correct_1: f32,
    correct_2: f32,
}
