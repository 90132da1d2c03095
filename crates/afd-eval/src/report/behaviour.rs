//! What the report says of how policies answer.

use super::{
    Block, Content, Table,
    content::{plain, share},
};
use crate::{
    numbers::fixed,
    summary::{Policy, PolicyRow, Summary},
};

/// The policies with answers of their own.
pub(super) fn blocks(summary: &Summary) -> Vec<Block> {
    vec![
        Block::Heading("What the answers are like".to_owned()),
        Block::Table(table(summary)),
    ]
}

fn table(summary: &Summary) -> Table {
    let header = [
        "policy",
        "ended",
        "tokens",
        "entropy in nats",
        "distinct-1",
        "distinct-2",
        "self-BLEU",
        "spread",
        "repetition",
        "refusals",
        "coverage",
        "precision",
    ];
    let number = |value: Option<f64>, decimals| {
        plain(&value.map_or_else(|| "–".to_owned(), |value| fixed(value, decimals)))
    };
    let part = |value: Option<f64>| plain(&value.map_or_else(|| "–".to_owned(), share));
    let row = |name: &str, row: &PolicyRow| {
        vec![
            plain(name),
            part(row.eos_rate),
            number(Some(row.mean_length), 1),
            number(row.entropy_nats, 1),
            number(row.distinct_1, 3),
            number(row.distinct_2, 3),
            number(row.self_bleu, 3),
            number(row.embedding_spread, 3),
            part(row.repetition),
            part(row.refusals),
            part(row.coverage),
            part(row.precision),
        ]
    };
    let mut rows = Vec::new();
    rows.extend(summary.policy(Policy::Init).map(|found| row("init", found)));
    rows.extend(summary.policy(Policy::Sft).map(|found| row("sft", found)));
    rows.extend(summary.trained().map(|found| row(found.name(), found)));
    Table {
        content: Content::Numbers,
        header: header.map(str::to_owned).to_vec(),
        rows,
        note: "Coverage is how much of the demonstrations a policy says somewhere, precision how much of \
               what it says they do, both in pairs of neighbouring words: one that covers all they do \
               gives up precision, one that seeks a mode of theirs gives up coverage. Less entropy \
               and less distinct answers than SFT's are what is lost in variety."
            .to_owned(),
    }
}

/// What the words mean.
pub(super) fn glossary(summary: &Summary) -> Vec<String> {
    let mut items = vec![
        "Entropy: mean −log-probability of an answer; of an initial policy and SFT it is one if \
         their answers were drawn at temperature 1 and top-p 1."
            .to_owned(),
    ];
    items.extend(summary.distinct_answers.map(|answers| {
        format!(
            "distinct-n: different runs of n words among all of them, in {answers} answers to a \
             prompt. Longer answers repeat more. Repetition: pairs of words that an answer has had \
             before. Self-BLEU: how alike the answers to a prompt are, 1 if they are all the same. Spread: mean cosine distance of two answers to a prompt as the initial policy embeds them, 0 if they are all the same. Refusals: answers with a stock phrase such as \"I can't\"."
        )
    }));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::with_trained;

    #[test]
    fn a_row_for_each_policy_with_answers_of_its_own() {
        let table = table(&with_trained());
        let names: Vec<&str> = table.rows.iter().map(|row| row[0].text.as_str()).collect();
        assert_eq!(names, ["init", "sft", "rloo", "dpo", "grpo"]);
        let cells = |row: usize| -> Vec<&str> {
            let cells = table.rows[row].iter().skip(1);
            cells.map(|cell| cell.text.as_str()).collect()
        };
        let expected = [
            "100.0 %", "20.0", "12.0", "0.600", "0.800", "0.250", "0.900", "10.0 %", "5.0 %",
            "40.0 %", "50.0 %",
        ];
        assert_eq!(cells(2), expected);
        assert_eq!(cells(1)[2], "–");
    }
}
