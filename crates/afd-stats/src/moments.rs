//! Means and spreads.

/// The arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of the answers' values under weights that sum to 1.
pub fn weighted(weights: &[f64], values: &[f64]) -> f64 {
    weights
        .iter()
        .zip(values)
        .map(|(weight, value)| weight * value)
        .sum()
}

/// Whether all values are equal.
pub fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Standard error of the mean of independent values, such as one for each prompt; 0 of fewer than two.
pub fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 || is_constant(values) {
        return 0.0;
    }
    let (count, centre) = (values.len() as f64, mean(values));
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt()
}

/// Standard deviation around each prompt's own mean, pooled over prompts; in the values' unit.
///
/// `x` is `[prompt][answer]`. 0 if no prompt has two answers.
///
/// # Panics
///
/// If a prompt has no answer.
pub fn sd_within(x: &[Vec<f64>]) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_on_paper() {
        // Variance (1 + 0 + 1) / 2, over 3 values.
        assert!((standard_error(&[1.0, 2.0, 3.0]) - (1.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(standard_error(&[0.1; 3]), 0.0);
        assert_eq!(standard_error(&[5.0]), 0.0);
    }

    #[test]
    fn spread_is_within_prompts() {
        // Squares 0.5 + 0.5 around each mean, freedom 1 each.
        let sd = sd_within(&[vec![0.0, 1.0], vec![100.0, 101.0]]);
        assert!((sd - 0.5_f64.sqrt()).abs() < 1e-15);
    }
}
