//! Line charts as SVG: axes, lines with whiskers, levels, and names beside the plot.

mod axis;
mod mark;

use std::fmt::Write;

use axis::{Axis, range, ticks};
pub(super) use mark::Mark;

use super::html::escape;
use crate::numbers::fixed;

/// Least width, and height, in SVG units, and the plot's rectangle in it.
const SIZE: (f64, f64) = (860.0, 430.0);
const LEFT: f64 = 66.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 374.0;

/// From the plot to where names begin, and the width of a character of theirs.
const NAMES: f64 = 45.0;
const CHARACTER: f64 = 7.0;

/// Distance of names, so that they do not overlap.
const LINE_HEIGHT: f64 = 16.0;

/// How a line looks: never by colour alone.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// A class of the style sheet that sets `--line`.
    pub(super) colour: &'static str,
    pub(super) mark: Mark,
    /// An SVG dash pattern; empty for a solid line.
    pub(super) dash: &'static str,
}

/// A line through points.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<Point>,
    /// Filled down to the bottom, for histograms.
    pub(super) filled: bool,
}

pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) interval: Option<[f64; 2]>,
    /// Of a measured `x`, which then stays where it is.
    pub(super) across: Option<[f64; 2]>,
    /// Shown while the pointer rests on the point.
    pub(super) hint: String,
}

/// A horizontal line.
pub(super) struct Level {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) y: f64,
}

pub(super) struct Chart {
    /// Read to those who cannot see the chart.
    pub(super) label: String,
    pub(super) x_title: String,
    pub(super) y_title: String,
    /// Places and names of the ticks on the x axis; chosen from the points if empty.
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) y_from_zero: bool,
    pub(super) series: Vec<Series>,
    pub(super) levels: Vec<Level>,
}

impl Chart {
    pub(super) fn svg(&self) -> String {
        let (x, y) = (self.x_axis(), self.y_axis());
        let mut svg = String::new();
        // Writing to a String cannot fail.
        let _ = self.draw(&mut svg, &x, &y);
        svg
    }

    fn draw(&self, svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
        let (width, height) = (self.width(), SIZE.1);
        let label = escape(&self.label);
        writeln!(
            svg,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">"
        )?;
        self.draw_axes(svg, x, y)?;
        for level in &self.levels {
            let (colour, at) = (level.look.colour, y.place(level.y));
            writeln!(
                svg,
                "<line class=\"level {colour}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" \
                 y2=\"{at:.1}\" stroke-dasharray=\"{}\"><title>{}: {}</title></line>",
                level.look.dash,
                escape(&level.name),
                fixed(level.y, 3)
            )?;
        }
        // Whiskers at the same x would hide each other.
        let whiskered: Vec<usize> = (0..self.series.len())
            .filter(|&i| {
                self.series[i]
                    .points
                    .iter()
                    .any(|point| point.interval.is_some() && point.across.is_none())
            })
            .collect();
        for (index, series) in self.series.iter().enumerate() {
            let place = whiskered.iter().position(|&other| other == index);
            let centre = (whiskered.len() as f64 - 1.0) / 2.0;
            let aside = place.map_or(0.0, |place| 4.0 * (place as f64 - centre));
            draw_series(svg, series, x, y, aside)?;
        }
        self.draw_names(svg, x, y)?;
        write!(svg, "</svg>")
    }

    /// As wide as the longest name beside the plot needs.
    fn width(&self) -> f64 {
        let names = self.series.iter().map(|series| &series.name);
        let names = names.chain(self.levels.iter().map(|level| &level.name));
        let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
        SIZE.0.max(RIGHT + NAMES + CHARACTER * longest as f64)
    }

