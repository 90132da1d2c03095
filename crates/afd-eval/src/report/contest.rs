//! What the report says of all policies against each other.

use std::collections::BTreeSet;

use super::{
    Block, Cell, Content, Table, Tone,
    content::{plain, share},
};
use crate::{
    numbers::{Numbers, fixed},
    summary::{Judged, Summary, Test},
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
    if !summary.judged.is_empty() {
        blocks.push(Block::Heading("What the judge says".to_owned()));
        blocks.push(Block::Table(judged(summary)));
    }
    blocks
}

fn judged(summary: &Summary) -> Table {
    let part = |value: Option<f64>| plain(&value.map_or_else(|| "–".to_owned(), share));
    let row = |judged: &Judged| {
        let interval = judged.win_rate_ci95;
        let tone = match interval {
            Some([low, _]) if low > 0.5 => Tone::Strong,
            Some([_, high]) if high < 0.5 => Tone::Weak,
            _ => Tone::Plain,
        };
        let text = match (judged.win_rate, interval) {
            (Some(rate), Some([low, high])) => {
                format!("{} [{}, {}]", share(rate), share(low), share(high))
            }
            (Some(rate), None) => share(rate),
            (None, _) => "–".to_owned(),
        };
        let without = judged.refused + judged.unparsable + judged.failed;
        vec![
            plain(&judged.policy),
            Cell { text, tone },
            plain(&judged.p.map_or_else(|| "–".to_owned(), p_value)),
            plain(&judged.judged.to_string()),
            part(Some(judged.ties)),
            part(judged.position_bias),
            part(judged.consistent),
            plain(&without.to_string()),
        ]
    };
    let models: BTreeSet<&str> = summary
        .judged
        .iter()
        .map(|one| one.model.as_str())
        .collect();
    let header = [
        "policy",
        "wins against SFT",
        "p",
        "comparisons",
        "ties",
        "first-answer bias",
        "consistent",
        "without verdict",
    ];
    Table {
        content: Content::Numbers,
        header: header.map(str::to_owned).to_vec(),
        rows: summary.judged.iter().map(row).collect(),
        note: format!(
            "By {}, each pair of answers in both orders; ties count half. Winners of Best-of-N stand against \
             an answer that they were not chosen from. First-answer bias: how much more often than half \
             the answer shown first wins. Without verdict: declined, unreadable or unanswered requests.",
            models.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
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
