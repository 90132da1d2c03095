//! The interval of a mean over few independent values, such as the seeds of a training.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{
    bootstrap::CONFIDENCE,
    moments::{mean, standard_error},
};

/// Student's interval of the mean of independent values at [`CONFIDENCE`]; `None` of fewer than two, which
/// do not say how far apart others would be.
///
/// It holds the true mean as often as it says if the values are normally distributed, however few they are.
///
/// Source: Student, *The probable error of a mean*, 1908.
pub fn student_interval(values: &[f64]) -> Option<[f64; 2]> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    let half = t.inverse_cdf((1.0 + CONFIDENCE) / 2.0) * standard_error(values);
    let middle = mean(values);
    Some([middle - half, middle + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_printed_tables() {
        // The standard deviation of 1, …, 5 is √2.5, of their mean √0.5; t of 4 degrees is 2.776.
        let [low, high] = student_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let half = 2.776_445 * 0.5f64.sqrt();
        assert!((low - (3.0 - half)).abs() < 1e-5, "{low}");
        assert!((high - (3.0 + half)).abs() < 1e-5, "{high}");
        // Of two values: t of one degree is 12.706, half their distance the standard error.
        let [low, high] = student_interval(&[1.0, 2.0]).unwrap();
        assert!((low - (1.5 - 6.353_1)).abs() < 1e-3, "{low}");
        assert!((high - (1.5 + 6.353_1)).abs() < 1e-3, "{high}");
        assert_eq!(student_interval(&[2.0, 2.0, 2.0]), Some([2.0, 2.0]));
        assert_eq!(student_interval(&[1.0]), None);
        assert_eq!(student_interval(&[]), None);
    }
}
