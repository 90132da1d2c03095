//! The comparison as a table for people.

use super::Run;
use super::plan::Contender;
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
    let mut contenders: Vec<&Contender> = Vec::new();
    for run in runs {
        if !contenders.contains(&&run.contender) {
            contenders.push(&run.contender);
        }
    }
    let each = contenders.into_iter().filter_map(|contender| {
        let own = runs.iter().filter(|run| run.contender == *contender);
        let values = own.flat_map(|run| &run.rounds);
        let spread = Spread::of(values.filter_map(|r| r.idle_memory).map(|b| b as f64 / MIB))?;
        Some(format!("{contender} {:.0}", spread.median))
    });
    let each: Vec<String> = each.collect();
    format!(
        "of the memory, MiB before there is a model: {}\n",
        each.join(", ")
    )
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
}
