//! What a reward buys by the distance from SFT.

use afd_stats::CONFIDENCE;

use super::{Block, SFT, empty};
use crate::{
    numbers::{Numbers, fixed},
    report::chart::{Chart, Level, Point},
    summary::{RankerKind, RankerSummary, Summary},
    table::percent,
};

/// Gain over SFT by the KL of the tilt towards each reward; nothing where no distance was asked for.
pub(in crate::report) fn kl_sweep(summary: &Summary, numbers: Numbers) -> Option<Block> {
    let series = summary.rankers.iter().filter_map(|ranker| {
        let points = points(summary, ranker, numbers);
        let shown = !points.is_empty();
        shown.then(|| super::Series {
            points,
            ..empty(&ranker.ranker)
        })
    });
    let chart = Chart {
        label: "Gain in golden reward over SFT by the KL divergence from it".to_owned(),
        x_title: "KL from sft, nats".to_owned(),
        y_title: "golden reward minus that of SFT".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: false,
        series: series.collect(),
        levels: vec![Level {
            name: "sft".to_owned(),
            look: SFT,
            y: 0.0,
        }],
    };
    (!chart.series.is_empty()).then(|| Block::Figure {
        svg: chart.svg(),
        caption: format!(
            "What a nat buys. SFT's stored answers are weighed by exp(score/β), the same β for all prompts, \
             which is where training on the reward leads at best at that distance. Where a line falls, the \
             reward is over-optimised; `golden` is what could be had. Whiskers: paired {} % intervals.",
            percent(CONFIDENCE)
        ),
    })
}

fn points(summary: &Summary, ranker: &RankerSummary, numbers: Numbers) -> Vec<Point> {
    let rows = summary.kl_sweep.iter();
    let mut points: Vec<Point> = rows
        .filter(|row| row.ranker == ranker.ranker)
        .map(|row| Point {
            x: row.kl_nats,
            y: row.delta_vs_sft,
            interval: (ranker.kind == RankerKind::Reward).then_some(row.delta_vs_sft_ci95),
            across: None,
            hint: format!(
                "{} nats: {} {}",
                fixed(row.kl_nats, 2),
                numbers.signed(row.delta_vs_sft),
                numbers.interval(row.delta_vs_sft_ci95)
            ),
        })
        .collect();
    if !points.is_empty() {
        points.insert(
            0,
            Point {
                x: 0.0,
                y: 0.0,
                interval: None,
                across: None,
                hint: String::new(),
            },
        );
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::summary;

    #[test]
    fn a_line_from_sft_for_each_that_was_asked() {
        let mut summary = summary();
        let Some(Block::Figure { svg, .. }) = kl_sweep(&summary, Numbers::of(&summary)) else {
            panic!()
        };
        assert!(
            svg.contains("<title>init-sft, 0.50 nats: +0.25 [0.21, 0.29]</title>"),
            "{svg}"
        );
        // The ceiling has no whiskers.
        assert_eq!(svg.matches("class=\"whisker\"").count(), 2, "{svg}");
        assert!(!svg.contains("sft-demo"), "{svg}");
        summary.kl_sweep.clear();
        assert!(kl_sweep(&summary, Numbers::of(&summary)).is_none());
    }
}