    fn draw_axes(&self, svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
        for (value, name) in &y.ticks {
            let at = y.place(*value);
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 8.0,
                at + 4.0
            )?;
        }
        writeln!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
        )?;
        for (value, name) in &x.ticks {
            let at = x.place(*value);
            writeln!(
                svg,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 5.0,
                BOTTOM + 20.0,
                escape(name)
            )?;
        }
        let (across, down) = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
        writeln!(
            svg,
            "<text x=\"{across}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(18 {down}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 44.0,
            escape(&self.x_title),
            escape(&self.y_title)
        )
    }

    /// Names to the right of the plot at the height of their lines, pushed apart where need be.
    fn draw_names(&self, svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
        let ends = self.series.iter().filter_map(|series| {
            let last = if series.filled {
                // The end of a histogram is on the ground; its top is where the eye is.
                series.points.iter().max_by(|a, b| a.y.total_cmp(&b.y))?
            } else {
                series.points.last()?
            };
            // Across the plot a leader would look like the point's whisker.
            let start = last.across.map_or_else(|| x.place(last.x), |_| RIGHT);
            Some((start, y.place(last.y), series.name.as_str(), series.look))
        });
        let levels = self
            .levels
            .iter()
            .map(|level| (RIGHT, y.place(level.y), level.name.as_str(), level.look));
        let mut names: Vec<_> = ends.chain(levels).collect();
        names.sort_by(|a, b| a.1.total_cmp(&b.1));
        let wanted: Vec<f64> = names.iter().map(|name| name.1).collect();
        for (&(from, level, name, look), at) in names.iter().zip(spread(&wanted)) {
            let (x1, x2) = ((from + 5.0).min(RIGHT), RIGHT + 14.0);
            let (x3, x4) = (x2 + 26.0, x2 + 31.0);
            let Look { colour, dash, mark } = look;
            writeln!(
                svg,
                "<g class=\"{colour}\"><path class=\"leader\" d=\"M{x1:.1} {level:.1}L{RIGHT} \
                 {level:.1}L{x2} {at:.1}\"/><line class=\"series\" x1=\"{x2}\" x2=\"{x3}\" \
                 y1=\"{at:.1}\" y2=\"{at:.1}\" stroke-dasharray=\"{dash}\"/>{}\
                 <text class=\"name\" x=\"{x4}\" y=\"{:.1}\">{}</text></g>",
                mark.draw(f64::midpoint(x2, x3), at, ""),
                at + 4.0,
                escape(name)
            )?;
        }
        Ok(())
    }

    fn x_axis(&self) -> Axis {
        let values = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .flat_map(|p| {
                let [low, high] = p.across.unwrap_or([p.x, p.x]);
                [low, p.x, high]
            });
        let (low, high) = range(values.chain(self.x_ticks.iter().map(|tick| tick.0)));
        let margin = 0.03 * (high - low);
        let ticks = if self.x_ticks.is_empty() {
            ticks(low, high)
        } else {
            self.x_ticks.clone()
        };
        Axis {
            low: low - margin,
            high: high + margin,
            start: LEFT,
            end: RIGHT,
            ticks,
        }
    }

    fn y_axis(&self) -> Axis {
        let values = self.series.iter().flat_map(|series| {
            series.points.iter().flat_map(|p| {
                let [low, high] = p.interval.unwrap_or([p.y, p.y]);
                [low, p.y, high]
            })
        });
        let zero = self.y_from_zero.then_some(0.0);
        let (low, high) = range(values.chain(self.levels.iter().map(|l| l.y)).chain(zero));
        let margin = 0.04 * (high - low);
        let low = if self.y_from_zero { low } else { low - margin };
        let high = high + margin;
        Axis {
            low,
            high,
            start: BOTTOM,
            end: TOP,
            ticks: ticks(low, high),
        }
    }
}

