//! What the tests share: comparisons that show both sides.

/// # Panics
/// When the two are further apart than `tolerance`, or one is not a number.
#[track_caller]
pub(crate) fn close(found: f64, expected: f64, tolerance: f64) {
    let apart = (found - expected).abs();
    assert!(apart <= tolerance, "{found} for {expected}, ±{tolerance}");
}

/// The same of each pair.
#[track_caller]
pub(crate) fn close_all(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let apart = (f - e).abs();
        assert!(apart <= tolerance, "{f} for {e} at {i}, ±{tolerance}");
    }
}

/// The largest difference of two slices.
pub(crate) fn apart(x: &[f64], y: &[f64]) -> f64 {
    let differences = x.iter().zip(y).map(|(x, y)| (x - y).abs());
    differences.fold(0.0, f64::max)
}
