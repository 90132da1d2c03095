//! What the report says of further held-out scorers.

use super::{
    Block, Cell, Content, Table,
    content::{plain, tone},
};
use crate::{
    numbers::{fixed, half},
    summary::{ScorerSummary, Summary},
};

/// Their section; nothing where there are none.
pub(super) fn blocks(summary: &Summary) -> Vec<Block> {
    if summary.scorers.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading("What other scorers say".to_owned()),
        Block::Paragraph(format!(
            "The same answers by other scorers, held out as `{}` is. Their rewards have units of their own; what \
             can be compared is who is better, and how sure that is.",
            summary.golden
        )),
        Block::Table(policies(summary)),
        Block::Table(agreement(summary)),
    ]
}

fn policies(summary: &Summary) -> Table {
    let mut header = vec!["policy".to_owned()];
    for one in &summary.scorers {
        header.push(one.scorer.clone());
        header.push("difference to SFT".to_owned());
    }
    let first = summary.scorers.first().map_or(&[][..], |one| &one.policies);
    let row = |place: usize| {
        let mut cells = vec![plain(&first[place].policy)];
        for one in &summary.scorers {
            cells.extend(figures(one, place));
        }
        cells
    };
    Table {
        content: Content::Numbers,
        header,
        rows: (0..first.len()).map(row).collect(),
        note: "± is half of the 95 % interval. Bold: better than SFT beyond chance. Italic: worse beyond chance."
            .to_owned(),
    }
}

fn figures(scorer: &ScorerSummary, place: usize) -> [Cell; 2] {
    let found = &scorer.policies[place];
    let with_half =
        |value: f64, interval| format!("{} ± {}", fixed(value, 2), fixed(half(interval), 2));
    let difference = match found.policy.as_str() {
        "sft" => plain("–"),
        _ => Cell {
            text: with_half(found.delta_vs_sft, found.delta_vs_sft_ci95),
            tone: tone(found.delta_vs_sft_ci95),
        },
    };
    [plain(&with_half(found.mean, found.mean_ci95)), difference]
}

fn agreement(summary: &Summary) -> Table {
    let number =
        |value: Option<f64>| plain(&value.map_or_else(|| "–".to_owned(), |value| fixed(value, 2)));
    let rows = summary.agreement.iter().map(|pair| {
        vec![
            plain(&pair.scorer),
            plain(&pair.versus),
            number(pair.spearman_within_prompt),
            number(pair.pearson_within_prompt),
        ]
    });
    Table {
        content: Content::Numbers,
        header: ["scorer", "and", "rank correlation", "correlation"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        note: "Of SFT's stored answers to a prompt, averaged over prompts: 1 where two scorers order them alike, 0 \
               where they have nothing in common."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample_summary::summary,
        summary::{Agreement, ScoredPolicy},
    };

    #[test]
    fn every_policy_has_a_row_and_every_scorer_two_columns() {
        let mut summary = summary();
        assert!(blocks(&summary).is_empty());
        let policy = |policy: &str, delta: f64| ScoredPolicy {
            policy: policy.to_owned(),
            mean: 1.0 + delta,
            mean_ci95: [0.9 + delta, 1.1 + delta],
            delta_vs_sft: delta,
            delta_vs_sft_ci95: [delta - 0.05, delta + 0.05],
        };
        summary.scorers = vec![ScorerSummary {
            scorer: "harmless".to_owned(),
            policies: vec![policy("init", -0.5), policy("sft", 0.0)],
        }];
        summary.agreement = vec![Agreement {
            scorer: "world".to_owned(),
            versus: "harmless".to_owned(),
            spearman_within_prompt: Some(0.5),
            pearson_within_prompt: None,
        }];
        let found = blocks(&summary);
        assert_eq!(found.len(), 4);
        let texts = |table: &Table| -> Vec<Vec<String>> {
            let row = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.clone()).collect();
            table.rows.iter().map(row).collect()
        };
        let (policies, agreement) = (policies(&summary), agreement(&summary));
        assert_eq!(policies.header, ["policy", "harmless", "difference to SFT"]);
        assert_eq!(
            texts(&policies),
            [
                ["init", "0.50 ± 0.10", "−0.50 ± 0.05"],
                ["sft", "1.00 ± 0.10", "–"]
            ]
        );
        assert_eq!(texts(&agreement), [["world", "harmless", "0.50", "–"]]);
    }
}
