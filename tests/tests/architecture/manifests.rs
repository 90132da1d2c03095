//! Versions, lints and the edition stand in the root manifest; a crate only inherits them.

use toml::{Table, Value};

use crate::assert_none;
use crate::workspace::{TextFile, text_files};

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

const DEPENDENCY_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

fn not_inherited(manifest: &TextFile) -> Vec<String> {
    let table: Table = match manifest.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{}: {error}", manifest.path)],
    };
    let Some(package) = table.get("package").and_then(Value::as_table) else {
        return vec![format!("{} has no [package]", manifest.path)];
    };
    let mut violations = Vec::new();
    for key in INHERITED {
        if !package.get(*key).is_some_and(inherits) {
            violations.push(format!("write `{key}.workspace = true` in [package]"));
        }
    }
    if !table.get("lints").is_some_and(inherits) {
        violations.push("write `workspace = true` in [lints]".to_owned());
    }
    let targets = table.get("target").and_then(Value::as_table);
    let per_target = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for section in per_target.chain([&table]) {
        for (name, value) in dependencies(section) {
            if !inherits(value) {
                violations.push(format!(
                    "write `{name}.workspace = true`, with the version in the root manifest"
                ));
            }
        }
    }
    violations
        .into_iter()
        .map(|what| format!("{}: {what}", manifest.path))
        .collect()
}

fn dependencies(section: &Table) -> impl Iterator<Item = (&String, &Value)> {
    DEPENDENCY_TABLES
        .iter()
        .filter_map(|name| section.get(*name)?.as_table())
        .flatten()
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[test]
fn every_crate_inherits_versions_lints_and_edition() {
    let manifests = text_files(&["crates", "tests", "xtask"], "/Cargo.toml");
    let violations: Vec<String> = manifests.iter().flat_map(not_inherited).collect();
    assert_none(&violations);
}

#[test]
fn the_rule_sees_what_a_crate_sets_itself() {
    let check = |text: &str| {
        not_inherited(&TextFile {
            path: "Cargo.toml".to_owned(),
            text: text.to_owned(),
        })
    };
    let good = "lints.workspace = true\n[package]\nname = \"a\"\nversion.workspace = true\n\
                edition.workspace = true\nrust-version.workspace = true\n\
                license.workspace = true\npublish.workspace = true\n";
    assert_none(&check(good));
    assert_none(&check(&format!(
        "{good}[dependencies]\nserde = {{ workspace = true, features = [\"rc\"] }}\n"
    )));
    let bad = [
        good.replace("edition.workspace = true", "edition = \"2021\""),
        good.replace("publish.workspace = true\n", ""),
        good.replace("lints.workspace = true\n", ""),
        good.replace("lints.workspace = true", "lints.workspace = false"),
        format!("{good}[dependencies]\nserde = \"1\"\n"),
        format!("{good}[dev-dependencies]\nafd-data = {{ path = \"../afd-data\" }}\n"),
        format!("{good}[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n"),
        "[workspace]\n".to_owned(),
        "[package".to_owned(),
    ];
    for text in bad {
        assert_eq!(check(&text).len(), 1, "{text}");
    }
}
