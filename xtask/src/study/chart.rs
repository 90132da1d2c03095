//! Figures as SVG, in the reader's light or dark: ground and title, axes, curves and their key.

use std::fmt::Write;

/// Colours that people with colour blindness can tell apart, by Okabe and Ito.
pub(super) const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#cc79a7", "#009e73", "#56b4e9", "#e69f00", "#7f7f7f",
];

/// Where values are drawn: the edges of an area of the figure, and the values there.
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// At the left and the right edge.
    pub(super) across: (f64, f64),
    /// At the bottom and the top edge.
    pub(super) upwards: (f64, f64),
}

impl Area {
    pub(super) fn x(&self, value: f64) -> f64 {
        let (low, high) = self.across;
        self.left + (self.right - self.left) * (value - low) / (high - low)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let (low, high) = self.upwards;
        self.bottom - (self.bottom - self.top) * (value - low) / (high - low)
    }
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stroke {
    pub(super) colour: &'static str,
    /// Lengths of dashes and gaps; empty for a line without gaps.
    pub(super) dashes: &'static str,
}

impl Stroke {
    fn attributes(self) -> String {
        let Self { colour, dashes } = self;
        let dash = match dashes {
            "" => String::new(),
            _ => format!(" stroke-dasharray=\"{dashes}\""),
        };
        format!("stroke=\"{colour}\" stroke-width=\"2\"{dash}")
    }
}

/// The beginning of a figure; its end is `</svg>`.
pub(super) fn head((width, height): (f64, f64), left: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>\n\
         :root {{ color-scheme: light dark }}\n\
         rect.ground {{ fill: Canvas }}\n\
         text {{ fill: CanvasText }}\n\
         .axis {{ stroke: CanvasText; stroke-opacity: .2 }}\n\
         </style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text x=\"{left}\" y=\"24\" font-weight=\"600\" font-size=\"14\">{title}</text>\n"
    )
}

/// Lines across at round values, `ticks` below where they stand, and what is told across.
pub(super) fn axes(svg: &mut String, area: &Area, ticks: &[f64], at: fn(f64) -> f64, across: &str) {
    let (low, high) = area.upwards;
    let step = round_step((high - low) / 5.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    // Writing to a String does not fail.
    for value in (first..=last).map(|count| count as f64 * step) {
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{} {at:.1}H{}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
            area.left,
            area.right,
            area.left - 8.0,
            area.y(value) + 4.0,
            at = area.y(value)
        );
    }
    for &tick in ticks {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            area.x(at(tick)),
            area.bottom + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{across}</text>",
        (area.left + area.right) / 2.0,
        area.bottom + 42.0
    );
}

/// A seed.
pub(super) fn dot(svg: &mut String, x: f64, y: f64, colour: &str) {
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\" fill-opacity=\".45\"/>"
    );
}

/// A line through places in the figure.
pub(super) fn curve(svg: &mut String, places: &[(f64, f64)], stroke: Stroke) {
    let mut path = String::new();
    for (x, y) in places {
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1} {y:.1}");
    }
    let _ = writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" {}/>",
        stroke.attributes()
    );
}

/// What a curve is, beside a piece of it.
pub(super) fn key(svg: &mut String, x: f64, y: f64, stroke: Stroke, name: &str) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x} {y}h24\" {}/><text x=\"{}\" y=\"{}\">{name}</text>",
        stroke.attributes(),
        x + 30.0,
        y + 4.0
    );
}

/// 1, 2 or 5 times a power of ten, about as large as `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = step / power;
    let digit = [1.0, 2.0, 5.0].into_iter().find(|&nice| digit <= nice);
    power * digit.unwrap_or(10.0)
}

/// A range that holds all values, a little wider than they are.
pub(super) fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match low < high {
        true => (low - 0.04 * (high - low), high + 0.04 * (high - low)),
        false => (0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_in_round_steps() {
        for (step, round) in [
            (0.13, 0.2),
            (0.2, 0.2),
            (0.7, 1.0),
            (0.045, 0.05),
            (3.1, 5.0),
        ] {
            assert!((round_step(step) - round).abs() < 1e-12, "{step}");
        }
    }
}
