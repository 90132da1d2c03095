//! Paths that the documents name exist.

use std::fs;

use afd_tests::root;

use crate::assert_none;

const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

const FOLDERS: &[&str] = &[
    "crates/", "configs/", "docs/", "assets/", "xtask/", "tests/",
];

/// The words in backticks or fenced blocks that look like paths of this repository. Patterns such
/// as `crates/afd-*` or `docs/adr/NNNN-title.md` name no single file.
fn named_paths(markdown: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.push(line);
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let pattern = |word: &str| word.contains(['*', '<', '{', '…']) || word.contains("NNNN");
    code.into_iter()
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_start_matches(|c: char| !c.is_alphanumeric()))
        .map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric() && !"/*>}…".contains(c)))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        .filter(|word| !pattern(word))
        .collect()
}

fn missing_paths(document: &str, markdown: &str) -> Vec<String> {
    named_paths(markdown)
        .into_iter()
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("{document} names {path}, which does not exist: mend the document"))
        .collect()
}

#[test]
fn paths_named_in_the_documents_exist() {
    let mut violations = Vec::new();
    for document in DOCUMENTS {
        match fs::read_to_string(root().join(document)) {
            Ok(markdown) => violations.extend(missing_paths(document, &markdown)),
            Err(error) => violations.push(format!("{document}: {error}: write it")),
        }
    }
    assert_none(&violations);
}

#[test]
fn paths_are_found_in_code_and_nowhere_else() {
    let markdown = "See `crates/afd-stage`, `cargo run --config configs/a.toml` and docs/b.md.\n\
                    Not `src/lib.rs`, not `crates/afd-*`, not `docs/adr/NNNN-title.md`.\n\
                    ```text\nassets/   weights\ncp xtask/x.rs, \"tests/y\".\n```\n`docs/c.md`\n";
    assert_eq!(
        named_paths(markdown),
        [
            "crates/afd-stage",
            "configs/a.toml",
            "assets/",
            "xtask/x.rs",
            "tests/y",
            "docs/c.md"
        ]
    );
}

#[test]
fn a_path_that_does_not_exist_is_reported() {
    let violations = missing_paths("README.md", "`xtask/Cargo.toml` and `xtask/nothing.rs`");
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("xtask/nothing.rs"));
}
