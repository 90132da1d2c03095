//! The summary as a compact table for the terminal.

use afd_stats::CONFIDENCE;

use crate::{
    numbers::{Numbers, fixed, half},
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

    let trained = summary.trained().next().is_some();
    // The distance from SFT has a column where somebody has one.
    let line = |name: &str, cells: [String; 5]| {
        let [golden, wins, kl_init, kl_sft, tokens] = cells;
        let mut line = vec![name.to_owned(), golden, wins, kl_init];
        line.extend(trained.then_some(kl_sft));
        line.push(tokens);
        line
    };
    let header = [
        "golden",
        "wins vs sft",
        "KL from init",
        "KL from sft",
        "tokens",
    ];
    let mut rows = vec![line("policy", header.map(str::to_owned))];
    let of_policy = |name: &str, row: &PolicyRow| {
        let kl = |kl: Option<f64>| kl.map_or_else(|| "-".to_owned(), |kl| fixed(kl, 2));
        let (from_init, from_sft) = match row.policy {
            Policy::Init | Policy::Sft => (kl(row.kl_nats), kl(None)),
            Policy::Trained | Policy::BestOfN => (kl(None), kl_from_sft(row)),
        };
        let cells = [
            numbers.with_half(row.golden_mean, row.golden_ci95),
            row.win_rate_vs_sft
                .map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", 100.0 * rate)),
            from_init,
            from_sft,
            format!("{:.1}", row.mean_length),
        ];
        line(name, cells)
    };
    let policies = [(Policy::Init, "init"), (Policy::Sft, "sft")];
    for (policy, name) in policies {
        rows.extend(summary.policy(policy).map(|row| of_policy(name, row)));
    }
    rows.extend(summary.trained().map(|row| of_policy(row.name(), row)));
    let demonstrator = &summary.reference.demonstrator;
    let cells = [
        numbers.with_half(demonstrator.golden_mean, demonstrator.golden_ci95),
        format!("{:.1} %", 100.0 * demonstrator.win_rate_vs_sft),
        "-".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ];
    rows.push(line("demonstrator", cells));
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

/// The golden means of several runs side by side, as text in columns: what each run has of the policies and
/// of the choices at its headline N. Intervals are each run's own, over its prompts: whether runs differ, as
/// runs with other seeds do, they do not say. Golden rewards of different scorers are not to be compared.
pub fn comparison_table(runs: &[(String, Summary)]) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut cells: Vec<Vec<(String, String)>> = Vec::new();
    for (_, summary) in runs {
        let numbers = Numbers::of(summary);
        let golden = |row: &PolicyRow| numbers.with_half(row.golden_mean, row.golden_ci95);
        let mut of_run = Vec::new();
        for (policy, name) in [(Policy::Init, "init"), (Policy::Sft, "sft")] {
            of_run.extend(
                summary
                    .policy(policy)
                    .map(|row| (name.to_owned(), golden(row))),
            );
        }
        of_run.extend(
            summary
                .trained()
                .map(|row| (row.name().to_owned(), golden(row))),
        );
        for ranker in &summary.rankers {
            let name = format!("best of {} by {}", summary.headline_n, ranker.ranker);
            let row = summary.headline(&ranker.ranker);
            of_run.extend(row.map(|row| (name, golden(row))));
        }
        let demonstrator = &summary.reference.demonstrator;
        let reached = numbers.with_half(demonstrator.golden_mean, demonstrator.golden_ci95);
        of_run.push(("demonstrator".to_owned(), reached));
        for (name, _) in &of_run {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        cells.push(of_run);
    }
    let mut rows = vec![vec!["golden reward".to_owned()]];
    rows[0].extend(runs.iter().map(|(name, _)| name.clone()));
    let mut scorers = vec!["by".to_owned()];
    scorers.extend(runs.iter().map(|(_, summary)| summary.golden.clone()));
    rows.push(scorers);
    rows.extend(names.iter().map(|name| {
        let of = |run: &Vec<(String, String)>| {
            let found = run.iter().find(|(other, _)| other == name);
            found.map_or_else(|| "-".to_owned(), |(_, cell)| cell.clone())
        };
        let mut row = vec![name.clone()];
        row.extend(cells.iter().map(of));
        row
    }));
    columns(&rows).replace('−', "-")
}

/// `1.20 ± 0.10`, or a dash where it was not measured.
pub(crate) fn kl_from_sft(row: &PolicyRow) -> String {
    match (row.kl_nats, row.kl_ci95) {
        (Some(kl), Some(interval)) => format!("{} ± {}", fixed(kl, 2), fixed(half(interval), 2)),
        (Some(kl), None) => fixed(kl, 2),
        (None, _) => "-".to_owned(),
    }
}

/// `95`, `99.5`
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The first column to the left, the others to the right.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
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
    fn trained_policies_have_a_row_and_a_distance_from_sft() {
        let expected = "\
policy              golden  wins vs sft  KL from init  KL from sft  tokens
init          -0.80 ± 0.05       20.0 %          0.00            -    20.0
sft            0.50 ± 0.05       50.0 %          1.50            -    20.0
rloo           1.50 ± 0.05       50.0 %             -  1.20 ± 0.10    20.0
dpo            1.00 ± 0.05       50.0 %             -  0.40 ± 0.10    45.0
grpo           0.20 ± 0.05       50.0 %             -            -    20.0
demonstrator   2.00 ± 0.05       95.0 %             -            -       -

best of N by";
        let table = terminal_table(&crate::sample_summary::with_trained());
        assert!(table.contains(expected), "\n{table}");
    }

    #[test]
    fn runs_stand_side_by_side_and_what_one_lacks_is_open() {
        let runs = [
            ("a".to_owned(), crate::sample_summary::summary()),
            ("b".to_owned(), crate::sample_summary::with_trained()),
        ];
        let table = comparison_table(&runs);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["golden", "reward", "a", "b"]);
        assert_eq!(lines[1], ["by", "world", "world"]);
        let sft = ["sft", "0.50", "±", "0.05", "0.50", "±", "0.05"];
        assert!(lines.iter().any(|line| line[..] == sft), "{table}");
        let rloo = ["rloo", "-", "1.50", "±", "0.05"];
        assert!(lines.iter().any(|line| line[..] == rloo), "{table}");
    }

    #[test]
    fn percentages_are_short() {
        assert_eq!(percent(0.95), "95");
        assert_eq!(percent(0.995), "99.5");
    }
}
