//! Whether a classifier's logits mean what they say: reliability, Brier score, log loss.

use serde::{Deserialize, Serialize};

/// How well logits are calibrated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Ascending by prediction.
    pub bins: Vec<ReliabilityBin>,
    /// Mean distance between a bin's prediction and its share of positives, weighted by count; in
    /// 0 to 1.
    ///
    /// Noise in the shares alone keeps it above 0: compare it at equal counts.
    pub expected_calibration_error: f64,
    /// See [`brier_score`].
    pub brier_score: f64,
    /// See [`log_loss`], in nats.
    pub log_loss: f64,
}

/// The answers whose predictions fell into one range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean predicted probability of the positive class.
    pub mean_predicted: f64,
    /// Share of positives.
    pub share_positive: f64,
    /// Number of answers.
    pub count: usize,
}

/// Calibration of `logits` (positive says positive) against `labels`, in `bins` bins of as equal
/// a count as possible; `None` of nothing.
///
/// Equal logits are never parted, so that results do not depend on the order of answers; with many
/// of them there are fewer bins than asked for.
///
/// # Panics
///
/// If lengths differ, `bins` is 0, or a logit is NaN.
pub fn calibration(logits: &[f64], labels: &[bool], bins: usize) -> Option<Calibration> {
    if logits.is_empty() {
        return None;
    }
    let bins = reliability(logits, labels, bins);
    let apart =
        |bin: &ReliabilityBin| (bin.mean_predicted - bin.share_positive).abs() * bin.count as f64;
    Some(Calibration {
        expected_calibration_error: bins.iter().map(apart).sum::<f64>() / logits.len() as f64,
        brier_score: brier_score(logits, labels),
        log_loss: log_loss(logits, labels),
        bins,
    })
}

fn reliability(logits: &[f64], labels: &[bool], bins: usize) -> Vec<ReliabilityBin> {
    check(logits, labels);
    assert!(bins > 0, "no bins");
    assert!(logits.iter().all(|logit| !logit.is_nan()), "a logit is NaN");
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let mut found = Vec::new();
    let mut start = 0;
    for bin in 1..=bins {
        let mut end = logits.len() * bin / bins;
        if end <= start {
            continue;
        }
        while end < order.len() && logits[order[end - 1]] == logits[order[end]] {
            end += 1;
        }
        let members = &order[start..end];
        let count = members.len() as f64;
        let positives = members.iter().filter(|&&i| labels[i]).count();
        let predicted: f64 = members.iter().map(|&i| sigmoid(logits[i])).sum();
        found.push(ReliabilityBin {
            mean_predicted: predicted / count,
            share_positive: positives as f64 / count,
            count: members.len(),
        });
        start = end;
    }
    found
}

/// Mean squared distance between predicted probability and outcome (0 or 1); NaN of nothing.
///
/// 0 is perfect, 0.25 what a logit of 0 throughout earns.
///
/// # Panics
///
/// If lengths differ.
pub fn brier_score(logits: &[f64], labels: &[bool]) -> f64 {
    check(logits, labels);
    let each = logits.iter().zip(labels);
    let square = |(&logit, &label): (&f64, &bool)| {
        // The probability of the class that was not there, without cancellation.
        sigmoid(if label { -logit } else { logit }).powi(2)
    };
    each.map(square).sum::<f64>() / logits.len() as f64
}

/// Mean of `-log` of the probability given to the true class, in nats; NaN of nothing.
///
/// `log 2` is what a logit of 0 throughout earns.
///
/// # Panics
///
/// If lengths differ.
pub fn log_loss(logits: &[f64], labels: &[bool]) -> f64 {
    check(logits, labels);
    let each = logits.iter().zip(labels);
    let loss = |(&logit, &label): (&f64, &bool)| softplus(if label { -logit } else { logit });
    each.map(loss).sum::<f64>() / logits.len() as f64
}

fn check(logits: &[f64], labels: &[bool]) {
    assert_eq!(logits.len(), labels.len(), "one label for each logit");
}

/// `1 / (1 + exp(-x))`, accurate in both tails.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        x.exp() / (1.0 + x.exp())
    }
}

