//! `afd watch`: follows the run of another process.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use afd_stage::RunDir;
use serde_json::Value;

use super::print;
use crate::error::Error;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells each new line of the curves of stages under way, and each stage that ends, as long as a process is at
/// the run; then its results, or where it stopped.
pub(crate) fn run(run_dir: &Path) -> Result<(), Error> {
    if !run_dir.join("run.json").is_file() {
        return Err(Error::Usage(format!(
            "{} is no run: it holds no run.json; `afd pipeline --run-dir {}` makes one",
            run_dir.display(),
            run_dir.display()
        )));
    }
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
            let lines = fs::read_to_string(stage.join("metrics.jsonl")).unwrap_or_default();
            // A line that is still being written is told next time.
            let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
            let whole: Vec<&str> = whole.lines().collect();
            let told = seen
                .entry(stage.clone())
                .or_insert_with(|| whole.len().saturating_sub(1));
            // Fewer than before: a resumed stage went back to its checkpoint.
            *told = (*told).min(whole.len());
            for line in &whole[*told..] {
                print(&format!("{:<32} {}\n", name(stage), figures(line)))?;
            }
            *told = whole.len();
        }
        sleep(PAUSE);
    }
    let left = under_way(run_dir)
        .into_iter()
        .find(|stage| !is_behind(stage, run_dir));
    match left {
        Some(stage) => Err(Error::Usage(format!(
            "nobody is at {} any more, and {} is not finished: the command that made it goes on there",
            run_dir.display(),
            name(&stage)
        ))),
        None => super::report::run(&[run_dir.to_path_buf()]),
    }
}

/// Whether a stage was given up before the run came to its end: a leftover, of which nobody wants to know.
fn is_behind(stage: &Path, run_dir: &Path) -> bool {
    let time = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let (begun, ended) = (
        time(stage.join("key")),
        time(run_dir.join("eval/manifest.json")),
    );
    begun.zip(ended).is_some_and(|(begun, ended)| begun < ended)
}

/// The directories of the stages under way.
fn under_way(run_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run_dir.join(".scratch"));
    let entries = entries.into_iter().flatten().flatten();
    let mut stages: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !name(path).starts_with('.'))
        .collect();
    stages.sort();
    stages
}

/// The stage's name, of which its directory has the slashes written otherwise.
fn name(stage: &Path) -> String {
    let name = stage.file_name().unwrap_or_default().to_string_lossy();
    name.replace("__", "/")
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

/// Four decimals, none of a large number, and small and very large ones by their power of ten.
fn short(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.4}"),
    }
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
        assert_eq!(
            name(Path::new("/x/.scratch/policy__aligned")),
            "policy/aligned"
        );
    }
}
