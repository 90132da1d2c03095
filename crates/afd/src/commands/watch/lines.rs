//! A run as lines: each new line of the curves of stages under way, and each stage that ends.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use afd_stage::RunDir;
use serde_json::Value;

use super::{
    super::print,
    scratch::{curves, name, short, under_way},
};
use crate::error::Error;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells of the run until nobody is at it; true then.
pub(super) fn follow(run_dir: &Path) -> Result<bool, Error> {
    let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
    while RunDir::is_open(run_dir)? {
        let stages = under_way(run_dir);
        let gone: Vec<PathBuf> = seen
            .keys()
            .filter(|stage| !stages.contains(stage))
            .cloned()
            .collect();
        for stage in gone {
            seen.remove(&stage);
            print(&format!("{:<32} ended\n", name(&stage)))?;
        }
        for stage in &stages {
            let lines = curves(stage);
            let lines: Vec<&str> = lines.lines().collect();
            let told = seen
                .entry(stage.clone())
                .or_insert_with(|| lines.len().saturating_sub(1));
            // Fewer than before: a resumed stage went back to its checkpoint.
            *told = (*told).min(lines.len());
            for line in &lines[*told..] {
                print(&format!("{:<32} {}\n", name(stage), figures(line)))?;
            }
            *told = lines.len();
        }
        sleep(PAUSE);
    }
    Ok(true)
}

/// `step 20  train/loss 0.53  …` of a line of the curves.
fn figures(line: &str) -> String {
    let Ok(Value::Object(row)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let figure = |(name, value): (&String, &Value)| match value.as_f64() {
        Some(value) if name != "step" => format!("{name} {}", short(value)),
        _ => format!("{name} {value}"),
    };
    row.iter().map(figure).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_in_few_digits() {
        let line = r#"{"step":20,"train/loss":0.527312345,"train/learning_rate":2e-5,"speed":12345.6,"nothing":null}"#;
        assert_eq!(
            figures(line),
            "step 20  train/loss 0.5273  train/learning_rate 2.00e-5  speed 12346  nothing null"
        );
    }
}
