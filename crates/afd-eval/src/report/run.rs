//! How the run went: its training, what it took, where it was computed, and how it is made again.

use afd_stage::Cost;

use super::{
    Block, Cell, Content, Table,
    chart::{Chart, Level, Look, Mark, Point, Series},
    content::plain,
};
use crate::{
    numbers::{Numbers, fixed},
    record::{Curve, Logged, RunRecord},
    summary::Summary,
};

/// What is drawn of a training, by the names in its `metrics.jsonl`, and how.
pub(crate) const LOGGED: [(&str, &str); 4] = [
    ("train/loss", "blue"),
    ("eval/loss", "red"),
    ("objective/scores", "green"),
    ("objective/kl", "amber"),
];

/// Points of a line; more would not be seen.
const POINTS: usize = 120;

pub(super) fn blocks(
    summary: &Summary,
    record: &RunRecord,
    logged: &[(String, Logged)],
    numbers: Numbers,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !logged.is_empty() {
        blocks.push(Block::Heading("Training".to_owned()));
        for (stage, figures) in logged {
            // Losses are of one scale, and nothing else is.
            let (losses, others): (Vec<_>, Vec<_>) = figures
                .iter()
                .partition(|(name, _)| name.ends_with("/loss"));
            let others = others.into_iter().map(|figure| vec![figure]);
            let groups = std::iter::once(losses).chain(others);
            let groups = groups.filter(|group| !group.is_empty());
            blocks.extend(groups.map(|group| curve(stage, &group)));
        }
    }
    if record.stages.iter().any(|stage| stage.cost.is_some()) {
        blocks.push(Block::Heading("What it took".to_owned()));
        if let Some((table, figure)) = gains(summary, record, numbers) {
            blocks.extend([figure, Block::Table(table)]);
        }
        blocks.push(Block::Table(costs(record)));
    }
    blocks.push(Block::Heading("Where it was computed".to_owned()));
    blocks.push(Block::Table(places(record)));
    if !record.config.is_empty() {
        blocks.push(Block::Heading("How to make it again".to_owned()));
        blocks.push(Block::Paragraph(format!(
            "Save the configuration below as `config.toml`, with its paths as they are on your machine, what \
             stands above it as `again/run.json`, which pins models that have a name, and run `{}`. The same \
             seed on the same kind of device gives the same figures. Both are as they were when this report \
             was written.",
            record.command
        )));
        let code = |title: &str, text: &str| Block::Code {
            title: title.to_owned(),
            text: text.trim_end().to_owned(),
        };
        blocks.push(code("Versions, seed, device, models", &record.about));
        blocks.push(code("The whole configuration", &record.config));
    }
    blocks
}

/// At most [`POINTS`] of them, the last among them.
fn few(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = values.len().div_ceil(POINTS).max(1);
    let mut few: Vec<(f64, f64)> = values.iter().rev().step_by(every).copied().collect();
    few.reverse();
    few
}

/// What a stage logged, over its steps.
fn curve(stage: &str, figures: &[&Curve]) -> Block {
    let series = |(name, values): &&Curve| {
        let colour = LOGGED.iter().find(|(known, _)| known == name);
        let point = |(step, value): &(f64, f64)| Point {
            x: *step,
            y: *value,
            interval: None,
            across: None,
            hint: String::new(),
        };
        Series {
            name: name.clone(),
            look: Look {
                colour: colour.map_or("ink", |(_, colour)| colour),
                mark: Mark::None,
                dash: "",
            },
            points: few(values).iter().map(point).collect(),
            filled: false,
        }
    };
    let chart = Chart {
        label: format!("What {stage} logged over its steps"),
        x_title: "optimiser step".to_owned(),
        y_title: match figures {
            [(name, _)] => name.clone(),
            _ => "loss".to_owned(),
        },
        x_ticks: Vec::new(),
        y_from_zero: false,
        series: figures.iter().map(series).collect(),
        levels: Vec::new(),
    };
    let names: Vec<String> = figures
        .iter()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    Block::Figure {
        svg: chart.svg(),
        caption: format!("`{stage}`: {}.", names.join(", ")),
    }
}

