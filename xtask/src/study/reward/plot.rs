//! The results as figures: lines over the heterogeneity dial, a dot for every seed.

use std::fmt::Write;

use super::cases::DEFAULT;
use super::results::{Results, Row, mean_and_half};
use super::tables::SOURCES;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;

/// Colours that people with colour blindness can tell apart, by Okabe and Ito.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#cc79a7", "#009e73", "#56b4e9", "#e69f00", "#7f7f7f",
];

/// A line: its name, and what of each row it follows.
struct Line {
    name: String,
    ranker: &'static str,
    of: fn(&Row) -> Option<f64>,
    dashed: bool,
}

/// Golden gain of Best-of-8 by each reward.
pub(super) fn gain(results: &Results) -> String {
    let line = |ranker| Line {
        name: String::from(ranker),
        ranker,
        of: |row| Some(row.gain),
        dashed: ranker == "mean-logprob",
    };
    let lines: Vec<Line> = SOURCES
        .into_iter()
        .chain(["mean-logprob"])
        .map(line)
        .collect();
    figure("Golden gain of Best-of-8 over SFT", results, &lines)
}

/// AUC of the reward models and of the surface classifiers beside them.
pub(super) fn auc(results: &Results) -> String {
    let model = |ranker| Line {
        name: String::from(ranker),
        ranker,
        of: |row| row.auc,
        dashed: false,
    };
    let surface = |ranker| Line {
        name: format!("{ranker}, surface"),
        ranker,
        of: |row| row.shallow_auc,
        dashed: true,
    };
    let lines: Vec<Line> = SOURCES[..4]
        .iter()
        .flat_map(|&ranker| [model(ranker), surface(ranker)])
        .collect();
    figure("AUC on held-out answers", results, &lines)
}

fn figure(title: &str, results: &Results, lines: &[Line]) -> String {
    let dials = results.dials(DEFAULT);
    let values = |line: &Line, dial: f64| -> Vec<f64> {
        let rows = results.of(DEFAULT, dial, line.ranker).into_iter();
        rows.filter_map(line.of).collect()
    };
    let all: Vec<f64> = lines
        .iter()
        .flat_map(|line| dials.iter().flat_map(|&dial| values(line, dial)))
        .collect();
    let (low, high) = range(&all);
    let x = |dial: f64| LEFT + (WIDTH - LEFT - RIGHT) * dial;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low);
    let mut svg = head(title);
    axes(&mut svg, (low, high), &dials, &x, &y);
    for (number, line) in lines.iter().enumerate() {
        let colour = match lines.len() > COLOURS.len() {
            true => COLOURS[number / 2],
            false => COLOURS[number],
        };
        let dash = if line.dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        // Dots of neighbouring lines side by side.
        let aside = (number as f64 - lines.len() as f64 / 2.0) * 2.5;
        let mut path = String::new();
        for &dial in &dials {
            let values = values(line, dial);
            let Some((mean, _)) = mean_and_half(&values) else {
                continue;
            };
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(dial), y(mean));
            for value in values {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{colour}\" fill-opacity=\".45\"/>",
                    x(dial) + aside,
                    y(value)
                );
            }
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"
        );
        let (at, key) = (TOP + 10.0 + 20.0 * number as f64, WIDTH - RIGHT + 16.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{key} {at}h24\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            key + 30.0,
            at + 4.0,
            line.name
        );
    }
    svg + "</svg>\n"
}

fn head(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>\n\
         :root {{ color-scheme: light dark }}\n\
         rect.ground {{ fill: Canvas }}\n\
         text {{ fill: CanvasText }}\n\
         .axis {{ stroke: CanvasText; stroke-opacity: .2 }}\n\
         </style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-weight=\"600\" font-size=\"14\">{title}</text>\n"
    )
}

fn axes(
    svg: &mut String,
    (low, high): (f64, f64),
    dials: &[f64],
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) {
    let step = round_step((high - low) / 5.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    for value in (first..=last).map(|count| count as f64 * step) {
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {at:.1}H{}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(value) + 4.0,
            at = y(value)
        );
    }
    for &dial in dials {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{dial}</text>",
            x(dial),
            HEIGHT - BOTTOM + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">heterogeneity: how much of the demonstrator's style is its own</text>",
        x(0.5),
        HEIGHT - BOTTOM + 42.0
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
fn range(values: &[f64]) -> (f64, f64) {
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
