//! Gains at SFT's length: what is left of a gain when the reward of more words is taken off.

use afd_stats::{Bootstrap, is_constant, line_within, mean, percentile_interval, six_digits};

/// Takes off a gain what SFT's own answers gain by as many more tokens.
///
/// Formula: `G_lc = (g(pi) − g(sft)) − b · (l(pi) − l(sft))` with the mean golden reward `g` and
/// the mean number of tokens `l`, both over prompts, and the least-squares slope
/// `b = Σ (l − l_x)(g − g_x) / Σ (l − l_x)²` over SFT's stored answers, `l_x` and `g_x` being their
/// means for the prompt. The interval resamples prompts, and fits the slope anew on each resample.
///
/// Source: the question is that of Dubois et al., *Length-Controlled AlpacaEval*, arXiv 2404.04475:
/// what would the comparison say if the lengths were equal?
///
/// Departures: a line in the reward instead of a logistic regression of preferences; fitted on
/// SFT's answers within prompts, so that neither the prompts' difficulty nor the policy under test
/// has a say in it. It is what goes along with length, not what length causes: where longer answers
/// are better for what they say, it takes off a gain that was earned. Far from SFT's lengths it is
/// an extrapolation.
///
/// Sign: above 0, the policy is better than SFT beyond what its length accounts for.
pub(super) struct LengthControl {
    slope: f64,
    /// On each of the bootstrap's resamples.
    slopes: Vec<f64>,
}

impl LengthControl {
    /// From `lengths` and `golden` rewards of SFT's answers, `[prompt][answer]`; `None` if no
    /// prompt has answers of two lengths.
    pub(super) fn fit(
        lengths: &[Vec<f64>],
        golden: &[Vec<f64>],
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let slope = line_within(lengths, golden)?.slope;
        let centred = |values: &[f64]| -> Vec<f64> {
            let (centre, still) = (mean(values), is_constant(values));
            let from = |value: &f64| if still { 0.0 } else { value - centre };
            values.iter().map(from).collect()
        };
        let (mut squares, mut products) = (Vec::new(), Vec::new());
        for (lengths, golden) in lengths.iter().zip(golden) {
            let (lengths, golden) = (centred(lengths), centred(golden));
            squares.push(lengths.iter().map(|l| l * l).sum());
            products.push(lengths.iter().zip(golden).map(|(l, g)| l * g).sum());
        }
        let resampled = bootstrap.means(&products).into_iter();
        let ratio = |(products, squares): (f64, f64)| {
            // A resample without two lengths knows no slope of its own.
            if squares > 0.0 {
                products / squares
            } else {
                slope
            }
        };
        Some(Self {
            slope,
            slopes: resampled
                .zip(bootstrap.means(&squares))
                .map(ratio)
                .collect(),
        })
    }

    /// Golden reward by token.
    pub(super) fn slope(&self) -> f64 {
        six_digits(self.slope)
    }

    /// The gain at SFT's length and its interval, from the prompts' differences to SFT in golden
    /// reward and in tokens.
    pub(super) fn gain(
        &self,
        golden: &[f64],
        tokens: &[f64],
        bootstrap: &Bootstrap,
    ) -> (f64, [f64; 2]) {
        let gain = less(mean(golden), self.slope * mean(tokens));
        let means = bootstrap.means(golden).into_iter();
        let means = means.zip(bootstrap.means(tokens)).zip(&self.slopes);
        let gains = means.map(|((golden, tokens), slope)| less(golden, slope * tokens));
        let interval = percentile_interval(gains.collect());
        (six_digits(gain), interval.map(six_digits))
    }
}

/// `a − b`, and exactly 0 where they differ by rounding alone: no sign is to be read off that.
fn less(a: f64, b: f64) -> f64 {
    let difference = a - b;
    if difference.abs() <= 1e-12 * (a.abs() + b.abs()) {
        0.0
    } else {
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_only_writes_more_gains_nothing() {
        // Half a reward a token in each prompt, whatever the prompt's level.
        let lengths = [vec![1.0, 3.0], vec![10.0, 12.0, 14.0], vec![5.0, 5.0]];
        let golden = [vec![0.0, 1.0], vec![-5.0, -4.0, -3.0], vec![7.0, 7.0]];
        let bootstrap = Bootstrap::new(3, 200, 1);
        let control = LengthControl::fit(&lengths, &golden, &bootstrap).unwrap();
        assert_eq!(control.slope(), 0.5);
        let (gain, interval) = control.gain(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0], &bootstrap);
        assert_eq!((gain, interval), (0.0, [0.0, 0.0]));
        // One that gains 2 and writes 2 tokens less deserves 3.
        let (gain, interval) = control.gain(&[2.0; 3], &[-2.0; 3], &bootstrap);
        assert_eq!((gain, interval), (3.0, [3.0, 3.0]));
        assert!(LengthControl::fit(&lengths[2..], &golden[2..], &bootstrap).is_none());
    }

    #[test]
    fn rounding_is_no_gain() {
        assert_ne!(0.1 + 0.2 - 0.3, 0.0);
        assert_eq!(less(0.1 + 0.2, 0.3), 0.0);
        assert_eq!(
            (less(0.3, 0.1), less(0.0, 0.0), less(0.0, 1e-9)),
            (0.3 - 0.1, 0.0, -1e-9)
        );
    }

    #[test]
    fn the_slopes_uncertainty_is_in_the_interval() {
        // Slopes 0 and 1 in the two prompts: together 1/2, on a resample of one prompt its own.
        let lengths = [vec![0.0, 2.0], vec![0.0, 2.0]];
        let golden = [vec![1.0, 1.0], vec![0.0, 2.0]];
        let bootstrap = Bootstrap::new(2, 400, 1);
        let control = LengthControl::fit(&lengths, &golden, &bootstrap).unwrap();
        let (gain, interval) = control.gain(&[1.0; 2], &[1.0; 2], &bootstrap);
        assert_eq!((gain, interval), (0.5, [0.0, 1.0]));
    }
}
