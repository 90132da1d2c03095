//! Golden reward over the distance from SFT: trained policies as points, Best-of-N as lines.

use afd_stats::CONFIDENCE;

use super::{Block, DASHED, levels, look};
use crate::{
    numbers::{Numbers, list},
    report::chart::{Chart, Look, Mark, Point, Series},
    summary::{PolicyRow, RankerKind, RankerSummary, Summary},
    table::{kl_from_sft, percent},
};

/// Draws no line, only points: dashes without length.
const POINTS: &str = "0 9";

const COLOURS: [&str; 7] = ["blue", "red", "green", "pink", "amber", "ink", "sky"];
const MARKS: [Mark; 5] = [
    Mark::Circle,
    Mark::Square,
    Mark::Diamond,
    Mark::Up,
    Mark::Down,
];

/// Golden reward over the distance from SFT: measured for trained policies, bounded for Best-of-N.
pub(in crate::report) fn golden_over_kl(summary: &Summary, numbers: Numbers) -> Block {
    let mut series: Vec<Series> = summary
        .trained()
        .enumerate()
        .filter_map(|(index, row)| trained(index, row, numbers))
        .collect();
    let rewards = summary.rankers.iter();
    let rewards = rewards.filter(|ranker| ranker.kind == RankerKind::Reward);
    series.extend(rewards.map(|ranker| best_of_n(summary, ranker)));
    let chart = Chart {
        label: "Golden reward of trained policies over their divergence from SFT".to_owned(),
        x_title: "KL from sft in nats: measured for policies, at most this for best of N"
            .to_owned(),
        y_title: format!("mean golden reward ({})", summary.golden),
        x_ticks: Vec::new(),
        y_from_zero: false,
        series,
        levels: levels(summary),
    };
    let unknown: Vec<String> = summary
        .trained()
        .filter(|row| row.kl_nats.is_none())
        .map(|row| row.name().to_owned())
        .collect();
    let left_out = if unknown.is_empty() {
        String::new()
    } else {
        format!(" Not shown, for want of a log-ratio: {}.", list(&unknown))
    };
    Block::Figure {
        svg: chart.svg(),
        caption: format!(
            "What a nat buys. Points are trained policies at their measured divergence from SFT; \
             whiskers: {} % intervals of both. Dashed lines are best-of-N by the rewards at the \
             bound ln N − (N − 1)/N, which may be far more than they went: their true place is at \
             the line or left of it.{left_out}",
            percent(CONFIDENCE)
        ),
    }
}

/// A point; `None` without a measured divergence.
fn trained(index: usize, row: &PolicyRow, numbers: Numbers) -> Option<Series> {
    let hint = format!(
        "{} at {} nats",
        numbers.with_half(row.golden_mean, row.golden_ci95),
        kl_from_sft(row)
    );
    Some(Series {
        name: row.name().to_owned(),
        // The two numbers of looks share no factor, so that no look comes twice before it must.
        look: Look {
            colour: COLOURS[index % COLOURS.len()],
            mark: MARKS[index % MARKS.len()],
            dash: POINTS,
        },
        points: vec![Point {
            x: row.kl_nats?,
            y: row.golden_mean,
            interval: Some(row.golden_ci95),
            across: Some(row.kl_ci95.unwrap_or([row.kl_nats?; 2])),
            hint,
        }],
        filled: false,
    })
}

/// A line through all N.
fn best_of_n(summary: &Summary, ranker: &RankerSummary) -> Series {
    let rows = summary.best_of_n(&ranker.ranker);
    let points = rows.filter_map(|row| {
        Some(Point {
            x: row.kl_nats?,
            y: row.golden_mean,
            interval: None,
            across: None,
            hint: String::new(),
        })
    });
    Series {
        name: format!("≤ {}", ranker.ranker),
        // Marks are policies, lines are not.
        look: Look {
            mark: Mark::None,
            dash: DASHED,
            ..look(&ranker.ranker)
        },
        points: points.collect(),
        filled: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::with_trained;

    #[test]
    fn policies_stand_where_they_were_measured_and_bounds_are_marked() {
        let summary = with_trained();
        let Block::Figure { svg, caption } = golden_over_kl(&summary, Numbers::of(&summary)) else {
            panic!()
        };
        assert!(
            svg.contains("<title>rloo, 1.50 ± 0.05 at 1.20 ± 0.10 nats</title>"),
            "{svg}"
        );
        // Whiskers of rloo and dpo, each in two directions.
        assert_eq!(svg.matches("class=\"whisker\"").count(), 4, "{svg}");
        assert!(svg.contains(">≤ init-sft</text>"), "{svg}");
        assert!(
            !svg.contains("grpo") && !svg.contains("mean-logprob"),
            "{svg}"
        );
        assert!(
            caption.ends_with("for want of a log-ratio: grpo."),
            "{caption}"
        );
        // rloo is 1.2 nats away, best of 8 at most 1.204, which is two units to the right.
        assert!(
            svg.contains("cx=\"627.1\"") && svg.contains("L629.1 147.6\""),
            "{svg}"
        );
    }
}
