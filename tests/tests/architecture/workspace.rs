//! The workspace as the rules see it: its crates, and its files by path from the root.

use std::fs;
use std::path::Path;

use cargo_metadata::MetadataCommand;

use afd_tests::root;

/// One crate of the workspace.
pub(crate) struct Crate {
    pub(crate) name: String,
    /// Normal, development and build dependencies alike.
    pub(crate) dependencies: Vec<Dependency>,
    /// What the crate's own Cargo features switch on, as in `burn/flex`.
    pub(crate) enabled: Vec<String>,
}

/// A dependency under its real name, also where the manifest renames it.
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

/// A file of text and its path from the root, with `/`.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The members of the workspace.
pub(crate) fn crates() -> Vec<Crate> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let crates: Vec<Crate> = metadata
        .packages
        .into_iter()
        .map(|package| Crate {
            name: package.name.to_string(),
            dependencies: package
                .dependencies
                .into_iter()
                .map(|dependency| Dependency {
                    name: dependency.name,
                    features: dependency.features,
                })
                .collect(),
            enabled: package.features.into_values().flatten().collect(),
        })
        .collect();
    assert!(crates.len() > 2, "cargo metadata found no workspace");
    crates
}

/// Every Rust source of the workspace.
pub(crate) fn rust_sources() -> Vec<TextFile> {
    text_files(&["crates", "tests", "xtask"], ".rs")
}

/// The files below the given folders whose names end with `suffix`; there must be some.
pub(crate) fn text_files(folders: &[&str], suffix: &str) -> Vec<TextFile> {
    let files: Vec<TextFile> = folders
        .iter()
        .flat_map(|folder| paths(folder))
        .filter(|path| path.ends_with(suffix))
        .map(|path| TextFile {
            text: fs::read_to_string(root().join(&path)).unwrap(),
            path,
        })
        .collect();
    assert!(!files.is_empty(), "no *{suffix} in {folders:?}");
    files
}

/// The paths of all files below a folder, sorted; build output is left out.
pub(crate) fn paths(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join(folder), folder, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, path: &str, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{path}: {error}"));
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{path}/{name}");
        if !entry.path().is_dir() {
            found.push(path);
        } else if name != "target" {
            collect(&entry.path(), &path, found);
        }
    }
}

/// A crate made up to show a rule bad input.
pub(crate) fn made_up(name: &str, dependencies: &[(&str, &[&str])], enabled: &[&str]) -> Crate {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Crate {
        name: name.to_owned(),
        dependencies: dependencies
            .iter()
            .map(|(name, features)| Dependency {
                name: (*name).to_owned(),
                features: owned(features),
            })
            .collect(),
        enabled: owned(enabled),
    }
}
