//! Files that are either as before or wholly new, never half written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// Marks a file that [`AtomicFile`] has not committed.
const TEMPORARY: &str = ".afd-tmp";

/// Replaces `path` by a file with these `bytes`: a reader sees the old file or the new one, also
/// after a crash.
///
/// # Errors
///
/// [`Error::Io`], naming `path`, when its directory is missing or cannot be written, or the disk
/// is full.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit()
}

/// Reads a text file.
///
/// # Errors
///
/// [`Error::Io`], naming `path`, when it cannot be read or is not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// A file that appears under its path, complete and on disk, at [`commit`](AtomicFile::commit).
///
/// Until then it is a hidden sibling, which is removed when this is dropped instead; one that a
/// kill leaves in a stage's scratch directory is removed when the stage resumes. Writes are
/// buffered.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    committed: bool,
}

impl AtomicFile {
    /// Starts the file that is to be `path`, in a directory that exists.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], naming `path`.
    pub fn create(path: &Path) -> Result<Self, Error> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let no_name = || io::Error::from(io::ErrorKind::InvalidFilename);
        let name = path
            .file_name()
            .ok_or_else(no_name)
            .map_err(Error::io("write", path))?;

        // Process and count keep writers of the same path apart; the last to commit wins.
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(
            ".{}-{}{TEMPORARY}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        let temporary = path.with_file_name(temporary);
        let file = File::create(&temporary).map_err(Error::io("write", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            file: BufWriter::new(file),
            committed: false,
        })
    }

    /// Puts the file in place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], naming the file; the old file, if any, is then still there.
    pub fn commit(mut self) -> Result<(), Error> {
        let on_disk = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        on_disk.map_err(Error::io("write", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(Error::io("write", &self.path))?;
        self.committed = true;
        sync_parent(&self.path);
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Whoever gave up already has an error to report, and a left-over does no harm.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

pub(crate) fn create_dir_all(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create the directory", path))
}

/// Removes a directory and all in it; one that is not there is fine.
pub(crate) fn remove_dir_all(path: &Path) -> Result<(), Error> {
    absent_is_fine(fs::remove_dir_all(path)).map_err(Error::io("remove", path))
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    absent_is_fine(fs::remove_file(path)).map_err(Error::io("remove", path))
}

/// Renames a directory so that the new name outlasts a crash.
pub(crate) fn rename_dir(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    sync_parent(to);
    Ok(())
}

/// A directory's entries, sorted by name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut entries = read().map_err(Error::io("read the directory", dir))?;
    entries.sort();
    Ok(entries)
}

/// Removes what killed [`AtomicFile`]s left in `dir` and below.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<(), Error> {
    for entry in entries(dir)? {
        let kind = fs::symlink_metadata(&entry).map_err(Error::io("read", &entry))?;
        if kind.is_dir() {
            remove_leftovers(&entry)?;
        } else if is_temporary(&entry) {
            remove_file(&entry)?;
        }
    }
    Ok(())
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with('.') && name.ends_with(TEMPORARY))
}

/// Whether a relative path stays below the directory that it is joined to.
pub(crate) fn stays_below(relative: &str) -> bool {
    let mut components = Path::new(relative).components();
    !relative.is_empty() && components.all(|part| matches!(part, Component::Normal(_)))
}

/// Asks the system to have a file's content on disk, where that needs no right to write it.
pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let sync = File::open(path).and_then(|file| file.sync_all());
        sync.map_err(Error::io("write", path))?;
    }
    Ok(())
}

/// Has a new name on disk too. Best effort: not every file system can, and the file is there.
fn sync_parent(path: &Path) {
    if cfg!(unix)
        && let Some(parent) = path.parent()
    {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let _ = File::open(parent).and_then(|dir| dir.sync_all());
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries(dir).unwrap().iter().map(name).collect()
    }

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, b"long old text").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(read_to_string(&path).unwrap(), "new");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn the_old_file_stays_until_commit_and_after_giving_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, b"old").unwrap();

        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(read_to_string(&path).unwrap(), "old");
        drop(file);
        assert_eq!(read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn leftovers_are_removed_at_any_depth_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        create_dir_all(&below).unwrap();
        for path in [dir.path().join("x"), below.join("x")] {
            // A kill runs no destructor.
            std::mem::forget(AtomicFile::create(&path).unwrap());
        }
        write_atomic(&below.join(".hidden"), b"").unwrap();
        assert_eq!(names(&below).len(), 2);

        remove_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(names(&below), [".hidden"]);
    }

    #[test]
    fn errors_name_the_file_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such/a.txt");
        let message = write_atomic(&path, b"").unwrap_err().to_string();
        assert!(message.contains("no/such/a.txt`"), "{message}");
        assert!(message.contains("does not exist"), "{message}");
    }

    #[test]
    fn only_plain_relative_paths_stay_below() {
        for (path, expected) in [
            ("a", true),
            ("a/b.txt", true),
            ("", false),
            ("/a", false),
            ("../a", false),
            ("a/../../b", false),
            (".", false),
        ] {
            assert_eq!(stays_below(path), expected, "{path}");
        }
    }
}
