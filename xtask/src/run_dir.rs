//! Folders of the runs that checks make, and the stages finished in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::product;

/// An empty folder for a check's runs, below cargo's target directory.
pub(crate) fn fresh(name: &str) -> Result<PathBuf, Error> {
    let folder = of_check(name)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    Ok(folder)
}

/// Where the runs of a check are, if it has run.
pub(crate) fn of_check(name: &str) -> Result<PathBuf, Error> {
    Ok(product::target_directory()?.join("ci").join(name))
}

/// The content of each finished stage's manifest, by the stage's name.
pub(crate) fn manifests(run_dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![run_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let name = path.file_name().unwrap_or_default();
            if name == "manifest.json" {
                let stage = folder.strip_prefix(run_dir).unwrap_or(&folder);
                let stage = stage.to_string_lossy().replace('\\', "/");
                found.insert(stage, fs::read(&path).map_err(Error::io(&path))?);
            } else if path.is_dir() && name != ".scratch" {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_found_in_nested_stages_but_not_in_scratch() {
        let run = tempfile::tempdir().unwrap();
        for stage in ["data", "reward/init-sft", ".scratch/eval"] {
            let folder = run.path().join(stage);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("manifest.json"), stage).unwrap();
        }
        let found = manifests(run.path()).unwrap();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["data", "reward/init-sft"]
        );
    }
}
