//! A run on a terminal: its stages to the left, the curves of the one under way to the right.
//!
//! Drawn from the run's files alone, so that it shows any run, whoever is at it and wherever that process
//! writes. Burn's own dashboard lives in the process that trains, and in Burn's training loop.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use afd_stage::Cost;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    symbols::Marker,
    text::Line,
    widgets::{Axis, Block, Chart, Dataset, GraphType, List, Paragraph},
};
use serde_json::{Map, Value};

use super::{
    super::costs::manifests,
    scratch::{curves, name, short, under_way},
};
use crate::error::Error;

/// How often it looks and draws.
const PAUSE: Duration = Duration::from_millis(250);

/// Columns of the list of stages.
const LIST: u16 = 46;

/// Columns of a stage's name in it.
const NAME: usize = 24;

/// What is drawn first where not all fits, after the losses.
const FIRST: [&str; 3] = ["objective/scores", "objective/kl", "objective/entropy"];

/// Rows that a chart needs to be read.
const LEAST_ROWS: u16 = 9;

const COLOURS: [Color; 4] = [Color::Cyan, Color::Red, Color::Green, Color::Yellow];

/// Values by step, by the figure's name.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// One of them.
type Curve<'a> = (&'a String, &'a Vec<(f64, f64)>);

/// What is shown.
#[derive(Default)]
struct State {
    title: String,
    /// Finished stages in their order, and what they took.
    done: Vec<(String, Cost)>,
    /// Stages under way, and what they took so far.
    under_way: Vec<(String, Cost)>,
    /// Whose curves are drawn: a stage under way that has some, or the last that had.
    drawn: Option<(String, Curves)>,
}

/// Why a dashboard is no longer shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nobody is at the run any more.
    Ended,
    /// The user has seen enough.
    Quit,
    /// The user pressed Ctrl-C, which a terminal in this mode hands on as a key.
    Interrupted,
}

/// Takes the terminal; [`follow`] gives it back.
pub(super) fn open() -> Result<DefaultTerminal, Error> {
    ratatui::try_init().map_err(failed)
}

fn failed(source: io::Error) -> Error {
    Error::Io {
        action: "draw on",
        path: "the terminal".into(),
        source,
    }
}

/// Shows the run on `terminal` while somebody `is_at_it`, with `help` on the last line.
pub(super) fn follow(
    mut terminal: DefaultTerminal,
    run_dir: &Path,
    help: &str,
    is_at_it: &dyn Fn() -> Result<bool, Error>,
) -> Result<Left, Error> {
    let followed = draw_while(&mut terminal, run_dir, help, is_at_it);
    ratatui::try_restore().map_err(failed)?;
    followed?.map_err(failed)
}

