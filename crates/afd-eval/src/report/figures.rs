//! The report's plots.

mod calibration;
mod golden_over_kl;
mod heterogeneity;
mod kl_sweep;

use afd_stats::CONFIDENCE;

use super::{
    Block,
    chart::{Chart, Level, Look, Mark, Point, Series},
    content::point,
};
use crate::{
    golden::GoldenRow,
    numbers::{Numbers, fixed},
    summary::{Policy, PolicyRow, RankerKind, RankerSummary, Summary},
    table::percent,
};

pub(super) use calibration::calibration;
pub(super) use golden_over_kl::golden_over_kl;
pub(super) use heterogeneity::heterogeneity;
pub(super) use kl_sweep::kl_sweep;

const DASHED: &str = "6 4";
const DOTTED: &str = "2 3";

const INIT: Look = Look {
    colour: "grey",
    mark: Mark::None,
    dash: DASHED,
};
const SFT: Look = Look {
    colour: "sky",
    mark: Mark::None,
    dash: DASHED,
};
const DEMONSTRATOR: Look = Look {
    colour: "amber",
    mark: Mark::None,
    dash: DASHED,
};

/// Each ranker looks the same in all plots.
fn look(ranker: &str) -> Look {
    let (colour, mark, dash) = match ranker {
        "init-sft" => ("blue", Mark::Circle, ""),
        "init-demo" => ("red", Mark::Square, ""),
        "sft-demo" => ("pink", Mark::Diamond, ""),
        "preference" => ("green", Mark::Up, ""),
        "closed-form" => ("ink", Mark::Down, ""),
        "mean-logprob" => ("amber", Mark::Diamond, DASHED),
        "longest" => ("grey", Mark::Up, DASHED),
        "shortest" => ("grey", Mark::Down, DASHED),
        "random" => ("grey", Mark::Circle, DOTTED),
        "golden" => ("grey", Mark::Square, DOTTED),
        _ => ("sky", Mark::Square, "10 3"),
    };
    Look { colour, mark, dash }
}

/// Golden reward over N, one line for each ranker.
pub(super) fn golden_over_n(summary: &Summary, numbers: Numbers) -> Block {
    let series = |ranker: &RankerSummary| Series {
        points: summary
            .best_of_n(&ranker.ranker)
            .map(|row| Point {
                x: (row.n as f64).log2(),
                y: row.golden_mean,
                interval: (ranker.kind == RankerKind::Reward).then_some(row.golden_ci95),
                across: None,
                hint: point(row, numbers),
            })
            .collect(),
        ..empty(&ranker.ranker)
    };
    let x_ticks = summary
        .all_n()
        .iter()
        .map(|n| ((*n as f64).log2(), n.to_string()))
        .collect();
    let chart = Chart {
        label: "Golden reward of best-of-N over N for each ranker".to_owned(),
        x_title: "N, answers to choose from (log scale)".to_owned(),
        y_title: format!("mean golden reward ({})", summary.golden),
        x_ticks,
        y_from_zero: false,
        // Chance is the level of SFT.
        series: summary
            .rankers
            .iter()
            .filter(|r| r.ranker != "random")
            .map(series)
            .collect(),
        levels: levels(summary),
    };
    Block::Figure {
        svg: chart.svg(),
        caption: format!(
            "Golden reward of the chosen answer as there is more to choose from. Whiskers: {} % \
             intervals of the rewards. A choice at random stays at the level of SFT.",
            percent(CONFIDENCE)
        ),
    }
}

/// Golden reward over the ranker's own score: rising, or over-optimised.
pub(super) fn proxy_against_golden(summary: &Summary, numbers: Numbers) -> Block {
    let series = |ranker: &RankerSummary| {
        let sd = ranker.proxy_sd_within_prompt.filter(|sd| *sd > 0.0)?;
        let rows: Vec<&PolicyRow> = summary.best_of_n(&ranker.ranker).collect();
        let start = proxy_of_sft(&rows)?;
        let points = rows
            .iter()
            .filter_map(|row| {
                let x = (row.proxy_mean? - start) / sd;
                let hint = format!("{}, own score {} sd", point(row, numbers), fixed(x, 2));
                Some(Point {
                    x,
                    y: row.golden_mean,
                    interval: None,
                    across: None,
                    hint,
                })
            })
            .collect();
        Some(Series {
            points,
            ..empty(&ranker.ranker)
        })
    };
    let shown = summary
        .rankers
        .iter()
        .filter(|ranker| ranker.kind != RankerKind::Ceiling);
    let chart = Chart {
        label: "Golden reward over the ranker's own score as N grows".to_owned(),
        x_title: format!(
            "rise of the ranker's own score above its value at N = {}, in standard deviations \
             within a prompt",
            summary.all_n().first().copied().unwrap_or(1)
        ),
        y_title: "mean golden reward".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: false,
        series: shown.filter_map(series).collect(),
        levels: Vec::new(),
    };
    Block::Figure {
        svg: chart.svg(),
        caption: "Over-optimisation: each point is an N. To the right the ranker likes the chosen \
                  answer better; where the line then falls, it is wrong."
            .to_owned(),
    }
}

/// The ranker's score of the smallest N, which is SFT's own mean if that is 1.
fn proxy_of_sft(rows: &[&PolicyRow]) -> Option<f64> {
    rows.first()?.proxy_mean
}

