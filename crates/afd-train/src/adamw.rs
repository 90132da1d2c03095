//! AdamW as Burn's optimiser of modules takes it, with the step of `afd-backend`.

use afd_backend::ops::{AdamW, Moving};
use burn::{
    Tensor,
    optim::{AdamWState, AdaptiveMomentumState, LearningRate, Optimizer},
    tensor::Device,
};

use crate::TrainConfig;

/// Its state, and so its files, are those of Burn's own.
#[derive(Debug, Clone)]
pub(crate) struct FusedAdamW(AdamW);

impl FusedAdamW {
    /// As `config` has it, with this decay.
    pub(crate) fn new(config: &TrainConfig, weight_decay: f64) -> Self {
        Self(AdamW {
            beta_1: config.adam_beta1 as f32,
            beta_2: config.adam_beta2 as f32,
            epsilon: config.adam_epsilon as f32,
            weight_decay: weight_decay as f32,
        })
    }
}

impl Optimizer for FusedAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let state = state.map(|state| state.momentum).unwrap_or_else(|| {
            let zeros = gradient.zeros_like();
            AdaptiveMomentumState::new(0, zeros.clone(), zeros)
        });
        let moving = Moving {
            weight,
            moment_1: state.moment_1,
            moment_2: state.moment_2,
        };
        let time = state.time + 1;
        let steps = i32::try_from(time).unwrap_or(i32::MAX);
        let moved = self.0.step(moving, gradient, rate, steps);
        let momentum = AdaptiveMomentumState::new(time, moved.moment_1, moved.moment_2);
        (moved.weight, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}
