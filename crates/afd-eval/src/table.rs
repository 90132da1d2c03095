//! The summary as a compact table for the terminal.

use afd_stats::CONFIDENCE;

use crate::{
    numbers::{Numbers, half},
    summary::{Policy, PolicyRow, RankerKind, Summary},
};

/// The policies and the rankers over N as text in columns, for a fixed-width font.
///
/// A `*` marks a Best-of-N whose paired interval of the difference to SFT lies above zero, a `!`
/// one whose lies below.
pub fn terminal_table(summary: &Summary) -> String {
    let numbers = Numbers::of(summary);
    let mut text = format!(
        "golden reward: {}, {} prompts, {} answers each, ± half of the {} % interval\n\n",
        summary.golden,
        summary.prompts,
        summary.samples_per_prompt,
        percent(CONFIDENCE)
    );

    let header = ["policy", "golden", "wins vs sft", "KL from init", "tokens"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let policies = [(Policy::Init, "init"), (Policy::Sft, "sft")];
    for (policy, name) in policies {
        if let Some(row) = summary.policy(policy) {
            rows.push(vec![
                name.to_owned(),
                numbers.with_half(row.golden_mean, row.golden_ci95),
                format!("{:.1} %", 100.0 * row.win_rate_vs_sft),
                row.kl_nats
                    .map_or_else(|| "-".to_owned(), |kl| format!("{kl:.2}")),
                format!("{:.1}", row.mean_length),
            ]);
        }
    }
    let demonstrator = &summary.reference.demonstrator;
    rows.push(vec![
        "demonstrator".to_owned(),
        numbers.with_half(demonstrator.golden_mean, demonstrator.golden_ci95),
        format!("{:.1} %", 100.0 * demonstrator.win_rate_vs_sft),
        "-".to_owned(),
        "-".to_owned(),
    ]);
    text += &columns(&rows);
    text.push('\n');

    let all_n = summary.all_n();
    let mut header = vec!["best of N by".to_owned()];
    header.extend(all_n.iter().map(|n| format!("{n} ")));
    header.push("± ".to_owned());
    let mut rows = vec![header];
    for ranker in &summary.rankers {
        let mark = |row: &PolicyRow| match row.delta_vs_sft_ci95 {
            [low, _] if low > 0.0 && ranker.kind != RankerKind::Ceiling => '*',
            [_, high] if high < 0.0 => '!',
            _ => ' ',
        };
        let mut cells = vec![ranker.ranker.clone()];
        let chosen = || summary.best_of_n(&ranker.ranker);
        cells
            .extend(chosen().map(|row| format!("{}{}", numbers.plain(row.golden_mean), mark(row))));
        let widest = chosen()
            .map(|row| half(row.golden_ci95))
            .fold(0.0, f64::max);
        cells.push(format!("{} ", numbers.plain(widest)));
        rows.push(cells);
    }
    text += &columns(&rows);
    text += "* above sft beyond chance, ! below; ± is the widest of the row\n";
    // Terminals and logs are kinder to the plain minus sign.
    text.replace('−', "-")
}

/// `95`, `99.5`
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The first column to the left, the others to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let cell_width =
        |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .map(|row| cell_width(row, column))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line += &if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_it_should_look_like() {
        let expected = "\
golden reward: world, 200 prompts, 8 answers each, ± half of the 95 % interval

policy              golden  wins vs sft  KL from init  tokens
init          -0.80 ± 0.05       20.0 %          0.00    20.0
sft            0.50 ± 0.05       50.0 %          1.50    20.0
demonstrator   2.00 ± 0.05       95.0 %             -       -

best of N by     1      4      8      ±
init-sft      0.50   1.10*  1.00*  0.05
init-demo     0.50   0.51   0.52   0.05
sft-demo      0.50   0.40!  0.30!  0.05
closed-form   0.50   0.80*  1.40*  0.05
mean-logprob  0.50   0.60*  0.70*  0.05
golden        0.50   1.50   2.50   0.05
* above sft beyond chance, ! below; ± is the widest of the row
";
        let table = terminal_table(&crate::sample_summary::summary());
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn percentages_are_short() {
        assert_eq!(percent(0.95), "95");
        assert_eq!(percent(0.995), "99.5");
    }
}
