//! The comparison as a table for people.

use super::Run;
use super::plan::{Contender, Work};
use super::rows::{MIB, Row};
use super::spread::Spread;
use super::worker::Reading;

/// A reading in a line of progress.
pub(super) fn reading(reading: &Reading) -> String {
    let mut text = format!("{} tokens/s", number(reading.rate));
    if let Some(bytes) = reading.peak_memory {
        text += &format!(", {:.0} MiB", bytes as f64 / MIB);
    }
    if let Some(seconds) = reading.first_step {
        text += &format!(", first step after {} s", number(seconds));
    }
    text
}

pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.size.chars().count()).max();
    let width = width.unwrap_or(0).max(4);
    let mut text = format!(
        "medians of the rounds, least and most in brackets; the ratio is ours over the rival's\n\n\
         {:<8}  {:<width$}  {:<13}  {:>26}  {:>26}  {:<8}  {:>6}\n",
        "work", "size", "ours on", "ours", "rival", "", "ratio"
    );
    for row in rows {
        let [ours, rival] = row.spread.map(spread);
        text += &format!(
            "{:<8}  {:<width$}  {:<13}  {ours:>26}  {rival:>26}  {:<8}  {:>6.2}\n",
            row.work,
            row.size,
            format!("{} {}", row.device, row.precision),
            row.unit,
            row.ratio
        );
    }
    text
}

/// How large processes are before they have a model, by contender.
pub(super) fn idle(runs: &[Run]) -> String {
    let memory = |_: &Run, reading: &Reading| Some(reading.idle_memory? as f64 / MIB);
    let each = by_contender(runs, memory, |value| format!("{value:.0}"));
    format!("of the memory, MiB before there is a model: {each}\n")
}

/// What of the start is not the first step, by contender: a step takes as long as those that are measured. Of
/// fine-tuning, as rows have it.
pub(super) fn start(runs: &[Run]) -> String {
    let before = |run: &Run, reading: &Reading| {
        let is_start = run.measurement.work == Work::Sft && run.measurement.is_compared();
        let step = run.measurement.tokens() as f64 / reading.rate;
        is_start.then_some(reading.first_step? - step)
    };
    let each = by_contender(runs, before, |value| format!("{value:.2}"));
    match each.is_empty() {
        true => each,
        false => format!("of the start, s without the step: {each}\n"),
    }
}

/// The median of a value over all that each contender measured.
fn by_contender(
    runs: &[Run],
    value: impl Fn(&Run, &Reading) -> Option<f64>,
    shown: impl Fn(f64) -> String,
) -> String {
    let mut contenders: Vec<&Contender> = Vec::new();
    for run in runs {
        if !contenders.contains(&&run.contender) {
            contenders.push(&run.contender);
        }
    }
    let each = contenders.into_iter().filter_map(|contender| {
        let own = runs.iter().filter(|run| run.contender == *contender);
        let values =
            own.flat_map(|run| run.rounds.iter().filter_map(|reading| value(run, reading)));
        let spread = Spread::of(values)?;
        Some(format!("{contender} {}", shown(spread.median)))
    });
    each.collect::<Vec<String>>().join(", ")
}

fn spread(spread: Spread) -> String {
    let [least, median, most] = [spread.least, spread.median, spread.most].map(number);
    format!("{median} ({least}–{most})")
}

/// Three figures that tell something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{rows, tests::runs};
    use super::*;

    #[test]
    fn numbers_have_three_figures() {
        assert_eq!([1234.5, 56.78, 0.5].map(number), ["1234", "56.8", "0.50"]);
    }

    #[test]
    fn every_row_has_a_line() {
        let rows = rows(&runs(
            [8.0, 4.0, 3.0, 5.0, 6.0, 2.0],
            [50, 100, 40, 80, 70, 60],
        ));
        let text = table(&rows);
        assert_eq!(text.lines().count(), rows.len() + 3);
        assert!(text.contains("8.00 (8.00–8.00)"), "{text}");
        let idle = idle(&runs([1.0; 6], [1; 6]));
        assert!(idle.contains("flex f32 0, pytorch f32 0"), "{idle}");
    }

    #[test]
    fn the_start_without_the_step_is_that_of_fine_tuning() {
        // Steps of 1,024 tokens, at as many a second.
        let mut runs = runs([1024.0; 6], [1; 6]);
        for run in &mut runs {
            let is_sft = run.measurement.work == Work::Sft;
            for reading in &mut run.rounds {
                reading.first_step = Some(if is_sft { 3.5 } else { 100.0 });
            }
        }
        let told = start(&runs);
        assert!(told.contains("flex f32 2.50, pytorch f32 2.50"), "{told}");
        runs.retain(|run| run.measurement.work != Work::Sft);
        assert_eq!(start(&runs), "");
    }
}
