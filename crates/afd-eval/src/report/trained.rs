//! What the report says of policies that were made from SFT's and have answers of their own.

use super::{Block, Content, Table, content::plain, figures};
use crate::{
    numbers::{Numbers, fixed},
    summary::{PolicyRow, Summary},
};

/// Their section; nothing if there are none.
pub(super) fn blocks(summary: &Summary, numbers: Numbers) -> Vec<Block> {
    if summary.trained().next().is_none() {
        return Vec::new();
    }
    let mut blocks = vec![
        Block::Heading("Trained policies".to_owned()),
        Block::Paragraph(
            "Policies made from SFT's, by training or by drawing otherwise, with answers of their \
             own to the same prompts. How much a policy gains is to be read against how far it has \
             gone."
                .to_owned(),
        ),
        figures::golden_over_kl(summary, numbers),
    ];
    if summary.trained().any(|row| row.proxy.is_some()) {
        blocks.push(Block::Table(rewards(summary)));
    }
    blocks
}

/// What they were trained on, and what that makes of them.
fn rewards(summary: &Summary) -> Table {
    let header = [
        "policy",
        "trained on",
        "its mean",
        "of SFT's answers",
        "rank correlation",
    ];
    let number = |value: Option<f64>, decimals| {
        plain(&value.map_or_else(|| "–".to_owned(), |value| fixed(value, decimals)))
    };
    let row = |name: &str, row: &PolicyRow| {
        vec![
            plain(name),
            plain(row.proxy.as_deref().unwrap_or("–")),
            number(row.proxy_mean, 2),
            number(row.proxy_mean_sft, 2),
            number(row.proxy_spearman_within_prompt_golden, 2),
        ]
    };
    let rows = summary.trained().map(|found| row(found.name(), found));
    Table {
        content: Content::Numbers,
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        note: "Where the mean of the reward that a policy was trained on rises and its golden \
               reward does not, it is over-optimised; its rank correlation is with the golden reward, \
               among the policy's own answers to a prompt."
            .to_owned(),
    }
}

/// What the words and figures mean.
pub(super) fn glossary(summary: &Summary) -> Vec<String> {
    if summary.trained().next().is_none() {
        return Vec::new();
    }
    let mut items = vec![
        "KL of a trained policy from sft is the mean log-ratio of its own answers, in nats, \
         measured and not bounded; prompts are the units of its interval."
            .to_owned(),
    ];
    items.extend(summary.length_slope.map(|slope| {
        format!(
            "At SFT's length: the difference to SFT, less what SFT's own answers gain by as many \
             more tokens. Within a prompt they gain {} of golden reward by token. That is what goes \
             along with length, not what length causes.",
            signed(slope)
        )
    }));
    items
}

/// Slopes are small: three significant digits.
fn signed(slope: f64) -> String {
    let decimals = match slope.abs() {
        size if size > 0.0 => (2.0 - size.log10().floor()).clamp(0.0, 8.0) as usize,
        _ => 1,
    };
    let text = fixed(slope, decimals);
    match text.strip_prefix('−') {
        Some(_) => text,
        None => format!("+{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::{summary, with_trained};

    #[test]
    fn slopes_are_legible() {
        assert_eq!(signed(0.0123456), "+0.0123");
        assert_eq!(signed(-2.5), "−2.50");
        assert_eq!(signed(0.0), "+0.0");
    }

    #[test]
    fn nothing_is_said_of_policies_that_are_not_there() {
        let summary = summary();
        assert!(blocks(&summary, Numbers::of(&summary)).is_empty());
        assert!(glossary(&summary).is_empty());
    }

    #[test]
    fn a_row_for_each_with_what_it_was_trained_on() {
        let table = rewards(&with_trained());
        let names: Vec<&str> = table.rows.iter().map(|row| row[0].text.as_str()).collect();
        assert_eq!(names, ["rloo", "dpo", "grpo"]);
        let cells: Vec<&str> = table.rows[0]
            .iter()
            .map(|cell| cell.text.as_str())
            .collect();
        assert_eq!(cells[1..], ["init-sft", "2.50", "0.25", "0.12"]);
    }
}
