//! What stages pass to each other: a place on disk and a fingerprint of its content.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::manifest::{FileRecord, Manifest};
use crate::{Error, fs};

/// A finished stage's directory, or a file or directory from elsewhere, and its fingerprint.
#[derive(Debug, Clone)]
pub struct Artifact {
    name: String,
    path: PathBuf,
    fingerprint: String,
    environment: Option<String>,
}

impl Artifact {
    pub(crate) fn finished(path: PathBuf, manifest: Manifest) -> Self {
        Self {
            name: manifest.stage,
            path,
            fingerprint: manifest.fingerprint,
            environment: manifest.environment,
        }
    }

    /// The stage's name, the path that was given to [`source_artifact`], or the name that was
    /// given to [`source_files`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory, or the file if that is what was given to [`source_artifact`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the directory a file is; it need not exist.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A hash of the content, in hexadecimal: the same wherever and whenever it was made.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// [`Manifest::environment`]; `None` for what no stage wrote.
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }
}

/// Makes an input of a file or directory that no stage wrote, such as a checkpoint or data.
///
/// All of its content is read to fingerprint it: the file's bytes, or the names and bytes of the
/// files in the directory and below. Links to files count as files, as in Hugging Face's cache.
/// Names that begin with a dot do not count: they hold version control and download caches.
///
/// # Errors
///
/// [`Error::Io`], naming the path, when it is missing or unreadable; [`Error::Unhashable`] when
/// the directory holds a link to a directory, or something that is no file.
pub fn source_artifact(path: &Path) -> Result<Artifact, Error> {
    let kind = std::fs::metadata(path).map_err(Error::io("read", path))?;
    let fingerprint = if kind.is_dir() {
        fingerprint(&hash_files(path, &|name, _| name.starts_with('.'))?)
    } else {
        hash_file(path)?
    };
    Ok(Artifact {
        name: path.display().to_string(),
        path: path.to_path_buf(),
        fingerprint,
        environment: None,
    })
}

/// As [`source_artifact`] for some `files` of a directory, under a `name` that says where they are
/// from. The fingerprint is that of a directory which holds these files and no others.
///
/// For directories that others write to as well, such as a shared cache of models: what they put
/// beside the files changes nothing.
///
/// # Errors
///
/// [`Error::Io`], naming the file, when it is missing or unreadable.
pub fn source_files(name: &str, dir: &Path, files: &[String]) -> Result<Artifact, Error> {
    let mut records = Vec::new();
    for file in files {
        let path = dir.join(file);
        records.push(FileRecord {
            path: file.clone(),
            bytes: std::fs::metadata(&path)
                .map_err(Error::io("read", &path))?
                .len(),
            blake3: hash_file(&path)?,
        });
    }
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Artifact {
        name: name.to_owned(),
        path: dir.to_path_buf(),
        fingerprint: fingerprint(&records),
        environment: None,
    })
}

