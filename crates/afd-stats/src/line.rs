//! Least-squares lines: a learned logit against the closed form.

use serde::{Deserialize, Serialize};

use crate::moments::{is_constant, mean};

/// `y ≈ intercept + slope · x`.
///
/// A learned reward `y` against its closed form `x`, both logits in nats, has slope 1 and
/// intercept 0 where training reached its optimum with balanced classes; an intercept of
/// `log(n+/n-)` is what unbalanced classes leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Units of `y` by unit of `x`.
    pub slope: f64,
    /// `y` at `x = 0`.
    pub intercept: f64,
    /// Share of the variance of `y` that the line accounts for, in 0 to 1; `None` if `y` does not
    /// vary. Within prompts where the line is fitted within them.
    pub r_squared: Option<f64>,
    /// Standard deviation of what is left, in units of `y`: residuals' root mean square.
    pub residual: f64,
    /// Number of points.
    pub count: usize,
}

/// The least-squares line of `y` on `x` over all points; `None` if `x` does not vary.
///
/// # Panics
///
/// If lengths differ.
pub fn line(x: &[f64], y: &[f64]) -> Option<Line> {
    assert_eq!(x.len(), y.len(), "one y for each x");
    let mut sums = Sums::default();
    sums.add(x, y);
    sums.line(mean(x), mean(y))
}

/// The line of `y` on `x` with the slope of the values' deviations from their prompt's mean,
/// pooled over prompts; `None` if `x` varies within no prompt.
///
/// `x` and `y` are `[prompt][answer]`. What differs between prompts, such as the normaliser that a
/// learned reward need not match, has no say in the slope. The intercept is the mean over all
/// answers of `y - slope · x`.
///
/// # Panics
///
/// If shapes differ.
pub fn line_within(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<Line> {
    assert_eq!(x.len(), y.len(), "both sides need the same prompts");
    let mut sums = Sums::default();
    for (x, y) in x.iter().zip(y) {
        assert_eq!(x.len(), y.len(), "both sides need the same answers");
        sums.add(x, y);
    }
    sums.line(mean(&x.concat()), mean(&y.concat()))
}

/// Sums of squares and products of deviations from each group's mean.
#[derive(Default)]
struct Sums {
    xx: f64,
    xy: f64,
    yy: f64,
    count: usize,
}

impl Sums {
    fn add(&mut self, x: &[f64], y: &[f64]) {
        self.count += x.len();
        // Equality is asked of the values: a mean's rounding can make a constant seem to vary.
        let centred = |values: &[f64]| -> Vec<f64> {
            let centre = mean(values);
            let still = is_constant(values);
            let from = |value: &f64| if still { 0.0 } else { value - centre };
            values.iter().map(from).collect()
        };
        let (x, y) = (centred(x), centred(y));
        let product = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        self.xx += product(&x, &x);
        self.xy += product(&x, &y);
        self.yy += product(&y, &y);
    }

    fn line(&self, mean_x: f64, mean_y: f64) -> Option<Line> {
        if self.xx.is_nan() || self.xx <= 0.0 {
            return None;
        }
        let slope = self.xy / self.xx;
        let explained = slope * self.xy;
        Some(Line {
            slope,
            intercept: mean_y - slope * mean_x,
            r_squared: (self.yy > 0.0).then(|| (explained / self.yy).min(1.0)),
            residual: ((self.yy - explained).max(0.0) / self.count as f64).sqrt(),
            count: self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::close;

    #[test]
    fn a_line_on_paper() {
        // Deviations of x (-1, 0, 1), of y (-1, -1, 2): slope 3/2, intercept 1 - 3/2 · 1.
        let fit = line(&[0.0, 1.0, 2.0], &[0.0, 0.0, 3.0]).unwrap();
        assert_eq!((fit.slope, fit.intercept, fit.count), (1.5, -0.5, 3));
        // 4.5 of 6 explained; residuals 0.5, -1, 0.5.
        assert!(close(fit.r_squared.unwrap(), 0.75, 1e-15));
        assert!(close(fit.residual, (1.5_f64 / 3.0).sqrt(), 1e-15));
        let text = serde_json::to_string(&fit).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), fit);
    }

    #[test]
    fn prompts_have_no_say_within() {
        // y = 2x plus an offset for each prompt that runs against x between them.
        let x = [vec![0.0, 1.0], vec![10.0, 11.0, 12.0], vec![5.0], vec![]];
        let y = [vec![50.0, 52.0], vec![20.0, 22.0, 24.0], vec![34.0], vec![]];
        let fit = line_within(&x, &y).unwrap();
        assert!(close(fit.slope, 2.0, 1e-12));
        assert_eq!((fit.r_squared, fit.count), (Some(1.0), 6));
        // Means 39/6 and 202/6.
        assert!(close(fit.intercept, (202.0 - 78.0) / 6.0, 1e-12));
        assert!(line(&x.concat(), &y.concat()).unwrap().slope < 0.0);
        assert_eq!(line_within(&x[2..], &y[2..]), None);
    }

    #[test]
    fn constants_have_no_slope() {
        assert_eq!(line(&[0.1; 3], &[1.0, 2.0, 3.0]), None);
        assert_eq!(line(&[], &[]), None);
        let flat = line(&[1.0, 2.0], &[0.1, 0.1]).unwrap();
        assert_eq!(
            (flat.slope, flat.r_squared, flat.residual),
            (0.0, None, 0.0)
        );
    }
}
