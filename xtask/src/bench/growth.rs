//! How time and memory grow: exponents fitted to what was measured at several lengths.

use serde::Serialize;

use super::Run;
use super::plan::Work;
use super::spread::Spread;
use super::worker::Reading;

/// An exponent of a power law: 0 is constant, 1 linear, 2 quadratic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Growth {
    /// What grows.
    pub(super) what: String,
    /// With what.
    pub(super) with: &'static str,
    /// Whose.
    pub(super) of: String,
    pub(super) exponent: f64,
}

/// Time of each kind of work against tokens, and memory of training against the sequence's length,
/// of each contender. Models differ in their constant and share the exponent.
pub(super) fn growth(runs: &[Run]) -> Vec<Growth> {
    let mut found = Vec::new();
    for work in [Work::Sft, Work::Reward, Work::Rl, Work::Sample, Work::Score] {
        let seconds =
            |run: &Run, reading: &Reading| Some(run.measurement.tokens() as f64 / reading.rate);
        let what = format!("time of {}", work.name());
        found.extend(fits(runs, work, &what, "tokens", seconds));
    }
    for work in [Work::Sft, Work::Rl] {
        let beyond_idle = |_: &Run, reading: &Reading| {
            let bytes = reading.peak_memory?.checked_sub(reading.idle_memory?)?;
            Some(bytes as f64)
        };
        let what = format!("memory of {}, beyond the idle process", work.name());
        found.extend(fits(runs, work, &what, "length", beyond_idle));
    }
    found
}

/// What another token of the vocabulary costs in fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Vocabulary {
    /// Whose.
    pub(super) of: String,
    /// Bytes of memory at its peak.
    pub(super) bytes: f64,
    /// Those over the bytes of its embedding, the gradient of that and AdamW's two moments, in f32: at 1
    /// memory does not grow beyond the weights and what trains them.
    pub(super) ratio: f64,
}

/// The slope of the peak memory of fine-tuning in the vocabulary, all else being equal, by contender.
pub(super) fn vocabulary(runs: &[Run]) -> Vec<Vocabulary> {
    // Of one width, layers and heads: what stands before the vocabulary.
    let split = |run: &Run| {
        let (model, vocabulary) = run.measurement.shape.rsplit_once('/')?;
        Some((model, vocabulary.parse::<f64>().ok()?))
    };
    let varied = runs.iter().find(|run| !run.measurement.is_compared());
    let Some((model, _)) = varied.and_then(split) else {
        return Vec::new();
    };
    let width = model.split('/').next().and_then(|width| width.parse().ok());
    let of_weights = 16.0 * width.unwrap_or(f64::NAN);
    let length = varied.map(|run| run.measurement.length);
    let is_meant = |run: &&Run| {
        run.measurement.work == Work::Sft
            && Some(run.measurement.length) == length
            && split(run).is_some_and(|(found, _)| found == model)
    };
    let of = |contender: String| {
        let own = runs.iter().filter(is_meant);
        let own = own.filter(|run| run.contender.to_string() == contender);
        let points = own.filter_map(|run| {
            let bytes = run.rounds.iter().filter_map(|reading| reading.peak_memory);
            let spread = Spread::of(bytes.map(|bytes| bytes as f64))?;
            Some((split(run)?.1, spread.median))
        });
        let bytes = slope(&points.collect::<Vec<_>>())?;
        Some(Vocabulary {
            of: contender,
            bytes,
            ratio: bytes / of_weights,
        })
    };
    contenders(runs, is_meant)
        .into_iter()
        .filter_map(of)
        .collect()
}

