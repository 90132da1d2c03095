//! Whether reward models' predictions mean what they say.

use super::{Block, Look, Mark, Point, empty};
use crate::{
    numbers::{fixed, list},
    report::chart::{Chart, Series},
    summary::Summary,
};

/// Share of the positive class over its predicted probability, a line for each reward model; nothing where
/// none was diagnosed.
pub(in crate::report) fn calibration(summary: &Summary) -> Option<Block> {
    let point = |(predicted, share, count): (f64, f64, usize)| Point {
        x: predicted,
        y: share,
        interval: None,
        across: None,
        hint: match count {
            0 => String::new(),
            count => format!(
                "predicted {}, found {} of {count} answers",
                fixed(predicted, 2),
                fixed(share, 2)
            ),
        },
    };
    let (mut series, mut errors) = (Vec::new(), Vec::new());
    for ranker in &summary.rankers {
        if let Some(found) = &ranker.calibration {
            series.push(Series {
                points: found.bins.iter().copied().map(point).collect(),
                ..empty(&ranker.ranker)
            });
            let error = fixed(found.expected_calibration_error, 3);
            errors.push(format!("{error} for `{}`", ranker.ranker));
        }
    }
    if series.is_empty() {
        return None;
    }
    series.push(Series {
        name: "as predicted".to_owned(),
        look: Look {
            colour: "grey",
            mark: Mark::None,
            dash: super::DASHED,
        },
        points: vec![point((0.0, 0.0, 0)), point((1.0, 1.0, 0))],
        filled: false,
    });
    let chart = Chart {
        label: "Calibration of the reward models on held-out answers".to_owned(),
        x_title: "predicted probability of the class that scores high".to_owned(),
        y_title: "its share among answers with that prediction".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: false,
        series,
        levels: Vec::new(),
    };
    Some(Block::Figure {
        svg: chart.svg(),
        caption: format!(
            "Calibration on held-out answers of the two classes, in bins of equal count. Below the dashed line a \
             model is surer than it should be. Mean distance from it: {}.",
            list(&errors)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::summary;

    #[test]
    fn a_line_for_each_reward_model_and_one_to_compare_with() {
        let mut summary = summary();
        let Some(Block::Figure { svg, caption }) = calibration(&summary) else {
            panic!()
        };
        assert!(svg.contains("<title>init-sft, predicted 0.90, found 0.80 of 400 answers</title>"));
        assert!(svg.contains(">as predicted</text>"), "{svg}");
        assert!(!svg.contains("mean-logprob"), "{svg}");
        assert!(caption.contains("0.067 for `init-sft`"), "{caption}");
        for ranker in &mut summary.rankers {
            ranker.calibration = None;
        }
        assert!(calibration(&summary).is_none());
    }
}
