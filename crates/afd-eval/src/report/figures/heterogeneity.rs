//! Whether rewards have learned who writes, or what is good.

use super::{Block, Point, empty};
use crate::{
    numbers::{fixed, list},
    report::chart::{Chart, Series},
    summary::Summary,
};

/// Rank correlation with the golden reward over the AUC between its two classes, a point for each reward model;
/// nothing where none was diagnosed.
pub(in crate::report) fn heterogeneity(summary: &Summary) -> Option<Block> {
    let (mut series, mut shallow) = (Vec::new(), Vec::new());
    for ranker in &summary.rankers {
        let known = ranker.eval_auc.zip(ranker.spearman_within_prompt_golden);
        let Some((auc, rank)) = known else { continue };
        let surface = match ranker.shallow_auc {
            Some(shallow) => format!(", the surface alone {}", fixed(shallow, 2)),
            None => String::new(),
        };
        series.push(Series {
            points: vec![Point {
                x: auc,
                y: rank,
                interval: None,
                across: None,
                hint: format!(
                    "AUC {}{surface}, rank correlation {}",
                    fixed(auc, 2),
                    fixed(rank, 2)
                ),
            }],
            ..empty(&ranker.ranker)
        });
        if let Some(auc) = ranker.shallow_auc {
            shallow.push(format!("{} for `{}`", fixed(auc, 2), ranker.ranker));
        }
    }
    if series.is_empty() {
        return None;
    }
    let chart = Chart {
        label: "Rank correlation of rewards with the golden one over the AUC between their classes"
            .to_owned(),
        x_title: "AUC between the two classes it was learned from, held out".to_owned(),
        y_title: "rank correlation with golden, within a prompt".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: true,
        series,
        levels: Vec::new(),
    };
    let surface = match shallow.is_empty() {
        true => String::new(),
        false => format!(
            " What a classifier on the surface of the same answers reaches: {}.",
            list(&shallow)
        ),
    };
    Some(Block::Figure {
        svg: chart.svg(),
        caption: format!(
            "Heterogeneity: how well each reward model tells its two classes apart, and whether that helps among \
             answers of one policy. To the right and low it has learned who writes, not what is good.{surface}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::summary;

    #[test]
    fn a_point_for_each_diagnosed_reward() {
        let mut summary = summary();
        for ranker in &mut summary.rankers {
            let is_init_sft = ranker.ranker == "init-sft";
            ranker.eval_auc = is_init_sft.then_some(0.9);
            ranker.shallow_auc = is_init_sft.then_some(0.8);
            ranker.spearman_within_prompt_golden = Some(0.25);
        }
        let Some(Block::Figure { svg, caption }) = heterogeneity(&summary) else {
            panic!()
        };
        let point =
            "<title>init-sft, AUC 0.90, the surface alone 0.80, rank correlation 0.25</title>";
        assert!(svg.contains(point), "{svg}");
        assert!(!svg.contains("mean-logprob"), "{svg}");
        assert!(caption.contains("0.80 for `init-sft`."), "{caption}");
        for ranker in &mut summary.rankers {
            ranker.eval_auc = None;
        }
        assert!(heterogeneity(&summary).is_none());
    }
}
