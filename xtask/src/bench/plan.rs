//! What is measured, and by whom.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A kind of work that a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Work {
    /// Optimiser steps of fine-tuning; start-up and peak memory with them
    Sft,
    /// Optimiser steps of a reward model, on pairs
    Reward,
    /// RLOO: draw answers, score them by policy and reference, one optimiser step
    Rl,
    /// Answers drawn
    Sample,
    /// Log-probabilities of given answers
    Score,
}

impl Work {
    const ALL: [Work; 5] = [Work::Sft, Work::Reward, Work::Rl, Work::Sample, Work::Score];

    /// Its name, ours and the rival's.
    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Sft => "sft",
            Work::Reward => "reward",
            Work::Rl => "rl",
            Work::Sample => "sample",
            Work::Score => "score",
        }
    }
}

/// A model to measure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) name: &'static str,
    /// WIDTH/LAYERS/HEADS/VOCABULARY.
    pub(super) shape: &'static str,
    /// Optimiser steps measured.
    steps: usize,
}

/// From 1 to 35 million parameters.
pub(super) const SIZES: [Size; 3] = [
    Size {
        name: "width-128",
        shape: "128/4/4/2048",
        steps: 8,
    },
    Size {
        name: "width-256",
        shape: "256/6/8/8192",
        steps: 4,
    },
    Size {
        name: "width-512",
        shape: "512/8/8/16384",
        steps: 2,
    },
];

/// The smallest with larger vocabularies: memory is measured against them, and nothing else.
const VOCABULARIES: [Size; 2] = [
    Size {
        name: "width-128, vocabulary 8192",
        shape: "128/4/4/8192",
        steps: 1,
    },
    Size {
        name: "width-128, vocabulary 32768",
        shape: "128/4/4/32768",
        steps: 1,
    },
];

const LENGTHS: [usize; 2] = [128, 256];

/// Sequences in a step, and answers in a step of reinforcement learning.
const BATCH: usize = 8;

/// Answers to each prompt of that.
const GROUP: usize = 4;

/// Answers to each prompt when nothing but drawing is measured, and prompts drawn for at a time.
const DRAWN: [(usize, usize); 3] = [(1, 4), (16, 4), (64, 1)];

/// Optimiser steps with `--quick`.
const QUICK_STEPS: usize = 3;

/// One thing that all contenders do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Measurement {
    pub(super) work: Work,
    pub(super) model: &'static str,
    pub(super) shape: &'static str,
    /// Tokens of a sequence.
    pub(super) length: usize,
    /// Sequences at a time; of `sample` prompts at a time.
    pub(super) batch: usize,
    /// Answers to each prompt.
    pub(super) answers: usize,
    /// Optimiser steps measured, after two that are not.
    pub(super) steps: usize,
}

impl Measurement {
    /// The size as rows name it.
    pub(super) fn size(&self) -> String {
        let size = format!("{} x {}", self.model, self.length);
        match self.work {
            Work::Sample => format!("{size}, N={}", self.answers),
            _ => size,
        }
    }

    /// Whether it is one of the sizes that are compared, and not there for a fit alone.
    pub(super) fn is_compared(&self) -> bool {
        SIZES.iter().any(|size| size.shape == self.shape)
    }

    /// Tokens that one step, or one pass, goes through.
    pub(super) fn tokens(&self) -> usize {
        self.batch * self.length
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.work.name(), self.size())
    }
}

/// Everything to measure: of the named kinds of work and sizes, all where none is named.
pub(super) fn measurements(
    quick: bool,
    works: &[Work],
    sizes: &[&'static Size],
) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    let is_wanted = |size: &&Size| match sizes.is_empty() {
        true => !quick || **size == SIZES[0],
        false => sizes.contains(size),
    };
    let lengths = if quick { &LENGTHS[..1] } else { &LENGTHS[..] };
    for size in SIZES.iter().filter(is_wanted) {
        for &length in lengths {
            let of = |work, batch, answers| Measurement {
                work,
                model: size.name,
                shape: size.shape,
                length,
                batch,
                answers,
                steps: if quick { QUICK_STEPS } else { size.steps },
            };
            for work in Work::ALL {
                if !works.is_empty() && !works.contains(&work) {
                    continue;
                }
                match work {
                    // Few and many answers at one length.
                    Work::Sample => measurements.extend(
                        DRAWN
                            .into_iter()
                            .filter(|&(answers, _)| answers == 16 || length == LENGTHS[0])
                            .filter(|&(answers, _)| !quick || answers <= 16)
                            .map(|(answers, prompts)| of(work, prompts, answers)),
                    ),
                    _ => measurements.push(of(work, BATCH, GROUP)),
                }
            }
        }
        if *size == SIZES[0] && !quick && (works.is_empty() || works.contains(&Work::Sft)) {
            measurements.extend(VOCABULARIES.iter().map(|size| Measurement {
                work: Work::Sft,
                model: size.name,
                shape: size.shape,
                length: LENGTHS[0],
                batch: BATCH,
                answers: GROUP,
                steps: size.steps,
            }));
        }
    }
    measurements
}

/// Who measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Ours,
    Rival,
}

/// A side, on a device, in a number type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Contender {
    pub(super) side: Side,
    /// One of ours, or `pytorch`.
    pub(super) device: &'static str,
    pub(super) precision: &'static str,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.precision)
    }
}

/// In the order of their turns.
pub(super) fn contenders(libtorch: bool) -> Vec<Contender> {
    let ours = |device, precision| Contender {
        side: Side::Ours,
        device,
        precision,
    };
    let rival = |precision| Contender {
        side: Side::Rival,
        device: "pytorch",
        precision,
    };
    let mut all = vec![
        ours("flex", "f32"),
        rival("f32"),
        ours("flex", "bf16"),
        rival("bf16"),
    ];
    if libtorch {
        all.push(ours("libtorch", "f32"));
        all.push(ours("libtorch", "bf16"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_measured_unless_something_is_named() {
        // Four kinds once; sampling with three numbers of answers at one length, one at the other.
        // Two vocabularies besides.
        let all = measurements(false, &[], &[]);
        assert_eq!(all.len(), 3 * (4 + 3 + 4 + 1) + 2);
        assert_eq!(all.iter().filter(|m| !m.is_compared()).count(), 2);
        let quick = measurements(true, &[], &[]);
        assert_eq!(quick.len(), 4 + 2);
        assert!(
            quick
                .iter()
                .all(|m| m.model == "width-128" && m.steps == QUICK_STEPS)
        );
        let named = measurements(false, &[Work::Rl], &[&SIZES[1]]);
        let sizes: Vec<String> = named.iter().map(Measurement::size).collect();
        assert_eq!(sizes, ["width-256 x 128", "width-256 x 256"]);
        let drawn = measurements(true, &[Work::Sample], &[]);
        assert_eq!(drawn[1].to_string(), "sample width-128 x 128, N=16");
    }

    #[test]
    fn both_sides_compute_in_both_types() {
        for (libtorch, count) in [(false, 4), (true, 6)] {
            let contenders = contenders(libtorch);
            assert_eq!(contenders.len(), count);
            let of = |side| contenders.iter().filter(move |c| c.side == side);
            for ours in of(Side::Ours) {
                assert!(of(Side::Rival).any(|rival| rival.precision == ours.precision));
            }
        }
    }
}
