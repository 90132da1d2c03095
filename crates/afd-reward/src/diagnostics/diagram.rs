//! The reliability diagram: is the model right as often as it says?

use std::fmt::Write;

use afd_stats::Calibration;

/// Side of the square that is plotted in, in pixels, and its distance from the edges.
const SIDE: f64 = 300.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 40.0;

/// An SVG file, legible on light and dark grounds: a point for each bin, its area the number of
/// answers in it; on the diagonal a model is calibrated.
pub(super) fn reliability(calibration: &Calibration) -> String {
    let x = |share: f64| LEFT + SIDE * share;
    let y = |share: f64| TOP + SIDE * (1.0 - share);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 400 400\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>\n\
         :root {{ color-scheme: light dark }}\n\
         rect.ground {{ fill: Canvas }}\n\
         text {{ fill: CanvasText }}\n\
         .axis {{ stroke: CanvasText; stroke-opacity: .35; fill: none }}\n\
         .bin {{ fill: #4c78a8; fill-opacity: .8 }}\n\
         .line {{ stroke: #4c78a8; fill: none }}\n\
         </style>\n\
         <rect class=\"ground\" width=\"400\" height=\"400\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-weight=\"600\">Reliability, expected calibration error {:.3}</text>\n",
        calibration.expected_calibration_error
    );
    // Writing to a String does not fail.
    let _ = writeln!(
        svg,
        "<rect class=\"axis\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\"/>\n\
         <path class=\"axis\" stroke-dasharray=\"4 4\" d=\"M{} {}L{} {}\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tick}</text>",
            x(tick),
            TOP + SIDE + 18.0,
            LEFT - 8.0,
            y(tick) + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">probability the model gives the chosen side</text>\n\
         <text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">share that was the chosen side's</text>",
        x(0.5),
        TOP + SIDE + 40.0,
        y(0.5)
    );
    let total: usize = calibration.bins.iter().map(|bin| bin.count).sum();
    let mut path = String::new();
    for (index, bin) in calibration.bins.iter().enumerate() {
        let (cx, cy) = (x(bin.mean_predicted), y(bin.share_positive));
        let radius = 3.0 + 12.0 * (bin.count as f64 / total.max(1) as f64).sqrt();
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{cx:.1} {cy:.1}");
        let _ = writeln!(
            svg,
            "<circle class=\"bin\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius:.1}\"><title>{} answers</title></circle>",
            bin.count
        );
    }
    let _ = writeln!(svg, "<path class=\"line\" d=\"{path}\"/>\n</svg>");
    svg
}
