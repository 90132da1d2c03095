//! The results as figures: lines over the heterogeneity dial, a dot for every seed.

use crate::study::chart::{self, Area, COLOURS, Stroke};
use crate::study::seeds::mean_and_half;

use super::cases::DEFAULT;
use super::results::{Results, Row};
use super::tables::SOURCES;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;

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
    let area = Area {
        left: LEFT,
        right: WIDTH - RIGHT,
        top: TOP,
        bottom: HEIGHT - BOTTOM,
        across: (0.0, 1.0),
        upwards: chart::range(&all),
    };
    let mut svg = chart::head((WIDTH, HEIGHT), LEFT, title);
    let across = "heterogeneity: how much of the demonstrator's style is its own";
    chart::axes(&mut svg, &area, &dials, |dial| dial, across);
    for (number, line) in lines.iter().enumerate() {
        let stroke = Stroke {
            colour: match lines.len() > COLOURS.len() {
                true => COLOURS[number / 2],
                false => COLOURS[number],
            },
            dashes: if line.dashed { "5 4" } else { "" },
        };
        // Dots of neighbouring lines side by side.
        let aside = (number as f64 - lines.len() as f64 / 2.0) * 2.5;
        let mut places = Vec::new();
        for &dial in &dials {
            let values = values(line, dial);
            let Some((mean, _)) = mean_and_half(&values) else {
                continue;
            };
            places.push((area.x(dial), area.y(mean)));
            for value in values {
                let x = area.x(dial) + aside;
                chart::dot(&mut svg, x, area.y(value), stroke.colour);
            }
        }
        chart::curve(&mut svg, &places, stroke);
        let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 10.0 + 20.0 * number as f64);
        chart::key(&mut svg, x, y, stroke, &line.name);
    }
    svg + "</svg>\n"
}