/// Those of some runs, in their order.
fn contenders(runs: &[Run], is_meant: impl Fn(&&Run) -> bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for run in runs.iter().filter(is_meant) {
        let name = run.contender.to_string();
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// `b` of `y = a + b·x` by least squares; none where `x` does not vary.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

/// The exponent of each contender that measured `work` at two lengths or more.
fn fits(
    runs: &[Run],
    work: Work,
    what: &str,
    with: &'static str,
    value: impl Fn(&Run, &Reading) -> Option<f64>,
) -> Vec<Growth> {
    // Few and many answers are measured at one length only.
    let is_meant = |run: &&Run| {
        run.measurement.is_compared()
            && run.measurement.work == work
            && (work != Work::Sample || run.measurement.answers == 16)
    };
    let fit = |of: String| {
        let mut groups: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
        let own = runs.iter().filter(is_meant);
        for run in own.filter(|run| run.contender.to_string() == of) {
            let values = run.rounds.iter().filter_map(|reading| value(run, reading));
            let Some(spread) = Spread::of(values) else {
                continue;
            };
            let point = (run.measurement.length as f64, spread.median);
            let model = run.measurement.model;
            match groups.iter_mut().find(|(name, _)| *name == model) {
                Some((_, points)) => points.push(point),
                None => groups.push((model, vec![point])),
            }
        }
        let groups: Vec<Vec<(f64, f64)>> = groups.into_iter().map(|(_, points)| points).collect();
        Some(Growth {
            what: what.to_owned(),
            with,
            of,
            exponent: exponent(&groups)?,
        })
    };
    let contenders = contenders(runs, is_meant);
    contenders.into_iter().filter_map(fit).collect()
}

/// `b` of `log y = a + b·log x` by least squares, with an `a` for each group and one `b` for all; none
/// where no group has two different `x`.
fn exponent(groups: &[Vec<(f64, f64)>]) -> Option<f64> {
    let (mut covariance, mut variance) = (0.0, 0.0);
    for group in groups {
        let positive = group.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        let logs: Vec<(f64, f64)> = positive.map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
        for (x, y) in logs {
            covariance += (x - mean_x) * (y - mean_y);
            variance += (x - mean_x).powi(2);
        }
    }
    (variance > 0.0).then(|| covariance / variance)
}

pub(super) fn text(all: &[Growth], vocabulary: &[Vocabulary]) -> String {
    let mut text = match all.is_empty() {
        true => "growth: measured at one length only\n",
        false => {
            "growth: the exponent when sequences become longer; 0 is constant, 1 linear, 2 quadratic\n"
        }
    }
    .to_owned();
    let mut told: Vec<&str> = Vec::new();
    for growth in all {
        if !told.contains(&growth.what.as_str()) {
            told.push(&growth.what);
            let same = all.iter().filter(|other| other.what == growth.what);
            let each: Vec<String> = same
                .map(|growth| format!("{} {:.2}", growth.of, growth.exponent))
                .collect();
            let head = format!("{} in {}", growth.what, growth.with);
            text += &format!("  {head:<52}  {}\n", each.join(", "));
        }
    }
    if !vocabulary.is_empty() {
        let each: Vec<String> = vocabulary
            .iter()
            .map(|growth| format!("{} {:.2} ({:.0})", growth.of, growth.ratio, growth.bytes))
            .collect();
        text += &format!(
            "memory of another token of the vocabulary in fine-tuning, over that of its weights, their \
             gradients and moments (bytes)\n  {}\n",
            each.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows::{rows, tests::runs};
    use super::*;

    #[test]
    fn exponents_on_paper() {
        let power = |a: f64, b: f64| {
            let points = [64.0f64, 128.0, 256.0].map(|x| (x, a * x.powf(b)));
            points.to_vec()
        };
        let close = |groups: &[Vec<(f64, f64)>], expected: f64| {
            let found = exponent(groups).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        };
        close(&[power(3.0, 2.0)], 2.0);
        // Constants of groups do not matter; their exponents are averaged.
        close(&[power(3.0, 1.0), power(700.0, 1.0)], 1.0);
        close(&[power(3.0, 1.0), power(700.0, 2.0)], 1.5);
        assert_eq!(exponent(&[vec![(64.0, 1.0)], vec![(128.0, 2.0)]]), None);
        assert_eq!(exponent(&[]), None);
    }

    #[test]
    fn time_at_an_even_rate_is_linear() {
        let all = growth(&runs_of_two_lengths());
        assert_eq!(all.len(), 6 * (5 + 2));
        for growth in &all {
            let expected = if growth.with == "tokens" { 1.0 } else { 0.0 };
            assert!((growth.exponent - expected).abs() < 1e-12, "{growth:?}");
        }
        assert!(text(&all, &[]).contains("flex f32 1.00"));
        assert!(text(&[], &[]).contains("one length"));
    }

    #[test]
    fn a_token_of_the_vocabulary_costs_the_slope() {
        let mut all = runs([8.0; 6], [10; 6]);
        all.retain(|run| run.measurement.work == Work::Sft);
        assert_eq!(vocabulary(&all), []);
        // Of the smallest model, width 128, with 2048 tokens; those of 8192 more take 4096 bytes each.
        for run in &mut all.clone() {
            run.measurement.shape = "128/4/4/10240";
            for reading in &mut run.rounds {
                reading.peak_memory = reading.peak_memory.map(|bytes| bytes + 8192 * 4096);
            }
            all.push(run.clone());
        }
        let found = vocabulary(&all);
        assert_eq!(found.len(), 6);
        for token in &found {
            assert_eq!((token.bytes, token.ratio), (4096.0, 2.0));
        }
        assert!(text(&[], &found).contains("flex f32 2.00 (4096)"));
        // What is there for this alone is no row, and no point of other fits.
        let compared = runs_of_two_lengths();
        let more: Vec<Run> = compared.iter().chain(&all).cloned().collect();
        let others = all.iter().filter(|run| run.measurement.is_compared());
        let without: Vec<Run> = compared.iter().chain(others).cloned().collect();
        assert_eq!(growth(&more), growth(&without));
        assert_eq!(rows(&more), rows(&without));
        assert!(more.len() > without.len());
    }

    fn runs_of_two_lengths() -> Vec<Run> {
        let mut all = runs([8.0; 6], [10; 6]);
        for mut run in all.clone() {
            run.measurement.length *= 2;
            all.push(run);
        }
        all
    }
}