/// The outer error is that of the run's files, the inner one that of the terminal.
fn draw_while(
    terminal: &mut DefaultTerminal,
    run_dir: &Path,
    help: &str,
    is_at_it: &dyn Fn() -> Result<bool, Error>,
) -> Result<io::Result<Left>, Error> {
    let mut state = State::default();
    while is_at_it()? {
        state.look(run_dir);
        let drawn = terminal.draw(|frame| draw(frame, &state, help));
        match drawn.map(drop).and_then(|()| asked_to_leave()) {
            Ok(None) => {}
            Ok(Some(left)) => return Ok(Ok(left)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(Left::Ended))
}

/// Waits a moment for a key: whether it says to leave.
fn asked_to_leave() -> io::Result<Option<Left>> {
    if !event::poll(PAUSE)? {
        return Ok(None);
    }
    let Event::Key(key) = event::read()? else {
        return Ok(None);
    };
    Ok(match (key.code, key.modifiers) {
        _ if key.kind != KeyEventKind::Press => None,
        (KeyCode::Char('c'), KeyModifiers::CONTROL) => Some(Left::Interrupted),
        (KeyCode::Char('q') | KeyCode::Esc, _) => Some(Left::Quit),
        _ => None,
    })
}

impl State {
    /// Looks at the run's files again.
    fn look(&mut self, run_dir: &Path) {
        self.title = run_dir.display().to_string();
        // While a stage is put in the place of an older one, there may be none: what was seen last stands.
        if let Ok(manifests) = manifests(run_dir) {
            let done = manifests.into_iter();
            self.done = done.map(|one| (one.stage, one.cost)).collect();
        }
        self.under_way.clear();
        for stage in under_way(run_dir) {
            let found = read_curves(&curves(&stage));
            if !found.is_empty() {
                self.drawn = Some((name(&stage), found));
            }
            self.under_way.push((name(&stage), cost_so_far(&stage)));
        }
    }
}

/// What the stage took when it last saved that, which it does every second.
fn cost_so_far(stage: &Path) -> Cost {
    let saved = fs::read(stage.join("cost.json")).ok();
    let saved = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    saved.unwrap_or_default()
}

fn read_curves(lines: &str) -> Curves {
    let mut curves = Curves::new();
    for line in lines.lines() {
        let Ok(row) = serde_json::from_str::<Map<String, Value>>(line) else {
            continue;
        };
        let Some(step) = row.get("step").and_then(Value::as_f64) else {
            continue;
        };
        for (name, value) in &row {
            if let (false, Some(value)) = (name == "step", value.as_f64().filter(|v| v.is_finite()))
            {
                curves.entry(name.clone()).or_default().push((step, value));
            }
        }
    }
    curves
}

fn draw(frame: &mut Frame<'_>, state: &State, help: &str) {
    let [body, foot] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    let [left, right] =
        Layout::horizontal([Constraint::Length(LIST), Constraint::Fill(1)]).areas(body);
    draw_stages(frame, left, state);
    match &state.drawn {
        Some((stage, curves)) => draw_curves(frame, right, stage, curves),
        None => frame.render_widget(Block::bordered().title(" no curves yet "), right),
    }
    frame.render_widget(Paragraph::new(Line::from(help).dim()), foot);
}

/// The last `most` characters of a name, which say most, with a sign that there are more.
fn end_of(name: &str, most: usize) -> String {
    let count = name.chars().count();
    match count > most {
        false => name.to_owned(),
        true => std::iter::once('…')
            .chain(name.chars().skip(count - most + 1))
            .collect(),
    }
}

/// The stages that fit, those under way at the end.
fn draw_stages(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let line = |mark: &str, (stage, cost): &(String, Cost)| {
        let tokens = match cost.tokens {
            0 => String::new(),
            tokens => format!("{:.1}k", tokens as f64 / 1e3),
        };
        let stage = end_of(stage, NAME);
        format!("{mark} {stage:<NAME$} {:>7.1} s {tokens:>7}", cost.seconds)
    };
    let done = state
        .done
        .iter()
        .map(|stage| Line::from(line("✓", stage)).dim());
    let now = state.under_way.iter();
    let now = now.map(|stage| Line::from(line("▸", stage)).bold());
    let lines: Vec<Line<'_>> = done.chain(now).collect();
    let rows = usize::from(area.height.saturating_sub(2));
    let shown = lines.len().saturating_sub(rows);
    let list = List::new(lines.into_iter().skip(shown));
    let block = Block::bordered().title(format!(" {} ", state.title));
    frame.render_widget(list.block(block), area);
}

/// As many charts as fit: losses in one, every other figure in its own, the most telling first.
fn draw_curves(frame: &mut Frame<'_>, area: Rect, stage: &str, curves: &Curves) {
    let is_loss = |name: &str| name.ends_with("/loss");
    let (losses, others): (Vec<_>, Vec<_>) = curves.iter().partition(|(name, _)| is_loss(name));
    let mut groups: Vec<Vec<Curve<'_>>> = Vec::new();
    groups.extend((!losses.is_empty()).then_some(losses));
    let mut others: Vec<_> = others
        .into_iter()
        .filter(|(_, points)| points.len() > 1)
        .collect();
    let place = |name: &str| FIRST.iter().position(|first| *first == name);
    others.sort_by_key(|(name, _)| place(name).unwrap_or(FIRST.len()));
    groups.extend(others.into_iter().map(|figure| vec![figure]));
    let fit = usize::from((area.height / LEAST_ROWS).max(1));
    groups.truncate(fit);
    let rows = Layout::vertical(vec![Constraint::Fill(1); groups.len().max(1)]).split(area);
    for (group, &row) in groups.iter().zip(rows.iter()) {
        draw_chart(frame, row, stage, group);
    }
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, stage: &str, figures: &[Curve<'_>]) {
    let all = || figures.iter().flat_map(|(_, points)| points.iter());
    let x = bounds(all().map(|point| point.0));
    let y = bounds(all().map(|point| point.1));
    let mut datasets = Vec::new();
    for (colour, (_, points)) in COLOURS.iter().cycle().zip(figures) {
        let line = Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(*colour))
            .data(points);
        datasets.push(line);
    }
    let last = |(name, points): &Curve<'_>| {
        let last = points.last().map_or_else(String::new, |last| short(last.1));
        format!("{name} {last}")
    };
    let names: Vec<String> = figures.iter().map(last).collect();
    let axis = |[low, high]: [f64; 2], label: fn(f64) -> String| {
        Axis::default()
            .bounds([low, high])
            .labels([label(low), label(high)])
            .style(Style::new().dim())
    };
    let chart = Chart::new(datasets)
        .block(Block::bordered().title(format!(" {stage}: {} ", names.join(", "))))
        .x_axis(axis(x, |step| format!("{step:.0}")))
        .y_axis(axis(y, short));
    frame.render_widget(chart, area);
}

/// The range of the values, never empty.
fn bounds(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match low < high {
        true => [low, high],
        false => [low - 0.5, low + 0.5],
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, state, "how to leave"))
            .unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content.chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    fn state() -> State {
        let cost = |seconds, tokens| Cost {
            seconds,
            tokens,
            ..Cost::default()
        };
        let lines = "{\"step\":1,\"train/loss\":3.0,\"train/speed\":7}\n{\"step\":2,\"train/loss\":2.5,\
                     \"eval/loss\":2.75,\"train/speed\":9}\nno line\n{\"step\":3,\"train/loss\":null}\n";
        State {
            title: "runs/first".to_owned(),
            done: vec![("data".to_owned(), cost(1.25, 0))],
            under_way: vec![("sft".to_owned(), cost(12.0, 3456))],
            drawn: Some(("sft".to_owned(), read_curves(lines))),
        }
    }

    #[test]
    fn stages_and_curves_stand_side_by_side() {
        let text = screen(&state(), 110, 24);
        for part in [
            " runs/first ",
            "✓ data                         1.2 s",
            "▸ sft                         12.0 s    3.5k",
            " sft: eval/loss 2.7500, train/loss 2.5000 ",
            " sft: train/speed 9.0000 ",
            "how to leave",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        let mut state = state();
        let stage = |number: u32| (format!("stage-{number}"), Cost::default());
        state.done = (0..50).map(stage).collect();
        let text = screen(&state, 80, 10);
        assert!(
            text.contains("stage-49") && text.contains("▸ sft"),
            "{text}"
        );
        assert!(
            !text.contains("stage-0 ") && !text.contains("speed"),
            "{text}"
        );
        screen(&state, 3, 2);
        assert!(screen(&State::default(), 80, 10).contains("no curves yet"));
    }

    #[test]
    fn long_names_show_their_end() {
        assert_eq!(end_of("sft", 3), "sft");
        assert_eq!(end_of("rounds/x/1/policy", 9), "…1/policy");
    }

    #[test]
    fn a_curve_of_one_value_has_a_range() {
        assert_eq!(bounds([2.0, 2.0].into_iter()), [1.5, 2.5]);
        assert_eq!(bounds([1.0, 3.0].into_iter()), [1.0, 3.0]);
    }
}
