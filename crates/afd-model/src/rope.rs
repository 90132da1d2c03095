//! Rotary positions: how fast each pair of numbers turns, and what stretches it to longer texts.

use afd_backend::ops::frequencies;

/// Turned positions of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// How many numbers of a head are turned: all, or its first.
    pub dim: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// What stretches positions beyond the lengths a model was first trained on.
    pub scaling: RopeScaling,
}

/// What stretches positions. Formulas as in transformers' `modeling_rope_utils`.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Nothing.
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// How many times longer.
        factor: f64,
    },
    /// A larger base for texts longer than `original` (NTK-aware, dynamic): the frequencies depend
    /// on the length of the text, and of the longest in a batch.
    Dynamic {
        /// How many times longer.
        factor: f64,
        /// Up to this length nothing changes.
        original: usize,
    },
    /// Slow frequencies divided by `factor`, fast ones kept, those between mixed (Llama 3.1).
    Llama3 {
        /// How many times longer.
        factor: f64,
        /// Waves longer than `original` divided by this are slow.
        low_freq_factor: f64,
        /// Waves shorter than `original` divided by this are fast.
        high_freq_factor: f64,
        /// The length of the first training, in tokens.
        original: usize,
    },
}

impl Rope {
    /// The first `dim` numbers of a head turned by base `theta`, without scaling.
    pub fn plain(dim: usize, theta: f64) -> Self {
        Self {
            dim,
            theta,
            scaling: RopeScaling::Default,
        }
    }

    /// Radians per token of each pair, for texts of `length` tokens.
    pub(crate) fn frequencies(&self, length: usize) -> Vec<f64> {
        let plain = || frequencies(self.dim, self.theta);
        match self.scaling {
            RopeScaling::Default => plain(),
            RopeScaling::Linear { factor } => plain().into_iter().map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor, original } if length > original => {
                let longer = factor * length as f64 / original as f64 - (factor - 1.0);
                let exponent = self.dim as f64 / (self.dim as f64 - 2.0);
                frequencies(self.dim, self.theta * longer.powf(exponent))
            }
            RopeScaling::Dynamic { .. } => plain(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original,
            } => {
                let stretch = |frequency: f64| {
                    // How many waves fit into the first training's length.
                    let waves = original as f64 * frequency / std::f64::consts::TAU;
                    let fast = (waves - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let fast = fast.clamp(0.0, 1.0);
                    (1.0 - fast) * frequency / factor + fast * frequency
                };
                plain().into_iter().map(stretch).collect()
            }
        }
    }

    /// The length up to which one table of angles serves; `None` where it serves for any.
    pub(crate) fn fixed_until(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Dynamic { original, .. } => Some(original),
            _ => None,
        }
    }

    /// The longest text, where the scaling and not `max_position_embeddings` tells it.
    pub(crate) fn context(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Dynamic { factor, original } => Some((factor * original as f64) as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope {
            scaling,
            ..Rope::plain(4, 100.0)
        }
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        let fits = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        let same = found.len() == expected.len() && found.iter().zip(expected).all(fits);
        assert!(same, "{found:?}, on paper {expected:?}");
    }

    #[test]
    fn frequencies_on_paper() {
        // Two pairs: 100^0 and 100^(−1/2).
        assert_close(&rope(RopeScaling::Default).frequencies(9), &[1.0, 0.1]);
        let linear = rope(RopeScaling::Linear { factor: 4.0 });
        assert_close(&linear.frequencies(9), &[0.25, 0.025]);
        // At twice the original length and factor 2 the base grows by 3^(4/2) to 900.
        let dynamic = rope(RopeScaling::Dynamic {
            factor: 2.0,
            original: 8,
        });
        assert_close(&dynamic.frequencies(8), &[1.0, 0.1]);
        assert_close(&dynamic.frequencies(16), &[1.0, 1.0 / 30.0]);
    }

    #[test]
    fn llama_3_keeps_the_fast_and_divides_the_slow() {
        let stretched = |original: usize| {
            rope(RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original,
            })
            .frequencies(9)
        };
        // 1000 tokens are 159 waves of the one and 15.9 of the other: both are fast.
        assert_close(&stretched(1000), &[1.0, 0.1]);
        // 6 tokens are less than a wave of either.
        assert_close(&stretched(6), &[0.125, 0.0125]);
        // Of the slower one 157 tokens are 2.4987 waves: the share of what is kept is 0.49957.
        let waves = 157.0 * 0.1 / std::f64::consts::TAU;
        let kept = (waves - 1.0) / 3.0;
        assert_close(&stretched(157), &[1.0, 0.1 * kept + 0.0125 * (1.0 - kept)]);
    }
}
