//! What a run's directory tells of the stages under way.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directories of the stages under way.
pub(super) fn under_way(run_dir: &Path) -> Vec<PathBuf> {
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
pub(super) fn name(stage: &Path) -> String {
    let name = stage.file_name().unwrap_or_default().to_string_lossy();
    name.replace("__", "/")
}

/// Whether a stage was given up before the run came to its end: a leftover, of which nobody wants to know.
pub(super) fn is_behind(stage: &Path, run_dir: &Path) -> bool {
    let time = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let (begun, ended) = (
        time(stage.join("key")),
        time(run_dir.join("eval/manifest.json")),
    );
    begun.zip(ended).is_some_and(|(begun, ended)| begun < ended)
}

/// The whole lines of a stage's curves: one that is still being written is told next time.
pub(super) fn curves(stage: &Path) -> String {
    let mut lines = fs::read_to_string(stage.join("metrics.jsonl")).unwrap_or_default();
    lines.truncate(lines.rfind('\n').map_or(0, |end| end + 1));
    lines
}

/// Four decimals, none of a large number, and small and very large ones by their power of ten.
pub(super) fn short(value: f64) -> String {
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
    fn names_have_their_slashes_again() {
        let stage = Path::new("/x/.scratch/policy__aligned");
        assert_eq!(name(stage), "policy/aligned");
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_later() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(curves(dir.path()), "");
        let file = dir.path().join("metrics.jsonl");
        fs::write(&file, "{\"step\":1}\n{\"st").unwrap();
        assert_eq!(curves(dir.path()), "{\"step\":1}\n");
        fs::write(&file, "{\"st").unwrap();
        assert_eq!(curves(dir.path()), "");
    }
}
