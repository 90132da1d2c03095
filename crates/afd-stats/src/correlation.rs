//! Pearson's correlation within prompts.

use crate::moments::{is_constant, mean};

/// Correlation within a prompt, averaged over the prompts where both vary; `None` if none does.
///
/// `x` and `y` are `[prompt][answer]`. Differences between prompts do not count: Best-of-N never
/// compares answers to different prompts.
pub fn pearson_within(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
