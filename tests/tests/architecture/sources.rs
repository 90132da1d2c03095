//! Each Rust file says what it is for, and is short enough to be about one thing.

use crate::assert_none;
use crate::workspace::{TextFile, rust_sources};

const MAX_LINES: usize = 500;

fn badly_shaped(file: &TextFile) -> Vec<String> {
    let mut violations = Vec::new();
    if !file.text.starts_with("//! ") {
        violations.push(format!(
            "{}: say what the file is for in `//!` on its first line",
            file.path
        ));
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        violations.push(format!(
            "{}: {lines} lines, at most {MAX_LINES}: move one of its concepts to a file of its own",
            file.path
        ));
    }
    violations
}

#[test]
fn every_source_states_its_purpose_and_stays_short() {
    let violations: Vec<String> = rust_sources().iter().flat_map(badly_shaped).collect();
    assert_none(&violations);
}

#[test]
fn the_rule_sees_missing_purposes_and_long_files() {
    let count = |text: &str| {
        badly_shaped(&TextFile {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        })
        .len()
    };
    assert_eq!(count("//! Adds.\n"), 0);
    assert_eq!(count("use std::fs;\n"), 1);
    assert_eq!(count(""), 1);
    assert_eq!(count("//!\n"), 1);
    assert_eq!(
        count(&format!("//! Adds.\n{}", "\n".repeat(MAX_LINES - 1))),
        0
    );
    assert_eq!(count(&format!("//! Adds.\n{}", "\n".repeat(MAX_LINES))), 1);
}