/// One hash of a list of files that [`hash_files`] returned.
pub(crate) fn fingerprint(files: &[FileRecord]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        // The length keeps a path from running into what follows it.
        hasher.update(&(file.path.len() as u64).to_le_bytes());
        hasher.update(file.path.as_bytes());
        hasher.update(file.blake3.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The files in `dir` and below, sorted by path, except those below an entry for which
/// `skip(its name, its depth)` holds; entries of `dir` have depth 0.
pub(crate) fn hash_files(
    dir: &Path,
    skip: &dyn Fn(&str, usize) -> bool,
) -> Result<Vec<FileRecord>, Error> {
    let mut files = Vec::new();
    visit(dir, "", 0, skip, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn visit(
    dir: &Path,
    prefix: &str,
    depth: usize,
    skip: &dyn Fn(&str, usize) -> bool,
    files: &mut Vec<FileRecord>,
) -> Result<(), Error> {
    for path in fs::entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(unhashable(&path, "its name is not UTF-8; rename it"));
        };
        if skip(name, depth) {
            continue;
        }
        let relative = format!("{prefix}{name}");
        // Follows links, so that one to nowhere is an error and one to a file has its size.
        let kind = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
        if kind.is_file() {
            files.push(FileRecord {
                path: relative,
                bytes: kind.len(),
                blake3: hash_file(&path)?,
            });
        } else if path.is_symlink() {
            // It could lead back up, without end.
            return Err(unhashable(
                &path,
                "it is a link to a directory; put the directory itself there",
            ));
        } else if kind.is_dir() {
            visit(&path, &format!("{relative}/"), depth + 1, skip, files)?;
        } else {
            return Err(unhashable(
                &path,
                "it is neither a file nor a directory; remove it",
            ));
        }
    }
    Ok(())
}

fn hash_file(path: &Path) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .map_err(Error::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn unhashable(path: &Path, reason: &'static str) -> Error {
    Error::Unhashable {
        path: path.to_path_buf(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    fn print_of(dir: &tempfile::TempDir) -> String {
        source_artifact(dir.path())
            .unwrap()
            .fingerprint()
            .to_owned()
    }

    #[test]
    fn a_file_has_the_hash_of_its_bytes() {
        let dir = tree(&[("a", ""), ("b", "")]);
        let artifact = source_artifact(&dir.path().join("a")).unwrap();
        // The well-known BLAKE3 hash of nothing.
        assert_eq!(
            artifact.fingerprint(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(artifact.path(), dir.path().join("a"));
        assert_eq!(artifact.name(), dir.path().join("a").to_str().unwrap());
    }

    #[test]
    fn a_directory_goes_by_names_and_bytes_and_not_by_place() {
        let here = print_of(&tree(&[("x/a", "1"), ("b", "2")]));
        assert_eq!(here, print_of(&tree(&[("b", "2"), ("x/a", "1")])));
        for other in [
            tree(&[("x/a", "1"), ("b", "3")]),
            tree(&[("x/a", "2"), ("b", "1")]),
            tree(&[("x/c", "1"), ("b", "2")]),
            tree(&[("xa", "1"), ("b", "2")]),
            tree(&[("x/a", "1")]),
            tree(&[("x/a", "1"), ("b", "2"), ("c", "")]),
        ] {
            assert_ne!(here, print_of(&other));
        }
    }

    #[test]
    fn some_files_of_a_directory_count_as_if_they_were_alone() {
        let alone = print_of(&tree(&[("a", "1"), ("b", "2")]));
        let shared = tree(&[("a", "1"), ("b", "2"), ("c", "3"), ("x/d", "4")]);
        let files = ["b".to_owned(), "a".to_owned()];
        let artifact = source_files("org/name@1", shared.path(), &files).unwrap();
        assert_eq!(artifact.fingerprint(), alone);
        assert_eq!(artifact.name(), "org/name@1");
        assert_eq!(artifact.path(), shared.path());

        let missing = source_files("n", shared.path(), &["gone".to_owned()]).unwrap_err();
        assert!(missing.to_string().contains("gone`: it does not exist"));
    }

    #[test]
    fn hidden_entries_do_not_count() {
        let plain = print_of(&tree(&[("a", "1")]));
        let cached = tree(&[("a", "1"), (".git/index", "2"), (".cache/x/y", "3")]);
        assert_eq!(plain, print_of(&cached));
    }

    #[test]
    fn a_missing_path_is_named() {
        let message = source_artifact(Path::new("no/such/gpt2")).unwrap_err();
        assert_eq!(
            message.to_string(),
            "cannot read `no/such/gpt2`: it does not exist; check the path"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_files_and_others_are_refused() {
        use std::os::unix::fs::symlink;

        let blobs = tree(&[("blob", "weights")]);
        let snapshot = tree(&[]);
        let link = snapshot.path().join("model.safetensors");
        symlink(blobs.path().join("blob"), &link).unwrap();
        assert_eq!(
            print_of(&snapshot),
            print_of(&tree(&[("model.safetensors", "weights")]))
        );

        std::fs::remove_file(&link).unwrap();
        symlink(blobs.path().join("gone"), &link).unwrap();
        let message = source_artifact(snapshot.path()).unwrap_err().to_string();
        assert!(
            message.contains("model.safetensors`: it does not exist"),
            "{message}"
        );

        std::fs::remove_file(&link).unwrap();
        symlink(snapshot.path(), snapshot.path().join("loop")).unwrap();
        let message = source_artifact(snapshot.path()).unwrap_err().to_string();
        assert!(
            message.contains("loop`: it is a link to a directory"),
            "{message}"
        );
    }
}
