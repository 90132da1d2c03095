//! Intervals by bootstrap over prompts, and the few other figures that the evaluation needs.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Resamples of the prompts, drawn once so that all figures are compared on the same ones.
///
/// Prompts, not answers, are the independent units: answers to a prompt share its difficulty.
pub(crate) struct Bootstrap {
    /// `[resample][draw]`: numbers of prompts.
    draws: Vec<Vec<u32>>,
}

/// Share of intervals that should hold the true value.
pub(crate) const CONFIDENCE: f64 = 0.95;

impl Bootstrap {
    pub(crate) fn new(prompts: usize, resamples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(afd_stage::seed::derive(seed, "bootstrap", 0));
        let last = u32::try_from(prompts.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut resample = || (0..prompts).map(|_| rng.random_range(0..=last)).collect();
        Self {
            draws: (0..resamples).map(|_| resample()).collect(),
        }
    }

    /// The percentile interval `[low, high]` of the mean of `values`, one for each prompt.
    pub(crate) fn interval(&self, values: &[f64]) -> [f64; 2] {
        let resampled = |draws: &Vec<u32>| {
            draws
                .iter()
                .map(|&prompt| values[prompt as usize])
                .sum::<f64>()
                / draws.len() as f64
        };
        let mut means: Vec<f64> = self.draws.iter().map(resampled).collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        [quantile(&means, tail), quantile(&means, 1.0 - tail)]
    }
}

/// By linear interpolation between order statistics.
fn quantile(ascending: &[f64], q: f64) -> f64 {
    let place = q * (ascending.len() - 1) as f64;
    let low = ascending[place.floor() as usize];
    let high = ascending[place.ceil() as usize];
    low + (high - low) * place.fract()
}

/// The arithmetic mean; NaN of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of the answers' values under weights that sum to 1.
pub(crate) fn weighted(weights: &[f64], values: &[f64]) -> f64 {
    weights
        .iter()
        .zip(values)
        .map(|(weight, value)| weight * value)
        .sum()
}

/// Correlation within a prompt, averaged over the prompts where both vary; `None` if none does.
///
/// `x` and `y` are `[prompt][answer]`. Differences between prompts do not count: Best-of-N never
/// compares answers to different prompts.
pub(crate) fn pearson_within(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
    let each: Vec<f64> = x.iter().zip(y).filter_map(|(x, y)| pearson(x, y)).collect();
    (!each.is_empty()).then(|| mean(&each))
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    // Equality is asked of the values: a mean's rounding can make a constant seem to vary.
    if is_constant(x) || is_constant(y) {
        return None;
    }
    let (mean_x, mean_y) = (mean(x), mean(y));
    let moment = |a: &[f64], mean_a: f64, b: &[f64], mean_b: f64| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - mean_a) * (b - mean_b))
            .sum()
    };
    let scale = (moment(x, mean_x, x, mean_x) * moment(y, mean_y, y, mean_y)).sqrt();
    let r = moment(x, mean_x, y, mean_y) / scale;
    r.is_finite().then_some(r)
}

/// Whether all values are equal.
pub(crate) fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Standard deviation around each prompt's own mean, pooled over prompts.
pub(crate) fn sd_within(x: &[Vec<f64>]) -> f64 {
    let squares = x.iter().map(|values| {
        let centre = mean(values);
        values
            .iter()
            .map(|value| (value - centre).powi(2))
            .sum::<f64>()
    });
    let freedom: usize = x.iter().map(|values| values.len() - 1).sum();
    (squares.sum::<f64>() / freedom.max(1) as f64).sqrt()
}

/// For each of `values`, its chance to beat one of `others` drawn at random; a tie counts half.
pub(crate) fn win_rates(values: &[f64], others: &[f64]) -> Vec<f64> {
    let mut ascending = others.to_vec();
    ascending.sort_by(f64::total_cmp);
    let rate = |value: &f64| {
        let below = ascending.partition_point(|other| other < value);
        let not_above = ascending.partition_point(|other| other <= value);
        (below + not_above) as f64 / (2 * ascending.len()) as f64
    };
    values.iter().map(rate).collect()
}