/// What each policy's own training took and gained.
fn gains(summary: &Summary, record: &RunRecord, numbers: Numbers) -> Option<(Table, Block)> {
    let mut rows = Vec::new();
    let mut points = Vec::new();
    for row in summary.trained() {
        let Some(cost) = record
            .policies
            .iter()
            .find(|cost| cost.policy == row.name())
        else {
            continue;
        };
        let millions = cost.tokens as f64 / 1e6;
        let each = match cost.tokens {
            0 => "–".to_owned(),
            _ => numbers.signed(row.delta_vs_sft / millions),
        };
        rows.push(cells(&[
            row.name().to_owned(),
            grouped(cost.tokens),
            fixed(cost.seconds, 1),
            numbers.signed(row.delta_vs_sft),
            each,
        ]));
        points.push(Point {
            x: millions,
            y: row.delta_vs_sft,
            interval: Some(row.delta_vs_sft_ci95),
            across: None,
            hint: format!(
                "{}: {} tokens, {}",
                row.name(),
                grouped(cost.tokens),
                numbers.signed(row.delta_vs_sft)
            ),
        });
    }
    if rows.is_empty() {
        return None;
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let look = |mark, dash| Look {
        colour: "blue",
        mark,
        dash,
    };
    let chart = Chart {
        label: "Gain in golden reward over SFT against the tokens of a policy's training"
            .to_owned(),
        x_title: "tokens of a policy's own training, millions".to_owned(),
        y_title: "golden reward minus that of SFT".to_owned(),
        x_ticks: Vec::new(),
        y_from_zero: false,
        series: vec![Series {
            name: "policies".to_owned(),
            look: look(Mark::Circle, "0 9"),
            points,
            filled: false,
        }],
        levels: vec![Level {
            name: "sft".to_owned(),
            look: look(Mark::None, "6 4"),
            y: 0.0,
        }],
    };
    let figure = Block::Figure {
        svg: chart.svg(),
        caption: "What training buys. Each point is a policy; rest the pointer on it for its name."
            .to_owned(),
    };
    let header = [
        "policy",
        "tokens",
        "seconds",
        "gain",
        "gain per million tokens",
    ];
    let table = Table {
        content: Content::Numbers,
        header: header.map(str::to_owned).to_vec(),
        rows,
        note: "Tokens and time of a policy's own training, that of the policies it goes on from included. \
               What others use too, rewards and stored answers, stands among the stages."
            .to_owned(),
    };
    Some((table, figure))
}

fn costs(record: &RunRecord) -> Table {
    let done = record
        .stages
        .iter()
        .filter_map(|stage| Some((stage, stage.cost?)));
    let mebibytes =
        |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), |bytes| grouped(bytes >> 20));
    // Where nobody was asked, nothing is said of requests.
    let asked = done.clone().any(|(_, cost)| cost.requests > 0);
    let line = |name: &str, cost: &Cost| {
        let mut line = vec![
            name.to_owned(),
            grouped(cost.tokens),
            fixed(cost.seconds, 1),
            mebibytes(cost.peak_memory_bytes),
        ];
        if asked {
            line.extend([grouped(cost.requests), fixed(cost.price, 2)]);
        }
        cells(&line)
    };
    let mut rows: Vec<Vec<Cell>> = done
        .clone()
        .map(|(stage, cost)| line(&stage.name, &cost))
        .collect();
    rows.push(line("all stages", &done.map(|(_, cost)| cost).sum()));
    let mut header = vec!["stage", "tokens", "seconds", "peak memory, MiB"];
    if asked {
        header.extend(["requests", "price"]);
    }
    Table {
        content: Content::Numbers,
        header: header.into_iter().map(str::to_owned).collect(),
        rows,
        note: "Tokens read and written, wall-clock time and the process's memory, that of a GPU left out; \
               interrupted attempts included. A stage that this run found done counts with what it took then."
            .to_owned(),
    }
}

/// A row for each environment, in the order of the first stages.
fn places(record: &RunRecord) -> Table {
    let mut places: Vec<(&Option<String>, String)> = Vec::new();
    for stage in &record.stages {
        match places
            .iter_mut()
            .find(|(place, _)| *place == &stage.environment)
        {
            Some((_, stages)) => *stages += &format!(", {}", stage.name),
            None => places.push((&stage.environment, stage.name.clone())),
        }
    }
    let row = |(place, stages): &(&Option<String>, String)| {
        vec![
            plain(place.as_deref().unwrap_or("not recorded")),
            plain(stages),
        ]
    };
    Table {
        content: Content::Words,
        header: ["device, driver, precision", "stages"]
            .map(str::to_owned)
            .to_vec(),
        rows: places.iter().map(row).collect(),
        note: "The setting of the run that computed the stage; a later run that skips it changes \
               nothing. Stages without a model, such as `data` and `pairs`, use no device."
            .to_owned(),
    }
}

fn cells(texts: &[String]) -> Vec<Cell> {
    texts.iter().map(|text| plain(text)).collect()
}

/// A whole number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1234), "1\u{202f}234");
        assert_eq!(grouped(123_456_789), "123\u{202f}456\u{202f}789");
    }

    #[test]
    fn a_long_training_is_drawn_with_few_points_and_its_last() {
        let values: Vec<(f64, f64)> = (1..=1001).map(|step| (f64::from(step), 0.5)).collect();
        let few = few(&values);
        // Every ninth, counted from the last.
        assert_eq!((few.len(), few[0].0, few[111].0), (112, 2.0, 1001.0));
        assert_eq!(super::few(&values[..7]), values[..7]);
        assert_eq!(super::few(&[]), []);
    }
}
