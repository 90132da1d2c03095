//! The results as figures: gain over the divergence from the fine-tuned policy, a dot for every seed.

use crate::study::chart::{self, Area, COLOURS, Stroke};
use crate::study::seeds::mean_and_half;

use super::cases::INIT_SFT;
use super::curves::{self, Curve};
use super::results::{Results, Row};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// What is left for the key.
const KEY: f64 = 300.0;
/// From one entry of it to the next.
const STEP: f64 = 19.0;

/// Dashes by how often the colours have been gone through; those of bounds are none of them.
const DASHES: [&str; 4] = ["", "2 3", "9 3 2 3", "1 5"];
const BOUND: &str = "5 4";

/// What the key leaves room for among the rankers of Best-of-N; the others stand in the tables. The
/// golden one, which is far above all, would press the rest together.
const DRAWN: [&str; 4] = [
    INIT_SFT,
    "preference",
    "closed-form-clipped",
    "mean-logprob",
];

/// Divergences that stand below the figure, if it gets so far.
const TICKS: [f64; 11] = [0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// What is told of each row.
type Height = fn(&Row) -> Option<f64>;

/// Golden gain of every line.
pub(super) fn gain(results: &Results) -> String {
    let drawn = |curve: &Curve| !curve.is_bound() || DRAWN.contains(&curve.reward);
    let curves = drawn_curves(results, drawn);
    let mut svg = chart::head((WIDTH, HEIGHT), LEFT, "Golden gain over SFT");
    let edges = (LEFT, WIDTH - KEY);
    panel(&mut svg, results, &curves, edges, |row| Some(row.gain));
    key(&mut svg, &curves);
    svg + "</svg>\n"
}

/// Gain by the Init-SFT reward beside golden gain, of the lines that are paid by it.
pub(super) fn proxy(results: &Results) -> String {
    let curves = drawn_curves(results, |curve| curve.reward == INIT_SFT);
    let title = "Gain by the Init-SFT reward itself (left), and golden gain (right)";
    let mut svg = chart::head((WIDTH, HEIGHT), LEFT, title);
    let half = (WIDTH - KEY - LEFT) / 2.0;
    let left = (LEFT, LEFT + half - LEFT / 2.0);
    panel(&mut svg, results, &curves, left, |row| row.proxy_gain);
    let right = (LEFT + half + LEFT / 2.0, WIDTH - KEY);
    panel(&mut svg, results, &curves, right, |row| Some(row.gain));
    key(&mut svg, &curves);
    svg + "</svg>\n"
}

/// The curves that there are results of and that are to be drawn, each with its stroke.
fn drawn_curves(results: &Results, drawn: impl Fn(&Curve) -> bool) -> Vec<(Curve, Stroke)> {
    let curves = curves::all().into_iter().filter(drawn);
    let curves = curves.filter(|curve| !curve.by_strength(results).is_empty());
    let (mut bounds, mut measured) = (0, 0);
    curves
        .map(|curve| {
            let count = match curve.is_bound() {
                true => &mut bounds,
                false => &mut measured,
            };
            let stroke = Stroke {
                colour: COLOURS[*count % COLOURS.len()],
                dashes: match curve.is_bound() {
                    true => BOUND,
                    false => DASHES[*count / COLOURS.len() % DASHES.len()],
                },
            };
            *count += 1;
            (curve, stroke)
        })
        .collect()
}

/// The curves over the root of the divergence, between two edges of the figure.
fn panel(
    svg: &mut String,
    results: &Results,
    curves: &[(Curve, Stroke)],
    (left, right): (f64, f64),
    height: Height,
) {
    let places: Vec<(f64, f64)> = curves
        .iter()
        .flat_map(|(curve, _)| curve.by_strength(results))
        .flat_map(|(_, rows)| rows)
        .filter_map(|row| Some((root(row.kl?), height(row)?)))
        .collect();
    let (across, upwards): (Vec<f64>, Vec<f64>) = places.into_iter().chain([(0.0, 0.0)]).unzip();
    let area = Area {
        left,
        right,
        top: TOP,
        bottom: HEIGHT - BOTTOM,
        across: chart::range(&across),
        upwards: chart::range(&upwards),
    };
    let reached = |tick: &f64| root(*tick) <= area.across.1;
    let ticks: Vec<f64> = TICKS.into_iter().filter(reached).collect();
    let told = "KL from SFT, nats an answer (root scale)";
    chart::axes(svg, &area, &ticks, root, told);
    for (curve, stroke) in curves {
        // All begin at the fine-tuned policy.
        let mut line = vec![(area.x(0.0), area.y(0.0))];
        for (_, rows) in curve.by_strength(results) {
            let known = rows.iter().filter_map(|row| Some((row.kl?, height(row)?)));
            let (kls, heights): (Vec<f64>, Vec<f64>) = known.unzip();
            for (kl, height) in kls.iter().zip(&heights) {
                chart::dot(svg, area.x(root(*kl)), area.y(*height), stroke.colour);
            }
            let means = mean_and_half(&kls).zip(mean_and_half(&heights));
            if let Some(((kl, _), (height, _))) = means {
                line.push((area.x(root(kl)), area.y(height)));
            }
        }
        if line.len() > 1 {
            chart::curve(svg, &line, *stroke);
        }
    }
}

fn key(svg: &mut String, curves: &[(Curve, Stroke)]) {
    for (number, (curve, stroke)) in curves.iter().enumerate() {
        let y = TOP + 10.0 + STEP * number as f64;
        chart::key(svg, WIDTH - KEY + 16.0, y, *stroke, &curve.to_string());
    }
}

/// An estimate below 0 stands at 0.
fn root(kl: f64) -> f64 {
    kl.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::policy::cases::SELECTION;
    use crate::study::policy::results::tests::row;

    fn results() -> Results {
        let best = |ranker: &str| Row {
            line: SELECTION.to_owned(),
            reward: ranker.to_owned(),
            ..row(0, 4.0, 0.64, 0.5)
        };
        let dpo = Row {
            line: "dpo".to_owned(),
            reward: "preference".to_owned(),
            ..row(0, 1.0, 4.0, 0.25)
        };
        Results {
            rows: vec![
                row(0, 1.0, 0.9, 0.2),
                row(1, 1.0, 1.1, 0.4),
                best(INIT_SFT),
                best("golden"),
                dpo,
            ],
        }
    }

    #[test]
    fn a_curve_for_each_line_and_a_dot_for_each_seed() {
        let svg = gain(&results());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 4);
        // Each curve, and its piece in the key.
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2 * 3);
        assert_eq!(svg.matches(BOUND).count(), 2);
        assert!(svg.contains("Best-of-N (init-sft)") && !svg.contains("golden)"));
    }

    #[test]
    fn the_proxy_is_drawn_for_the_reward_it_is() {
        let svg = proxy(&results());
        assert!(svg.contains("rloo (init-sft)") && !svg.contains("dpo"));
        // Three rows, in either half.
        assert_eq!(svg.matches("<circle").count(), 2 * 3);
    }

    #[test]
    fn no_two_curves_look_the_same_and_the_key_holds_them() {
        let curves = curves::all();
        let rows = curves.iter().map(|curve| Row {
            line: curve.line.name.to_owned(),
            reward: curve.reward.to_owned(),
            ..row(0, curve.line.strengths[0], 1.0, 0.5)
        });
        let results = Results {
            rows: rows.collect(),
        };
        let drawn = |curve: &Curve| !curve.is_bound() || DRAWN.contains(&curve.reward);
        let strokes: Vec<Stroke> = drawn_curves(&results, drawn)
            .into_iter()
            .map(|(_, stroke)| stroke)
            .collect();
        for (place, stroke) in strokes.iter().enumerate() {
            assert!(!strokes[..place].contains(stroke), "{stroke:?}");
        }
        assert!(TOP + STEP * strokes.len() as f64 + 10.0 < HEIGHT);
    }

    #[test]
    fn nothing_yet_is_a_figure_too() {
        assert!(gain(&Results::default()).ends_with("</svg>\n"));
        assert!(!proxy(&Results::default()).contains("NaN"));
    }
}
