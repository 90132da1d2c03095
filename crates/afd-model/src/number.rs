//! The number types a parameter can be held in.

use burn::tensor::Element;
use half::{bf16, f16};

/// A number of a checkpoint or of a tensor.
pub(crate) trait Number: Element + Default {
    fn of(value: f32) -> Self;
}

impl Number for f32 {
    fn of(value: f32) -> Self {
        value
    }
}

impl Number for bf16 {
    fn of(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

impl Number for f16 {
    fn of(value: f32) -> Self {
        f16::from_f32(value)
    }
}