fn draw_series(
    svg: &mut String,
    series: &Series,
    x: &Axis,
    y: &Axis,
    aside: f64,
) -> std::fmt::Result {
    let Look { colour, dash, mark } = series.look;
    let place = |point: &Point| (x.place(point.x) + aside, y.place(point.y));
    let path: Vec<String> = series
        .points
        .iter()
        .map(place)
        .map(|(across, down)| format!("{across:.1} {down:.1}"))
        .collect();
    let path = path.join("L");
    writeln!(svg, "<g class=\"{colour}\">")?;
    if let ([first, .., last], true) = (series.points.as_slice(), series.filled) {
        let (start, end) = (x.place(first.x), x.place(last.x));
        writeln!(
            svg,
            "<path class=\"area\" d=\"M{start:.1} {BOTTOM}L{path}L{end:.1} {BOTTOM}Z\"/>"
        )?;
    }
    let width = if dash.is_empty() { "" } else { " thin" };
    writeln!(
        svg,
        "<path class=\"series{width}\" d=\"M{path}\" stroke-dasharray=\"{dash}\"/>"
    )?;
    for point in &series.points {
        let (across, down) = place(point);
        if let Some([low, high]) = point.interval {
            let (low, high) = (y.place(low), y.place(high));
            writeln!(
                svg,
                "<line class=\"whisker\" x1=\"{across:.1}\" x2=\"{across:.1}\" y1=\"{low:.1}\" \
                 y2=\"{high:.1}\"/>"
            )?;
        }
        if let Some([low, high]) = point.across {
            let (low, high) = (x.place(low), x.place(high));
            writeln!(
                svg,
                "<line class=\"whisker\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{down:.1}\" \
                 y2=\"{down:.1}\"/>"
            )?;
        }
        let hint = format!(
            "<title>{}, {}</title>",
            escape(&series.name),
            escape(&point.hint)
        );
        svg.push_str(&mark.draw(across, down, &hint));
    }
    writeln!(svg, "</g>")
}

/// Moves ascending heights as little as need be to keep a line's height between them, or less
/// where there are more names than the plot is high.
fn spread(wanted: &[f64]) -> Vec<f64> {
    let mut limit = BOTTOM + LINE_HEIGHT;
    let gaps = wanted.len().saturating_sub(1).max(1);
    let line = LINE_HEIGHT.min((limit - TOP) / gaps as f64);
    let mut places = wanted.to_vec();
    for i in 1..places.len() {
        places[i] = places[i].max(places[i - 1] + line);
    }
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - line;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_apart_and_in_order() {
        assert_eq!(spread(&[20.0, 100.0]), [20.0, 100.0]);
        assert_eq!(spread(&[20.0, 22.0, 24.0]), [20.0, 36.0, 52.0]);
        // At the bottom they are pushed up again.
        assert_eq!(
            spread(&[BOTTOM, BOTTOM + 8.0]),
            [BOTTOM, BOTTOM + LINE_HEIGHT]
        );
        assert_eq!(spread(&[380.0, 388.0]), [374.0, 390.0]);
        // However many there are, none leaves the picture.
        let many = spread(&[200.0; 60]);
        assert!((many[0] - TOP).abs() < 1e-9 && many[59] <= BOTTOM + LINE_HEIGHT);
    }

    #[test]
    fn a_chart_of_a_single_value_and_an_evil_name_is_sound() {
        let look = Look {
            colour: "blue",
            mark: Mark::Circle,
            dash: "",
        };
        let chart = Chart {
            label: "a \"b\"".to_owned(),
            x_title: "x".to_owned(),
            y_title: "y".to_owned(),
            x_ticks: Vec::new(),
            y_from_zero: false,
            series: vec![Series {
                name: "<i>".to_owned(),
                look,
                points: vec![Point {
                    x: 1.0,
                    y: 2.0,
                    interval: None,
                    across: None,
                    hint: "&".to_owned(),
                }],
                filled: false,
            }],
            levels: vec![],
        };
        let svg = chart.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("&lt;i&gt;") && !svg.contains("<i>"), "{svg}");
        assert!(svg.contains("aria-label=\"a &quot;b&quot;\""), "{svg}");
        // In the middle of both axes, of which one grows upwards.
        assert!(svg.contains("cx=\"378.0\" cy=\"195.0\""), "{svg}");
    }
}
