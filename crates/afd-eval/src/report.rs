//! The report: one list of blocks, written as Markdown and as HTML.

mod behaviour;
mod browser;
mod chart;
mod content;
mod contest;
mod figures;
mod html;
mod markdown;
mod run;
mod scorers;
mod trained;

use std::collections::BTreeSet;

use browser::Browser;
pub(crate) use run::LOGGED;

use crate::{
    EvalConfig,
    golden::GoldenRow,
    inputs::Data,
    record::{Logged, RunRecord},
    summary::Summary,
};

/// A piece of the report.
pub(crate) enum Block {
    Heading(String),
    /// The paragraph to read if only one is read.
    Lead(String),
    Paragraph(String),
    List(Vec<String>),
    /// Something to be suspicious of.
    Warning(String),
    Table(Table),
    /// A plot as SVG; HTML only.
    Figure {
        svg: String,
        caption: String,
    },
    Dialogue(Dialogue),
    /// A text as it is, of which the title is seen first.
    Code {
        title: String,
        text: String,
    },
    /// Answers to look through; HTML only.
    Browser(Browser),
}

/// The first column holds names.
pub(crate) struct Table {
    /// What the others hold.
    content: Content,
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
    note: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// To the right and on one line.
    Numbers,
    /// To the left and over as many lines as it takes, as the names beside it.
    Words,
}

pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// Better beyond chance.
    Strong,
    /// Worse beyond chance.
    Weak,
    /// A red flag.
    Alarm,
}

/// A prompt and some answers to it.
pub(crate) struct Dialogue {
    title: String,
    prompt: String,
    answers: Vec<Answer>,
}

pub(crate) struct Answer {
    who: String,
    golden: String,
    text: String,
}

/// The report as Markdown and as a self-contained HTML page.
pub(crate) fn render(
    summary: &Summary,
    data: &Data<'_>,
    golden: &[GoldenRow],
    config: &EvalConfig,
    record: &RunRecord,
    logged: &[(String, Logged)],
) -> (String, String) {
    let blocks = content::blocks(summary, data, golden, config, record, logged);
    (
        markdown::render(TITLE, &blocks),
        html::render(TITLE, &blocks, config.blur_answers),
    )
}

/// The numbers of the prompts to which the report shows answers, of so many in all.
pub(crate) fn shown(config: &EvalConfig, prompts: usize) -> BTreeSet<usize> {
    let counts = [config.examples, config.browser_prompts];
    counts
        .into_iter()
        .flat_map(|count| at_equal_distances(count, prompts))
        .collect()
}

/// The numbers of `count` prompts, or of all `prompts`.
fn at_equal_distances(count: usize, prompts: usize) -> impl ExactSizeIterator<Item = usize> {
    let count = count.min(prompts);
    (0..count).map(move |place| place * prompts / count)
}

const TITLE: &str = "Alignment from demonstrations: evaluation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_shown_lie_at_equal_distances() {
        let of = |count, prompts| at_equal_distances(count, prompts).collect::<Vec<usize>>();
        assert_eq!(of(2, 5), [0, 2]);
        assert_eq!(of(3, 5), [0, 1, 3]);
        assert_eq!(of(9, 3), [0, 1, 2]);
        assert_eq!(of(0, 3), [0usize; 0]);
    }
}
