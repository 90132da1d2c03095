//! The results as tables of Markdown.

use std::fmt::Write;

use crate::study::seeds::{self, NOTHING, mean_and_half, signed};

use super::cases::DEFAULT;
use super::results::{N, Results, Row};

/// Rewards told apart by the two distributions they separate, as the tables and figures have them.
pub(super) const SOURCES: [&str; 6] = [
    "init-sft",
    "init-demo",
    "sft-demo",
    "preference",
    "sft-and-preference",
    "closed-form",
];

/// The whole page.
pub(super) fn markdown(results: &Results, done: usize, of: usize) -> String {
    let mut text = format!(
        "# Which reward model?\n\n\
         Written by `cargo xtask study reward` from `results.jsonl`: {done} of {of} runs of \
         `configs/study-reward.toml`. What it means stands in [findings](../../findings.md).\n\n\
         Every run fine-tunes the base model on demonstrations of the synthetic world, learns reward \
         models of its answers, and lets each choose the best of {N} of the fine-tuned policy's \
         answers to held-out prompts. *Gain* is the golden reward of the chosen answers less that of the \
         fine-tuned policy; *rank* the rank correlation with the golden reward within a prompt. \
         ± is half of a 95 % t-interval over seeds. *Heterogeneity* is how much of the \
         demonstrator's style is its own: 0, the base model's style; 1, none of it.\n\n\
         ![Gain over the heterogeneity dial](gain.svg)\n\n\
         ![AUC over the heterogeneity dial](auc.svg)\n"
    );
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n## The dial\n");
    over_dials(&mut text, results, "Gain of Best-of-8", |row| {
        Some(row.gain)
    });
    over_dials(&mut text, results, "Rank correlation", |row| {
        row.golden_spearman
    });
    over_dials(&mut text, results, "AUC of the reward model", |row| row.auc);
    over_dials(
        &mut text,
        results,
        "AUC of the best surface classifier",
        |row| row.shallow_auc,
    );
    over_dials(&mut text, results, "AUC of the closed form", |row| {
        row.closed_form_auc
    });
    over_dials(&mut text, results, "Correlation with length", |row| {
        row.length_pearson
    });
    differences(&mut text, results);
    let variants = results.names(|row| &row.variant);
    if variants.len() > 1 {
        let _ = writeln!(
            text,
            "\n## One thing changed\n\nBrier, hinge, KLIEP and LSIF have no labels to smooth: beside them \
             stands *no label smoothing*.\n"
        );
        for dial in results.dials(&variants[1]) {
            one_by_one(&mut text, results, &variants, dial);
        }
    }
    text
}

fn over_dials(text: &mut String, results: &Results, title: &str, of: fn(&Row) -> Option<f64>) {
    let dials = results.dials(DEFAULT);
    let mut rows = String::new();
    for ranker in results.names(|row| &row.ranker) {
        let cells: Vec<String> = dials
            .iter()
            .map(|&dial| cell(results.of(DEFAULT, dial, &ranker), of))
            .collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            let _ = writeln!(rows, "| {ranker} | {} |", cells.join(" | "));
        }
    }
    let heads: Vec<String> = dials.iter().map(f64::to_string).collect();
    let _ = writeln!(
        text,
        "{title} by heterogeneity:\n\n| ranker | {} |\n| :--- |{}\n{rows}",
        heads.join(" | "),
        " ---: |".repeat(dials.len())
    );
}

/// Rewards that are set against each other on the same seeds.
const COMPARED: [(&str, &str); 8] = [
    ("init-sft", "init-demo"),
    ("init-sft", "sft-demo"),
    ("init-sft", "preference"),
    ("closed-form", "init-sft"),
    ("closed-form-clipped", "closed-form"),
    ("closed-form-mean", "closed-form"),
    ("closed-form-half", "closed-form"),
    ("closed-form-mixed", "closed-form"),
];

fn differences(text: &mut String, results: &Results) {
    let dials = results.dials(DEFAULT);
    let heads: Vec<String> = dials.iter().map(f64::to_string).collect();
    let _ = writeln!(
        text,
        "Differences in gain on the same seeds, and the golden reward of the fine-tuned policy, by \
         heterogeneity:\n\n| | {} |\n| :--- |{}",
        heads.join(" | "),
        " ---: |".repeat(dials.len())
    );
    for (one, other) in COMPARED {
        let cells: Vec<String> = dials
            .iter()
            .map(|&dial| {
                let (rows, against) = (
                    results.of(DEFAULT, dial, one),
                    results.of(DEFAULT, dial, other),
                );
                paired(&rows, &against).map_or_else(|| NOTHING.to_owned(), signed)
            })
            .collect();
        let _ = writeln!(text, "| {one} − {other} | {} |", cells.join(" | "));
    }
    let of_sft = |&dial: &f64| cell(results.of(DEFAULT, dial, SOURCES[0]), |row| Some(row.sft));
    let cells: Vec<String> = dials.iter().map(of_sft).collect();
    let _ = writeln!(text, "| SFT itself | {} |\n", cells.join(" | "));
}

/// The mean difference in gain over the seeds that both have, with half of its interval.
fn paired(rows: &[&Row], against: &[&Row]) -> Option<(f64, Option<f64>)> {
    let differences: Vec<f64> = rows
        .iter()
        .filter_map(|row| {
            let same = against.iter().find(|other| other.seed == row.seed)?;
            Some(row.gain - same.gain)
        })
        .collect();
    mean_and_half(&differences)
}

fn one_by_one(text: &mut String, results: &Results, variants: &[String], dial: f64) {
    let _ = writeln!(
        text,
        "Gain of Best-of-8, and the difference to the default on the same seeds, at heterogeneity \
         {dial}:\n\n| variant | {} |\n| :--- |{}",
        SOURCES[..4].join(" | "),
        " ---: |".repeat(4)
    );
    for variant in variants {
        let cells = SOURCES[..4].iter().map(|ranker| {
            let rows = results.of(variant, dial, ranker);
            let gain = cell(rows.clone(), |row| Some(row.gain));
            let default = results.of(DEFAULT, dial, ranker);
            match paired(&rows, &default) {
                Some(difference) if variant != DEFAULT => {
                    format!("{gain} ({})", signed(difference))
                }
                _ => gain,
            }
        });
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(text, "| {variant} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn cell(rows: Vec<&Row>, of: fn(&Row) -> Option<f64>) -> String {
    let values: Vec<f64> = rows.into_iter().filter_map(of).collect();
    seeds::cell(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(variant: &str, seed: u64, gain: f64) -> Row {
        Row {
            variant: variant.to_owned(),
            heterogeneity: 0.5,
            seed,
            ranker: "init-sft".to_owned(),
            gain,
            sft: 0.0,
            golden_spearman: Some(0.25),
            length_pearson: None,
            auc: Some(0.8),
            shallow_auc: None,
            closed_form_auc: None,
        }
    }

    #[test]
    fn variants_stand_beside_the_default_on_the_same_seeds() {
        let rows = vec![
            row(DEFAULT, 0, 0.2),
            row(DEFAULT, 1, 0.4),
            row("hinge", 1, 0.5),
        ];
        let text = markdown(&Results { rows }, 3, 155);
        // t(1) = 12.706, standard error 0.1.
        assert!(text.contains("| init-sft | 0.30 ± 1.27 |"), "{text}");
        assert!(
            text.contains("| hinge | 0.50 (+0.10) | – | – | – |"),
            "{text}"
        );
        assert!(text.contains("3 of 155 runs"), "{text}");
        assert!(!text.contains("| init-sft | – |"), "{text}");
    }
}
