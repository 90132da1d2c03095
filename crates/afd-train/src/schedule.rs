//! The learning rate as a pure function of the step, with transformers' formulas.

use crate::{SchedulerType, TrainConfig};

/// The rate of optimiser step `step` (from 0) out of `total`.
///
/// With warm-up the first step's rate is 0, as in transformers.
pub fn learning_rate(config: &TrainConfig, step: u64, total: u64) -> f64 {
    let warmup = match config.lr_scheduler_type {
        SchedulerType::Constant => 0,
        _ => (config.warmup_ratio * total as f64).ceil() as u64,
    };
    let factor = if step < warmup {
        step as f64 / warmup as f64
    } else {
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match config.lr_scheduler_type {
            SchedulerType::Linear => (1.0 - progress).max(0.0),
            SchedulerType::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            SchedulerType::Constant | SchedulerType::ConstantWithWarmup => 1.0,
        }
    };
    config.learning_rate * factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn on_paper() {
        // 10 steps, 2 of warm-up: 0, ½, then eight steps from 1 downwards.
        let rates = |kind| {
            let config = TrainConfig {
                learning_rate: 1.0,
                warmup_ratio: 0.2,
                lr_scheduler_type: kind,
                ..config()
            };
            [0, 1, 2, 6, 9].map(|step| learning_rate(&config, step, 10))
        };
        let cosine = |t: f64| 0.5 * (1.0 + (std::f64::consts::PI * t).cos());
        assert_eq!(rates(SchedulerType::Linear), [0.0, 0.5, 1.0, 0.5, 0.125]);
        assert_eq!(
            rates(SchedulerType::Cosine),
            [0.0, 0.5, 1.0, cosine(0.5), cosine(0.875)]
        );
        assert_eq!(rates(SchedulerType::Constant), [1.0; 5]);
        assert_eq!(
            rates(SchedulerType::ConstantWithWarmup),
            [0.0, 0.5, 1.0, 1.0, 1.0]
        );
    }
}
