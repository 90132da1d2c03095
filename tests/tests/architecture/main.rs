//! The rules of the workspace that the compiler does not enforce: who may depend on whom, who may
//! name a backend, and that documents, configurations and assets say what is there.
//!
//! Each rule is a function from text or names to violations, so that it can be shown bad input;
//! one test applies it to the workspace, and its message says what to do.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod backends;
mod documents;
mod edges;
mod files;
mod manifests;
mod sources;
mod workspace;

/// Fails with one violation per line.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{} violation(s):\n  {}",
        violations.len(),
        violations.join("\n  ")
    );
}
