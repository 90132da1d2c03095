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

/// Loops that are to be compiled for several kinds of processors, and would silently be for the narrowest: see
/// `afd_backend::host::wide`.
fn narrow_loops(file: &TextFile) -> Vec<String> {
    let calls = file.text.match_indices("wide(").filter(|(at, call)| {
        let is_whole = !file.text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let argument = file.text[at + call.len()..].trim_start();
        let is_closure = argument.starts_with(['|', '#']) || argument.starts_with("move ");
        is_whole && is_closure && !argument.starts_with("#[inline(always)]")
    });
    let line = |at: usize| file.text[..at].lines().count();
    calls
        .map(|(at, _)| {
            format!(
                "{}:{}: the closure must be `#[inline(always)]`",
                file.path,
                line(at)
            )
        })
        .collect()
}

#[test]
fn closures_for_wide_registers_are_inlined() {
    let violations: Vec<String> = rust_sources().iter().flat_map(narrow_loops).collect();
    assert_none(&violations);
}

#[test]
fn the_rule_sees_a_closure_that_is_not() {
    let count = |text: &str| {
        let text = text.to_owned();
        let path = "a.rs".to_owned();
        narrow_loops(&TextFile { path, text }).len()
    };
    // Written in two, so that the rule does not see them here.
    let call = |argument: &str| format!("let x = wid{}({argument});", "e");
    assert_eq!(count(&call("|| 1")), 1);
    assert_eq!(count(&call("\n  || 1")), 1);
    assert_eq!(count(&call("move || 1")), 1);
    assert_eq!(count(&call("#[inline] || 1")), 1);
    assert_eq!(count(&call("#[inline(always)] || 1")), 0);
    assert_eq!(count("let x = make_wid"), 0);
}
