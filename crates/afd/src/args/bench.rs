//! The options of `afd bench`, and the names of what it measures.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use afd_backend::Dtype;
use clap::{Args, ValueEnum};

use super::dtype;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Devices to compare.
    #[arg(
        long,
        env = "AFD_DEVICE",
        value_delimiter = ',',
        default_value = "flex"
    )]
    pub(crate) device: Vec<String>,
    /// Number types to compare: f32, bf16, f16.
    #[arg(long, value_delimiter = ',', value_parser = dtype, default_value = "f32")]
    pub(crate) dtype: Vec<Dtype>,
    /// With and without recomputed activations: false, true, or both.
    #[arg(long, value_delimiter = ',', default_value = "false")]
    pub(crate) gradient_checkpointing: Vec<bool>,
    /// The model, shaped as a Llama: width-256, width-512, width-1024, gpt2-small, or
    /// WIDTH/LAYERS/HEADS/VOCABULARY as in 256/6/8/8192.
    #[arg(long, default_value = "width-256")]
    pub(crate) shape: Shape,
    /// Sequences at a time; prompts at a time where answers are drawn.
    #[arg(long, default_value = "8")]
    pub(crate) batch_size: NonZeroUsize,
    /// Tokens of a sequence; where answers are drawn, a quarter of them are the prompt's.
    #[arg(long, default_value = "256")]
    pub(crate) length: NonZeroUsize,
    /// Answers drawn to each prompt.
    #[arg(long, default_value = "8")]
    pub(crate) answers: NonZeroUsize,
    /// Optimiser steps measured.
    #[arg(long, default_value = "5")]
    pub(crate) steps: NonZeroUsize,
    /// Processes per variant and work; the table shows the median.
    #[arg(long, default_value = "3")]
    pub(crate) repeats: NonZeroUsize,
    /// Measure this one variant, here, and print JSON.
    #[arg(long, hide = true, requires = "work")]
    pub(crate) one: Option<Variant>,
    /// What to measure of it.
    #[arg(long, hide = true, requires = "one")]
    pub(crate) work: Option<Work>,
}

impl BenchArgs {
    /// Every device with every type, with and without recomputation.
    pub(crate) fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for device in &self.device {
            for &dtype in &self.dtype {
                for &gradient_checkpointing in &self.gradient_checkpointing {
                    variants.push(Variant {
                        device: device.clone(),
                        dtype,
                        gradient_checkpointing,
                    });
                }
            }
        }
        variants
    }
}

/// What a process of its own measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Optimiser steps of fine-tuning.
    Sft,
    /// Optimiser steps of a reward model.
    Reward,
    /// Answers drawn, scored and learned from.
    Rl,
    /// Log-probabilities of given answers.
    Score,
    /// Answers drawn with the cache.
    Sample,
    /// Large matrix products.
    Matmul,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One row of a benchmark.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) device: String,
    pub(crate) dtype: Dtype,
    pub(crate) gradient_checkpointing: bool,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.dtype.name())?;
        f.write_str(if self.gradient_checkpointing {
            " recomputed"
        } else {
            ""
        })
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let (device, name) = (words.next(), words.next());
        Ok(Self {
            device: device.unwrap_or_default().to_owned(),
            dtype: dtype(name.unwrap_or_default())?,
            gradient_checkpointing: words.next().is_some(),
        })
    }
}

/// The shape of a model to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) vocabulary: usize,
}

/// Shapes with names; the last has as many parameters as GPT-2 small.
const NAMED: [(&str, [usize; 4]); 4] = [
    ("width-256", [256, 6, 8, 8192]),
    ("width-512", [512, 6, 8, 8192]),
    ("width-1024", [1024, 6, 16, 8192]),
    ("gpt2-small", [768, 12, 12, 50_257]),
];

impl Shape {
    fn numbers(self) -> [usize; 4] {
        [self.width, self.layers, self.heads, self.vocabulary]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, numbers)| *numbers == self.numbers()) {
            Some((name, _)) => f.write_str(name),
            None => f.write_str(&self.numbers().map(|n| n.to_string()).join("/")),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = match NAMED.iter().find(|(name, _)| *name == text) {
            Some((_, numbers)) => Some(*numbers),
            None => {
                let numbers = text.split('/').map(str::parse);
                let numbers: Result<Vec<usize>, _> = numbers.collect();
                numbers.ok().and_then(|numbers| numbers.try_into().ok())
            }
        };
        let good = |&[width, layers, heads, vocabulary]: &[usize; 4]| {
            // A head has an even width: positions rotate pairs of its numbers.
            let even = heads > 0 && width > 0 && width.is_multiple_of(2 * heads);
            even && layers > 0 && vocabulary > 1
        };
        let [width, layers, heads, vocabulary] = numbers.filter(good).ok_or_else(|| {
            let names = NAMED.map(|(name, _)| name).join(", ");
            format!(
                "must be one of {names}, or WIDTH/LAYERS/HEADS/VOCABULARY with an even width for each head"
            )
        })?;
        Ok(Self {
            width,
            layers,
            heads,
            vocabulary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_a_name_or_four_numbers() {
        let shape = |text: &str| text.parse::<Shape>();
        assert_eq!(shape("256/6/8/8192"), shape("width-256"));
        assert_eq!(shape("256/6/8/8192").unwrap().to_string(), "width-256");
        let own = shape("128/4/4/2048").unwrap();
        assert_eq!(own.to_string().parse::<Shape>(), Ok(own));
        for wrong in [
            "",
            "width-7",
            "128/4/4",
            "128/4/4/2048/1",
            "128/0/4/9",
            "12/1/4/9",
            "8/1/0/9",
        ] {
            assert!(shape(wrong).unwrap_err().contains("gpt2-small"), "{wrong}");
        }
    }
}
