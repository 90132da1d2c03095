//! Axes with round numbers.

use crate::numbers::fixed;

/// Maps values to places in the picture.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Where `low` and `high` are in the picture.
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    pub(super) fn place(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}

/// Smallest and largest value, never the same.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low < high {
        (low, high)
    } else if low.is_finite() {
        (low - 0.5, low + 0.5)
    } else {
        (0.0, 1.0)
    }
}

/// Between three and seven round numbers in a range.
pub(super) fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 7.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= rough)
        .unwrap_or(power);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|i| i as f64 * step)
        .map(|value| (value, fixed(value, decimals)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ticks: &[(f64, String)]) -> Vec<&str> {
        ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            names(&ticks(-0.83, 2.1)),
            ["−0.5", "0.0", "0.5", "1.0", "1.5", "2.0"]
        );
        assert_eq!(
            names(&ticks(-0.7, 0.7)),
            ["−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4", "0.6"]
        );
        assert_eq!(
            names(&ticks(0.012, 0.047)),
            [
                "0.015", "0.020", "0.025", "0.030", "0.035", "0.040", "0.045"
            ]
        );
        assert_eq!(names(&ticks(0.0, 480.0)), ["0", "100", "200", "300", "400"]);
    }
}
