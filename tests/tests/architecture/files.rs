//! Configurations are TOML, and every asset has its hash in `assets/README.md`.

use std::fs;

use afd_tests::root;
use toml::Table;

use crate::assert_none;
use crate::workspace::{paths, text_files};

const README: &str = "assets/README.md";

/// What is wrong with the table of hashes, given each asset's path and content hash.
fn wrong_rows(readme: &str, assets: &[(String, String)]) -> Vec<String> {
    let mut violations = Vec::new();
    let rows: Vec<(&str, &str)> = readme.lines().filter_map(row).collect();
    for (path, hash) in assets {
        let mut of_file = rows.iter().filter(|(name, _)| name == path);
        match of_file.next() {
            None => violations.push(format!("{path} has no row")),
            Some((_, other)) if other != hash => {
                violations.push(format!("{path} is not the file whose hash is in its row"));
            }
            Some(_) => {}
        }
    }
    for (path, _) in &rows {
        if !assets.iter().any(|(name, _)| name == path) {
            violations.push(format!("{path} has a row, but there is no such file"));
        }
    }
    violations
        .into_iter()
        .map(|what| format!("{README}: {what}: `cargo xtask assets --table-only` refreshes it"))
        .collect()
}

/// Path and hash from a row such as ``| `assets/a` | 12 | `0f…` |``.
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| `assets/")?.split(" | ");
    let path = cells.next()?.strip_suffix('`')?;
    let hash = cells.nth(1)?.strip_prefix('`')?.strip_suffix("` |")?;
    let path = &line[3..3 + "assets/".len() + path.len()];
    Some((path, hash))
}

#[test]
fn every_configuration_is_toml() {
    let violations: Vec<String> = text_files(&["configs"], ".toml")
        .iter()
        .filter_map(|file| {
            let error = file.text.parse::<Table>().err()?;
            Some(format!("{}: {error}", file.path))
        })
        .collect();
    assert_none(&violations);
}

#[test]
fn every_asset_has_its_hash_in_the_readme() {
    let assets: Vec<(String, String)> = paths("assets")
        .into_iter()
        .filter(|path| path != README)
        .map(|path| {
            let content = fs::read(root().join(&path)).unwrap();
            let hash = blake3::hash(&content).to_hex().to_string();
            (path, hash)
        })
        .collect();
    assert!(!assets.is_empty(), "no assets: run `cargo xtask assets`");
    let readme = fs::read_to_string(root().join(README)).unwrap();
    assert_none(&wrong_rows(&readme, &assets));
}

#[test]
fn the_rule_sees_missing_stale_and_leftover_rows() {
    let readme = "| file | bytes | BLAKE3 |\n| --- | ---: | --- |\n\
                  | `assets/base/a` | 1 | `00ff` |\n| `assets/b` | 2 | `11ee` |\n";
    let asset = |path: &str, hash: &str| (path.to_owned(), hash.to_owned());
    let good = [asset("assets/base/a", "00ff"), asset("assets/b", "11ee")];
    assert_none(&wrong_rows(readme, &good));
    let stale = [asset("assets/base/a", "beef"), asset("assets/b", "11ee")];
    assert_eq!(wrong_rows(readme, &stale).len(), 1);
    assert_eq!(wrong_rows(readme, &good[..1]).len(), 1);
    assert_eq!(wrong_rows("", &good).len(), 2);
}
