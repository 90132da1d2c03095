//! What the report says of all policies against each other.

use super::{Block, Cell, Content, Table, Tone, content::plain};
use crate::{
    numbers::{Numbers, fixed},
    summary::{Summary, Test},
};

/// The level below which a p-value counts.
const LEVEL: f64 = 0.05;

/// Their tables; nothing where there is nothing to compare.
pub(super) fn blocks(summary: &Summary, numbers: Numbers) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !summary.tests.is_empty() {
        blocks.push(Block::Table(tests(summary, numbers)));
    }
    if !summary.strengths.is_empty() {
        blocks.push(Block::Table(strengths(summary)));
    }
    blocks
}

fn tests(summary: &Summary, numbers: Numbers) -> Table {
    let row = |test: &Test| {
        let tone = match (test.p_holm < LEVEL, test.delta > 0.0) {
            (true, true) => Tone::Strong,
            (true, false) => Tone::Weak,
            (false, _) => Tone::Plain,
        };
        let toned = |text: String| Cell { text, tone };
        vec![
            plain(&test.policy),
            plain(&test.versus),
            toned(numbers.signed(test.delta)),
            plain(&p_value(test.p)),
            toned(p_value(test.p_holm)),
        ]
    };
    Table {
        content: Content::Numbers,
        header: ["policy", "against", "difference", "p", "p after Holm"]
            .map(str::to_owned)
            .to_vec(),
        rows: summary.tests.iter().map(row).collect(),
        note: format!(
            "Paired permutation tests over the {} prompts, two-sided, of these checkpoints: a training with \
             another seed was not tried. Bold: better beyond chance after correcting for {} tests; italic: \
             worse.",
            summary.prompts,
            summary.tests.len()
        ),
    }
}

fn p_value(p: f64) -> String {
    match p {
        p if p < 0.0005 => "< 0.001".to_owned(),
        p => fixed(p, 3),
    }
}

fn strengths(summary: &Summary) -> Table {
    let mut order: Vec<_> = summary.strengths.iter().collect();
    order.sort_by(|a, b| b.elo.total_cmp(&a.elo));
    let rows = order.into_iter().map(|strength| {
        let [low, high] = strength.elo_ci95;
        vec![
            plain(&strength.policy),
            plain(&fixed(strength.elo, 0)),
            plain(&format!("{} to {}", fixed(low, 0), fixed(high, 0))),
        ]
    });
    Table {
        content: Content::Numbers,
        header: ["policy", "Elo", "95 % interval"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        note: "All policies against each other by golden reward, SFT at 0; 400 points are odds of ten to \
               one that an answer is the better one."
            .to_owned(),
    }
}

/// What the words and figures mean.
pub(super) fn glossary(summary: &Summary) -> Option<String> {
    let told = "p is how often a difference as large would be seen if, at every prompt, either policy were \
                as likely to be the better one; after Holm's correction, how often any of all these \
                differences would be.";
    (!summary.tests.is_empty()).then(|| told.to_owned())
}
