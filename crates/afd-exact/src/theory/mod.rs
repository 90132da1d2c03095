//! The method's identities as tables of numbers, computed anew on one small instance.

mod picture;
mod policies;
mod rewards;
mod world;

use std::fmt;

pub use picture::picture;

/// How wide a printed section is at most, in characters.
pub const WIDTH: usize = 100;

/// An identity: what it says, and numbers that show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// What the numbers say.
    pub says: &'static str,
    /// The names of the columns.
    pub columns: Vec<&'static str>,
    /// The cells of each row, one per column.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// The table alone, its first column to the left and the others to the right, without a line
    /// longer than it needs.
    pub fn table(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|i| self.width(i)).collect();
        let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
        let header: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        let mut lines = vec![line(&header, &widths), rule.join("  ")];
        lines.extend(self.rows.iter().map(|row| line(row, &widths)));
        lines.join("\n")
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        let header = self.columns[column].chars().count();
        cells.max().unwrap_or(0).max(header)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        writeln!(f, "{}\n", self.table())?;
        writeln!(f, "{}", wrapped(self.says, WIDTH))
    }
}

/// All of them, in the order of the method: divergences, rewards, policies.
///
/// Deterministic; takes a fraction of a second.
pub fn sections() -> Vec<Section> {
    let space = world::space();
    let world = world::World::new(&space);
    vec![
        world.answers(),
        rewards::divergences(&world),
        rewards::fine_tuning(&world),
        rewards::adversarial(&world),
        policies::projections(),
        rewards::sources(&world),
        rewards::losses(&world),
        rewards::class_ratio(&world),
        rewards::tokens(&world),
        policies::regularised(&world),
        policies::best_of(&world),
        policies::matched(&world),
        policies::frozen(&world),
        policies::truncated(&world),
        policies::estimators(&world),
        policies::credit(&world),
        policies::placements(&world),
        policies::preferences(&world),
        policies::self_play(&world),
    ]
}

/// A row out of anything that prints.
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
use row;

/// Three decimals.
fn short(x: f64) -> String {
    let x = if x.abs() < 5e-4 { 0.0 } else { x };
    format!("{x:.3}")
}

/// The order of magnitude of what should be 0.
fn error(x: f64) -> String {
    if x.abs() < 1e-15 {
        return "0".to_owned();
    }
    format!("{x:.0e}")
}

/// The largest difference of two tables.
fn apart(x: &[f64], y: &[f64]) -> f64 {
    let differences = x.iter().zip(y).map(|(x, y)| (x - y).abs());
    differences.fold(0.0, f64::max)
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = " ".repeat(width - cell.chars().count());
        if i == 0 {
            line = format!("{cell}{gap}");
        } else {
            line = format!("{line}  {gap}{cell}");
        }
    }
    line.trim_end().to_owned()
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let long = lines[last].chars().count() + 1 + word.chars().count() > width;
        if lines[last].is_empty() {
            lines[last] = word.to_owned();
        } else if long {
            lines.push(word.to_owned());
        } else {
            lines[last] = format!("{} {word}", lines[last]);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_a_full_table_and_fits_the_page() {
        let sections = sections();
        assert_eq!(sections.len(), 19);
        for section in &sections {
            assert!(!section.rows.is_empty(), "{}", section.title);
            for row in &section.rows {
                assert_eq!(row.len(), section.columns.len(), "{}", section.title);
            }
            let printed = section.to_string();
            for line in printed.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            assert!(!printed.contains("NaN"), "{printed}");
            assert!(section.says.ends_with('.'));
        }
    }

    #[test]
    fn the_numbers_are_the_same_every_time() {
        assert_eq!(sections(), sections());
    }

    #[test]
    fn what_should_vanish_does() {
        // Cells in columns of errors are powers of ten, each no larger than 1e-5.
        let mut seen = 0;
        for section in sections() {
            let errors = section.columns.iter().enumerate();
            for (i, column) in errors.filter(|(_, name)| name.starts_with("error")) {
                for row in &section.rows {
                    let Ok(value) = row[i].parse::<f64>() else {
                        assert_eq!(row[i], "—", "{} {column}", section.title);
                        continue;
                    };
                    assert!(value.abs() <= 1e-5, "{} {row:?}", section.title);
                    seen += 1;
                }
            }
        }
        assert!(seen > 30, "{seen} errors shown");
    }

    #[test]
    fn numbers_keep_the_order_they_are_said_to_have() {
        let sections = sections();
        let column = |title: &str, name: &str| -> Vec<f64> {
            let found = sections.iter().find(|s| s.title.starts_with(title));
            let section = found.unwrap_or_else(|| panic!("no {title}"));
            let place = section.columns.iter().position(|c| *c == name).unwrap();
            let cells = section.rows.iter().map(|row| row[place].parse());
            cells.map(|cell| cell.unwrap_or(f64::NAN)).collect()
        };
        let below = |less: Vec<f64>, more: Vec<f64>| {
            let mut pairs = less.iter().zip(&more);
            assert!(pairs.all(|(l, m)| l <= m), "{less:?} {more:?}");
        };
        below(
            column("Best-of-N", "KL(BoN ‖ pi_SFT)"),
            column("Best-of-N", "bound"),
        );
        let matched = "Compare at matched KL";
        below(
            column(matched, "E[r] of BoN"),
            column(matched, "E[r] of ref·exp(r/β)/Z"),
        );
        let slopes = column("What a reward made", "f'(0)");
        let growth = column("What a reward made", "growth");
        assert!(
            slopes
                .iter()
                .zip(growth)
                .all(|(f, g)| (1.0 - 0.1 * f - g).abs() < 1e-3)
        );
        let spread = column("The closest policy", "entropy");
        assert!(spread[1] > spread[0] && spread[0] > spread[3], "{spread:?}");
        let away = column("SPIN", "round 8");
        assert!(away[0] > 1.0 && away[3] == 0.0, "{away:?}");
    }

    #[test]
    fn a_section_prints_as_a_table() {
        let section = Section {
            title: "Title",
            says: "A sentence.",
            columns: vec!["of", "value"],
            rows: vec![row!["one", short(0.25)], row!["—", error(2e-9)]],
        };
        let expected = "Title\n\nof   value\n───  ─────\none  0.250\n—     2e-9\n\nA sentence.\n";
        assert_eq!(section.to_string(), expected);
        assert_eq!(wrapped("ab cd ef", 5), "ab cd\nef");
    }
}
