//! SwiftShader, the Vulkan driver that computes on the CPU, taken out of Debian's Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, remove};
use crate::error::Error;
use crate::shell;

/// The driver, a loader that suits it, and the manifest.
pub(crate) const FILES: [&str; 3] = ["libvk_swiftshader.so", "libvulkan.so.1", MANIFEST];

/// Where the loader is told of the driver.
pub(super) const MANIFEST: &str = "vk_swiftshader_icd.json";

/// Where one Debian release or another keeps the files.
const PACKAGES: [&str; 2] = ["chromium-common", "chromium"];

/// Where the packages install them.
const INSTALLED: &str = "usr/lib/chromium";

/// A complete SwiftShader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SwiftShader {
    pub(crate) folder: PathBuf,
}

impl SwiftShader {
    /// What `setup` made in `dir`; the folder exists only once it is complete.
    pub(crate) fn in_dir(dir: &Path) -> Option<SwiftShader> {
        let folder = dir.join("swiftshader");
        folder.is_dir().then_some(SwiftShader { folder })
    }

    /// The value of `VK_DRIVER_FILES`.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }
}

/// Copies SwiftShader into `dir` from a folder of Chromium: the given one, the installed one, or
/// that of a package fetched for the purpose, which takes no root.
pub(super) fn fetch(dir: &Path, from: Option<&Path>) -> Result<SwiftShader, Error> {
    let scratch = dir.join("swiftshader.partial");
    remove(&scratch)?;
    fs::create_dir_all(&scratch).map_err(Error::io(&scratch))?;
    let installed = Path::new("/").join(INSTALLED);
    let copied = match from {
        Some(folder) => copy(folder, &scratch),
        None if missing(&installed).is_none() => copy(&installed, &scratch),
        None => copy(&unpacked(&dir.join("packages"))?, &scratch),
    };
    copied?;
    let folder = dir.join("swiftshader");
    remove(&folder)?;
    fs::rename(&scratch, &folder).map_err(Error::io(&folder))?;
    remove(&dir.join("packages"))?;
    Ok(SwiftShader { folder })
}

fn missing(folder: &Path) -> Option<&'static str> {
    FILES.into_iter().find(|file| !folder.join(file).is_file())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(file) = missing(from) {
        Err(SetupError::NotSwiftShader {
            folder: from.to_owned(),
            file,
        })?;
    }
    for file in FILES {
        let source = from.join(file);
        fs::copy(&source, to.join(file)).map_err(Error::io(&source))?;
    }
    Ok(())
}

/// Downloads and unpacks a package that has the files, and returns their folder.
fn unpacked(scratch: &Path) -> Result<PathBuf, Error> {
    if let Some(folder) = download(scratch)? {
        return Ok(folder);
    }
    // A fresh container knows no packages yet; without root this fails and says so.
    println!("trying again after `apt-get update`");
    let updated = shell::run(Command::new("apt-get").args(["update", "-qq"]));
    let second = match updated {
        Ok(()) => download(scratch)?,
        Err(error) => {
            println!("{error}");
            None
        }
    };
    second.ok_or_else(|| SetupError::NoSwiftShader.into())
}

fn download(scratch: &Path) -> Result<Option<PathBuf>, Error> {
    for package in PACKAGES {
        remove(scratch)?;
        fs::create_dir_all(scratch).map_err(Error::io(scratch))?;
        let mut get = Command::new("apt-get");
        get.args(["download", "-q", package]).current_dir(scratch);
        if let Err(error) = shell::run(&mut get) {
            println!("{error}");
            continue;
        }
        let Some(archive) = archive_in(scratch)? else {
            continue;
        };
        shell::run(Command::new("dpkg").arg("-x").arg(&archive).arg(scratch))?;
        let folder = scratch.join(INSTALLED);
        if missing(&folder).is_none() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn archive_in(folder: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_appears_once_all_three_files_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let chrome = dir.path().join("chrome");
        fs::create_dir_all(&chrome).unwrap();
        fs::write(chrome.join(FILES[0]), "driver").unwrap();
        fs::write(chrome.join(FILES[1]), "loader").unwrap();

        let error = fetch(dir.path(), Some(&chrome)).unwrap_err().to_string();
        assert!(error.contains(MANIFEST), "{error}");
        assert_eq!(SwiftShader::in_dir(dir.path()), None);

        fs::write(chrome.join(MANIFEST), "{}").unwrap();
        let made = fetch(dir.path(), Some(&chrome)).unwrap();
        assert_eq!(SwiftShader::in_dir(dir.path()), Some(made.clone()));
        assert_eq!(missing(&made.folder), None);
        // A second time replaces the first.
        fs::write(chrome.join(FILES[0]), "newer driver").unwrap();
        fetch(dir.path(), Some(&chrome)).unwrap();
        let driver = fs::read_to_string(made.folder.join(FILES[0])).unwrap();
        assert_eq!(driver, "newer driver");
    }
}