/// How the golden reward is distributed over single answers.
pub(super) fn histogram(summary: &Summary, golden: &[GoldenRow]) -> Block {
    let all = |of: fn(&GoldenRow) -> &[f64]| -> Vec<f64> {
        golden.iter().flat_map(of).copied().collect()
    };
    let policies = [
        ("init", Look { dash: "", ..INIT }, all(|row| &row.init)),
        ("sft", Look { dash: "", ..SFT }, all(|row| &row.sft)),
        (
            "demonstrator",
            Look {
                dash: "",
                ..DEMONSTRATOR
            },
            all(|row| std::slice::from_ref(&row.demonstration)),
        ),
    ];
    let values = policies
        .iter()
        .flat_map(|(_, _, values)| values.iter().copied());
    let (low, width, count) = bin_edges(values.collect());
    let series = policies.iter().map(|(name, look, values)| Series {
        name: (*name).to_owned(),
        look: *look,
        points: steps(&bins(values, low, width, count), low, width),
        filled: true,
    });
    let chart = Chart {
        label: "Distribution of the golden reward over answers".to_owned(),
        x_title: format!("golden reward of an answer ({})", summary.golden),
        y_title: "share of answers, %".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: true,
        series: series.collect(),
        levels: Vec::new(),
    };
    Block::Figure {
        svg: chart.svg(),
        caption: "Golden rewards of single answers: all samples of both policies, and the \
                  demonstrations."
            .to_owned(),
    }
}

/// About as many bins as a histogram should have.
const BINS: f64 = 30.0;

/// The lowest edge, the width and the number of bins.
///
/// Rewards are often multiples of some step. Bins then hold equally many of them, or the histogram
/// would show teeth that are not there.
fn bin_edges(mut values: Vec<f64>) -> (f64, f64, usize) {
    values.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (values.first(), values.last()) else {
        return (0.0, 1.0, 1);
    };
    let range = high - low;
    let gaps = values.windows(2).map(|pair| pair[1] - pair[0]);
    let step = gaps
        .filter(|gap| *gap > 1e-9 * range)
        .fold(f64::INFINITY, f64::min);
    if !step.is_finite() {
        return (low - 0.5, 1.0, 1);
    }
    if range / step > 20.0 * BINS {
        return (*low, range / BINS, BINS as usize);
    }
    let width = step * (range / step / BINS).ceil();
    // The edges lie between the multiples.
    let edge = low - step / 2.0;
    (edge, width, ((high - edge) / width).floor() as usize + 1)
}

/// Percentages of the values that fall into each bin.
fn bins(values: &[f64], low: f64, width: f64, count: usize) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    for value in values {
        let bin = ((value - low) / width) as usize;
        shares[bin.min(count - 1)] += 100.0 / values.len() as f64;
    }
    shares
}

/// The outline of a histogram.
fn steps(bins: &[f64], low: f64, width: f64) -> Vec<Point> {
    let corner = |edge: usize, y: f64| Point {
        x: low + edge as f64 * width,
        y,
        interval: None,
        across: None,
        hint: String::new(),
    };
    let tops = bins.iter().enumerate();
    let tops = tops.flat_map(|(bin, &share)| [corner(bin, share), corner(bin + 1, share)]);
    [corner(0, 0.0)]
        .into_iter()
        .chain(tops)
        .chain([corner(bins.len(), 0.0)])
        .collect()
}

fn levels(summary: &Summary) -> Vec<Level> {
    let level = |name: &str, look, y| Level {
        name: name.to_owned(),
        look,
        y,
    };
    let mut levels = Vec::new();
    levels.extend(
        summary
            .policy(Policy::Init)
            .map(|row| level("init", INIT, row.golden_mean)),
    );
    levels.extend(
        summary
            .policy(Policy::Sft)
            .map(|row| level("sft", SFT, row.golden_mean)),
    );
    let demonstrator = summary.reference.demonstrator.golden_mean;
    levels.push(level("demonstrator", DEMONSTRATOR, demonstrator));
    levels
}

fn empty(ranker: &str) -> Series {
    Series {
        name: ranker.to_owned(),
        look: look(ranker),
        points: Vec::new(),
        filled: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_all_values_also_the_largest() {
        let shares = bins(&[0.0, 0.1, 29.0, 30.0], 0.0, 1.0, 30);
        assert_eq!((shares[0], shares[29]), (50.0, 50.0));
        assert_eq!(shares.iter().sum::<f64>(), 100.0);
    }

    #[test]
    fn bins_follow_the_values() {
        assert_eq!(bin_edges(vec![2.0; 4]), (1.5, 1.0, 1));
        // Steps of 0.25 over a range of 10: 41 values, two to a bin.
        let quarters: Vec<f64> = (0..=40).map(|i| f64::from(i) / 4.0).collect();
        assert_eq!(bin_edges(quarters), (-0.125, 0.5, 21));
        // Too many values to be steps: range 300 over 30 bins.
        let many = (0..=1200).map(|i| f64::from(i) / 4.0).collect();
        assert_eq!(bin_edges(many), (0.0, 10.0, 30));
    }

    #[test]
    fn lines_and_levels_carry_their_names() {
        let summary = crate::sample_summary::summary();
        let numbers = Numbers::of(&summary);
        let Block::Figure { svg, .. } = golden_over_n(&summary, numbers) else {
            panic!()
        };
        for name in [
            "init-sft",
            "closed-form",
            "golden",
            "demonstrator",
            "init",
            "sft",
        ] {
            assert!(svg.contains(&format!(">{name}</text>")), "{name}");
        }
        // The highest N stands at the right end but for the margin of 3 % on both sides.
        assert!(
            svg.contains("<title>init-sft, N = 8: 1.00 ± 0.05</title>"),
            "{svg}"
        );
        let Block::Figure { svg, .. } = proxy_against_golden(&summary, numbers) else {
            panic!()
        };
        // (8/4 − 1/4) / sd 1.
        assert!(svg.contains("own score 1.75 sd"), "{svg}");
    }
}