/// `log(1 + exp(x))`, without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, seq::SliceRandom};

    use super::*;
    use crate::testing::{close, generator, normal};

    #[test]
    fn on_paper() {
        // Probabilities 1/4 and 3/4 (logits ∓ln 3), two answers each, one positive in the first
        // bin and two in the second: |1/4 - 1/2| and |3/4 - 1|, so 1/4 in the mean.
        let at = 3.0_f64.ln();
        let result = calibration(&[at, -at, at, -at], &[true, false, true, true], 2).unwrap();
        assert!(close(result.expected_calibration_error, 0.25, 1e-15));
        // (1/16 + 1/16 + 1/16 + 9/16) / 4 and -(3 ln(3/4) + ln(1/4)) / 4.
        assert!(close(result.brier_score, 12.0 / 64.0, 1e-15));
        assert!(close(result.log_loss, 4.0_f64.ln() - 0.75 * at, 1e-15));
        let counts: Vec<(f64, usize)> = result
            .bins
            .iter()
            .map(|bin| (bin.share_positive, bin.count))
            .collect();
        assert_eq!(counts, [(0.5, 2), (1.0, 2)]);
        assert!(close(result.bins[0].mean_predicted, 0.25, 1e-15));
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), result);
    }

    #[test]
    fn bins_hold_equal_counts_and_never_part_equal_logits() {
        let count = |logits: &[f64], bins| -> Vec<usize> {
            let bins = reliability(logits, &vec![true; logits.len()], bins);
            bins.iter().map(|bin| bin.count).collect()
        };
        let different: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(count(&different, 3), [3, 3, 4]);
        assert_eq!(count(&different[..2], 5), [1, 1]);
        assert_eq!(count(&[1.0, 1.0, 1.0, 1.0, 2.0, 3.0], 3), [4, 2]);
        assert_eq!(count(&[1.0; 6], 3), [6]);
        assert_eq!(calibration(&[], &[], 3), None);
    }

    #[test]
    fn the_order_of_answers_does_not_matter() {
        let mut rng = generator(4);
        let mut answers: Vec<(f64, bool)> = (0..200)
            .map(|_| (f64::from(rng.random_range(-4..4_i8)), rng.random_bool(0.5)))
            .collect();
        let measure = |answers: &[(f64, bool)]| {
            let (logits, labels): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
            calibration(&logits, &labels, 7)
                .unwrap()
                .expected_calibration_error
        };
        let before = measure(&answers);
        answers.sort_by_key(|answer| answer.1);
        assert!(close(measure(&answers), before, 1e-12));
        answers.shuffle(&mut rng);
        assert!(close(measure(&answers), before, 1e-12));
    }

    #[test]
    fn true_logits_are_calibrated_and_doubled_ones_are_not() {
        // 20 000 labels drawn from their logits. Ten bins of 2 000: a share's standard error is
        // at most 0.0112, its mean distance at most 0.8 of that, so the error stays below 0.018
        // with fresh seeds but for one time in thousands.
        let mut rng = generator(1);
        let logits: Vec<f64> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let labels: Vec<bool> = logits
            .iter()
            .map(|&logit| rng.random_bool(sigmoid(logit)))
            .collect();
        let error = |scale: f64| {
            let scaled: Vec<f64> = logits.iter().map(|logit| scale * logit).collect();
            calibration(&scaled, &labels, 10).unwrap()
        };
        let (right, bold) = (error(1.0), error(2.0));
        assert!(right.expected_calibration_error < 0.018);
        assert!(bold.expected_calibration_error > 0.08);
        assert!(right.log_loss < bold.log_loss && right.brier_score < bold.brier_score);
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        assert_eq!(log_loss(&[1000.0, -1000.0], &[true, true]), 500.0);
        assert_eq!(brier_score(&[1000.0, -1000.0], &[true, true]), 0.5);
        assert!(close(softplus(-40.0) / (-40.0_f64).exp(), 1.0, 1e-12));
        assert!(close(
            log_loss(&[0.0], &[false]),
            std::f64::consts::LN_2,
            1e-15
        ));
    }
}
