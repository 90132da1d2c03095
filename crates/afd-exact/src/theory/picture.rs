//! Mass-covering and mode-seeking as a figure.

use crate::{
    divergence::Divergence,
    projection::{bell, bell_starts, project, three_habits},
    space::Space,
};

/// The longest answer shown, in tokens.
const HORIZON: usize = 31;

/// The edges of the plot within the figure of 760 by 430 pixels.
const LEFT: f64 = 68.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 368.0;

/// What the figure's lines are called, drawn as, and said to do.
const LINES: [(Divergence, &str, &str); 3] = [
    (
        Divergence::ForwardKl,
        "forward",
        "forward KL covers all three",
    ),
    (
        Divergence::JensenShannon,
        "between",
        "Jensen–Shannon takes the two nearby",
    ),
    (Divergence::ReverseKl, "reverse", "reverse KL seeks one"),
];

const STYLE: &str = "
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }
  .grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #59636e; stroke-width: 1 }
  .bar { fill: #c3cbd4 }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
  .forward { stroke: #0969da } .between { stroke: #1a7f37; stroke-dasharray: 7 5 }
  .reverse { stroke: #cf4a1c; stroke-dasharray: 1.5 5 }
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 } .end { text-anchor: end } .middle { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
    .grid { stroke: #2a3038 } .axis { stroke: #9198a1 } .bar { fill: #444c56 }
    .forward { stroke: #58a6ff } .between { stroke: #3fb950 } .reverse { stroke: #ff8a5b }
  }
";

/// An SVG of a demonstrator with three habits and the closest one-habit policies to it by forward
/// KL, Jensen–Shannon and reverse KL.
///
/// Answers are those of a vocabulary of one word, so each is a length. Self-contained; legible on a
/// light and a dark page.
pub fn picture() -> String {
    let space = Space::new(2, HORIZON);
    let demonstrator = three_habits(&space);
    let count = demonstrator.len();
    let highest = demonstrator.iter().copied().fold(0.0, f64::max);
    let fits = LINES.map(|(divergence, ..)| {
        let family = |at: &[f64]| bell(count, at);
        let found = project(divergence, &demonstrator, family, &bell_starts(count));
        found.map_or_else(Vec::new, |found| found.policy)
    });
    let most = fits.iter().flatten().copied().fold(highest, f64::max);
    let scale = Scale {
        count: count as f64,
        most: (most * 20.0).ceil() / 20.0,
    };
    let mut parts = vec![frame(&scale)];
    parts.extend(bars(&scale, &demonstrator));
    parts.push(axes(&scale));
    for ((_, class, _), fit) in LINES.iter().zip(&fits) {
        parts.push(curve(&scale, class, fit));
    }
    parts.push(legend());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 430\" role=\"img\" \
         aria-label=\"Mass-covering and mode-seeking projections of a demonstrator with three \
         habits\">\n<style>{STYLE}</style>\n{}\n</svg>\n",
        parts.join("\n")
    )
}

/// Where outcomes and probabilities lie in the figure.
struct Scale {
    count: f64,
    most: f64,
}

impl Scale {
    /// The middle of an outcome's place.
    fn x(&self, outcome: usize) -> f64 {
        LEFT + (outcome as f64 + 0.5) * self.slot()
    }

    fn slot(&self) -> f64 {
        (RIGHT - LEFT) / self.count
    }

    fn y(&self, probability: f64) -> f64 {
        BOTTOM - probability / self.most * (BOTTOM - TOP)
    }
}

/// The page, the title and the grid with its numbers.
fn frame(scale: &Scale) -> String {
    let mut lines = vec![
        "<rect class=\"paper\" width=\"760\" height=\"430\" rx=\"8\"/>".to_owned(),
        text(
            LEFT,
            30.0,
            "ink title",
            "The closest policy with one habit to a demonstrator with three",
        ),
        format!(
            "<text class=\"soft middle\" transform=\"translate(22 {:.1}) rotate(-90)\">probability of \
             the answer</text>",
            0.5 * (TOP + BOTTOM)
        ),
    ];
    let ticks = (scale.most / 0.05).round() as usize;
    for tick in 0..=ticks {
        let value = 0.05 * tick as f64;
        let y = scale.y(value);
        if tick > 0 {
            lines.push(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            ));
        }
        lines.push(text(
            LEFT - 8.0,
            y + 4.5,
            "soft end",
            &format!("{value:.2}"),
        ));
    }
    lines.join("\n")
}

/// The demonstrator.
fn bars<'a>(scale: &'a Scale, demonstrator: &'a [f64]) -> impl Iterator<Item = String> + 'a {
    demonstrator.iter().enumerate().map(|(i, p)| {
        let (width, y) = (0.8 * scale.slot(), scale.y(*p));
        format!(
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
            scale.x(i) - 0.5 * width,
            BOTTOM - y
        )
    })
}

/// The axis of lengths.
fn axes(scale: &Scale) -> String {
    let mut lines = vec![format!(
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
    )];
    let last = scale.count as usize - 1;
    for outcome in (0..last - 1).step_by(3) {
        let label = (outcome + 1).to_string();
        lines.push(text(scale.x(outcome), BOTTOM + 20.0, "soft middle", &label));
    }
    lines.push(text(scale.x(last), BOTTOM + 20.0, "soft middle", "cut"));
    let middle = 0.5 * (LEFT + RIGHT);
    let label = "tokens of the answer, end token included";
    lines.push(text(middle, BOTTOM + 46.0, "soft middle", label));
    lines.join("\n")
}

/// One policy.
fn curve(scale: &Scale, class: &str, policy: &[f64]) -> String {
    let points = policy.iter().enumerate();
    let points: Vec<String> = points
        .map(|(i, p)| format!("{:.1},{:.1}", scale.x(i), scale.y(*p)))
        .collect();
    format!(
        "<polyline class=\"line {class}\" points=\"{}\"/>",
        points.join(" ")
    )
}

/// What is what, where nothing is drawn.
fn legend() -> String {
    let (x, y, row) = (RIGHT - 306.0, TOP + 20.0, 25.0);
    let (to, at) = (x + 30.0, x + 42.0);
    let mut lines = vec![
        format!(
            "<rect class=\"paper\" x=\"{}\" y=\"{}\" width=\"321\" height=\"110\"/>",
            x - 14.0,
            y - 15.0
        ),
        format!(
            "<rect class=\"bar\" x=\"{x}\" y=\"{}\" width=\"30\" height=\"12\"/>",
            y - 6.0
        ),
        text(at, y + 4.5, "ink", "demonstrator"),
    ];
    for (i, (_, class, says)) in LINES.iter().enumerate() {
        let y = y + row * (i + 1) as f64;
        lines.push(format!(
            "<line class=\"line {class}\" x1=\"{x}\" x2=\"{to}\" y1=\"{y}\" y2=\"{y}\"/>"
        ));
        lines.push(text(at, y + 4.5, "ink", says));
    }
    lines.join("\n")
}

fn text(x: f64, y: f64, class: &str, says: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{says}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_has_a_bar_per_answer_three_curves_and_what_they_are() {
        let svg = picture();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<rect class=\"bar\"").count(), HORIZON + 1 + 1);
        assert_eq!(svg.matches("<polyline").count(), 3);
        for (_, _, says) in LINES {
            assert!(svg.contains(says));
        }
        assert!(svg.contains("prefers-color-scheme: dark") && !svg.contains("NaN"));
        assert!(!svg.contains("href"), "self-contained");
    }

    #[test]
    fn everything_drawn_lies_within_the_figure() {
        let svg = picture();
        for name in ["x", "x1", "x2", "y", "y1", "y2"] {
            let most = if name.starts_with('x') { 760.0 } else { 430.0 };
            for rest in svg.split(&format!(" {name}=\"")).skip(1) {
                let value: f64 = rest.split('"').next().unwrap().parse().unwrap();
                assert!((0.0..=most).contains(&value), "{name} {value}");
            }
        }
    }
}