/// Rounded to 6 significant decimals, which is what files hold: the last bits of a sum are noise.
pub(crate) fn six_digits(value: f64) -> f64 {
    // Decimal formatting rounds correctly, on every machine alike; `+ 0.0` drops the sign of -0.
    format!("{value:.5e}").parse::<f64>().unwrap_or(value) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_true_mean_about_as_often_as_they_say() {
        // 400 experiments with 60 uniform values each; the true mean is 0.5. If the coverage were
        // exactly 95 %, the count would be 380 ± 4.4 (one standard deviation); the range here is
        // five of them, wide enough for the percentile bootstrap's small shortfall. A right
        // implementation fails with fresh seeds less than once in a thousand; seeds are fixed.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let covered = (0..400)
            .filter(|&experiment| {
                let values: Vec<f64> = (0..60).map(|_| rng.random_range(0.0..1.0)).collect();
                let [low, high] = Bootstrap::new(60, 400, experiment).interval(&values);
                low <= 0.5 && 0.5 <= high
            })
            .count();
        assert!((358..=399).contains(&covered), "{covered}");
    }

    #[test]
    fn an_interval_has_the_width_of_theory() {
        // Mean of 400 values with variance 1 (half -1, half 1): sd 0.05, so 95 % is ± 0.098.
        let values: Vec<f64> = (0..400)
            .map(|i| if i % 2 == 0 { -1.0 } else { 1.0 })
            .collect();
        let [low, high] = Bootstrap::new(400, 4000, 1).interval(&values);
        assert!(
            (low + 0.098).abs() < 0.008 && (high - 0.098).abs() < 0.008,
            "{low} {high}"
        );
    }

    #[test]
    fn resamples_are_shared_and_repeat() {
        // A shift of all values shifts the interval by as much: the resamples are the same.
        let bootstrap = Bootstrap::new(5, 200, 7);
        let [low, high] = bootstrap.interval(&[1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(
            bootstrap.interval(&[2.0, 3.0, 5.0, 9.0, 17.0]),
            [low + 1.0, high + 1.0]
        );
        let again = Bootstrap::new(5, 200, 7);
        assert_eq!(again.interval(&[1.0, 2.0, 4.0, 8.0, 16.0]), [low, high]);
        assert_ne!(Bootstrap::new(5, 200, 8).draws, again.draws);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[0.0, 10.0, 20.0], 0.25), 5.0);
        assert_eq!(quantile(&[0.0, 10.0, 20.0], 1.0), 20.0);
    }

    #[test]
    fn correlation_is_within_prompts() {
        // Prompt 1 correlates fully, prompt 2 inversely, prompt 3 has no spread and is left out;
        // between prompts the two rise together, which must not count.
        let x = [vec![1.0, 2.0], vec![10.0, 20.0], vec![5.0, 5.0]];
        let y = [vec![1.0, 3.0], vec![9.0, 7.0], vec![0.0, 1.0]];
        assert_eq!(pearson_within(&x, &y), Some(0.0));
        assert_eq!(pearson_within(&x[..1], &y[..1]), Some(1.0));
        assert_eq!(pearson_within(&x[2..], &y[2..]), None);
        // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 · 2).
        let r = pearson_within(&[vec![0.0, 1.0, 2.0]], &[vec![0.0, 2.0, 1.0]]).unwrap();
        assert!((r - 0.5).abs() < 1e-15);
    }

    #[test]
    fn spread_is_within_prompts() {
        // Squares 0.5 + 0.5 around each mean, freedom 1 each.
        let sd = sd_within(&[vec![0.0, 1.0], vec![100.0, 101.0]]);
        assert!((sd - 0.5_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(
            win_rates(&[0.0, 1.0, 2.0], &[1.0, 1.0, 0.0, 5.0]),
            [0.125, 0.5, 0.75]
        );
        // Against itself a policy wins half of the time, whatever the ties.
        assert_eq!(
            mean(&win_rates(&[1.0, 3.0, 3.0, 2.0], &[1.0, 3.0, 3.0, 2.0])),
            0.5
        );
    }

    #[test]
    fn six_digits_are_kept() {
        assert_eq!(six_digits(1.0 / 3.0), 0.333333);
        assert_eq!(six_digits(-123_456_789.0), -123_457_000.0);
        assert_eq!(six_digits(-0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(
            serde_json::to_string(&six_digits(2.0 / 3e7)).unwrap(),
            "6.66667e-8"
        );
    }
}
