//! A line with a reward as a curve: gain over the divergence from the fine-tuned policy.

use std::fmt;

use super::cases::{LINES, Line, RANKERS, SELECTION};
use super::results::{Results, Row};

/// A way to a policy with what pays for it.
pub(super) struct Curve {
    pub(super) line: &'static Line,
    pub(super) reward: &'static str,
}

/// All of them, in the order of [`LINES`].
pub(super) fn all() -> Vec<Curve> {
    let of_line = |line: &'static Line| -> Vec<Curve> {
        let curve = |reward| Curve { line, reward };
        match line.name {
            SELECTION => RANKERS.into_iter().map(curve).collect(),
            _ => vec![curve(line.reward)],
        }
    };
    LINES.iter().flat_map(of_line).collect()
}

impl Curve {
    /// Whether its divergence is not measured, but at most what it stands at.
    pub(super) fn is_bound(&self) -> bool {
        self.line.name == SELECTION
    }

    /// The rows at each strength that there are results of.
    pub(super) fn by_strength<'a>(&self, results: &'a Results) -> Vec<(f64, Vec<&'a Row>)> {
        let strengths = self.line.strengths.into_iter();
        strengths
            .map(|strength| {
                let rows = results.of(self.line.name, self.reward, Some(strength));
                (strength, rows)
            })
            .filter(|(_, rows)| !rows.is_empty())
            .collect()
    }

    /// Each seed's gain at a divergence, where its curve gets that far, and how many seeds there are.
    pub(super) fn at(&self, results: &Results, kl: f64) -> (Vec<f64>, usize) {
        let rows = results.of(self.line.name, self.reward, None);
        let curves: Vec<Vec<(f64, f64)>> = results
            .seeds()
            .into_iter()
            .map(|seed| {
                let own = rows.iter().filter(|row| row.seed == seed);
                own.filter_map(|row| Some((row.kl?, row.gain))).collect()
            })
            .filter(|points: &Vec<_>| !points.is_empty())
            .collect();
        let gains = curves.iter().filter_map(|points| interpolate(points, kl));
        (gains.collect(), curves.len())
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.line.name {
            SELECTION => "Best-of-N",
            name => name,
        };
        write!(f, "{name} ({})", self.reward)
    }
}

/// The height at `at` of the line from (0, 0) through `points`, from left to right; none beyond the
/// last of them.
fn interpolate(points: &[(f64, f64)], at: f64) -> Option<f64> {
    let mut points = [&[(0.0, 0.0)], points].concat();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let after = points.iter().position(|point| point.0 >= at)?;
    let (x, y) = points[after];
    let Some(&(x_before, y_before)) = after.checked_sub(1).and_then(|before| points.get(before))
    else {
        return (x == at).then_some(y);
    };
    Some(y_before + (y - y_before) * (at - x_before) / (x - x_before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::policy::results::tests::row;

    #[test]
    fn between_points_the_line_is_straight_and_ends_at_the_last() {
        let points = [(2.0, 1.0), (0.4, 0.8)];
        // Half-way from (0, 0) to (0.4, 0.8); then a quarter of the way from there to (2, 1).
        assert!((interpolate(&points, 0.2).unwrap() - 0.4).abs() < 1e-12);
        assert!((interpolate(&points, 0.8).unwrap() - 0.85).abs() < 1e-12);
        assert_eq!(interpolate(&points, 2.0), Some(1.0));
        assert_eq!(interpolate(&points, 2.01), None);
        assert_eq!(interpolate(&[], 0.5), None);
        // An estimate may come out below 0; two may be the same.
        let noisy = [(-0.1, 0.3), (1.0, 0.5), (1.0, 0.7)];
        assert!((interpolate(&noisy, 0.5).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(interpolate(&noisy, 1.0), Some(0.5));
    }

    #[test]
    fn each_seed_has_a_curve_of_its_own() {
        let rows = vec![
            row(0, 1.0, 0.5, 0.25),
            row(0, 0.5, 1.5, 0.75),
            row(1, 1.0, 0.5, 0.5),
        ];
        let results = Results { rows };
        let curves = all();
        let rloo = curves.iter().find(|curve| curve.line.name == "rloo");
        let rloo = rloo.unwrap();
        assert_eq!(rloo.to_string(), "rloo (init-sft)");
        assert_eq!(rloo.at(&results, 0.5), (vec![0.25, 0.5], 2));
        assert_eq!(rloo.at(&results, 1.0), (vec![0.5], 2));
        let strengths: Vec<(f64, usize)> = rloo
            .by_strength(&results)
            .iter()
            .map(|(strength, rows)| (*strength, rows.len()))
            .collect();
        assert_eq!(strengths, [(1.0, 2), (0.5, 1)]);
        assert_eq!(curves.len(), LINES.len() - 1 + RANKERS.len());
        assert_eq!(curves[0].to_string(), "Best-of-N (init-sft)");
    }
}
