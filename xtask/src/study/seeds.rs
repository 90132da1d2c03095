//! Figures over seeds: their mean with half of a t-interval, and how tables show it.

/// Stands where there is no figure.
pub(super) const NOTHING: &str = "–";

/// The mean over seeds, and half of its 95 % t-interval; none for a single seed.
pub(super) fn mean_and_half(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len();
    if count == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let t = T975.get(count.wrapping_sub(2)).copied();
    let half = t.map(|t| t * (squares / (count - 1) as f64 / count as f64).sqrt());
    Some((mean, half))
}

/// The 97.5 % quantile of Student's t with 1, 2, … degrees of freedom.
const T975: [f64; 9] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
];

/// Mean and half-interval as a cell of a table.
pub(super) fn cell(values: &[f64]) -> String {
    match mean_and_half(values) {
        None => NOTHING.to_owned(),
        Some((mean, None)) => format!("{mean:.2}"),
        Some((mean, Some(half))) => format!("{mean:.2} ± {half:.2}"),
    }
}

/// The same of a difference, which has a sign.
pub(super) fn signed((mean, half): (f64, Option<f64>)) -> String {
    match half {
        None => format!("{mean:+.2}"),
        Some(half) => format!("{mean:+.2} ± {half:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        // Standard deviation of 1, 2, 3, 4, 5 is √2.5, of their mean √0.5.
        let (mean, half) = mean_and_half(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(mean, 3.0);
        assert!((half.unwrap() - 2.776 * 0.5f64.sqrt()).abs() < 1e-9);
        assert_eq!(mean_and_half(&[2.0]), Some((2.0, None)));
        assert_eq!(mean_and_half(&[]), None);
    }
}
