//! The cache on disk, as Python's `huggingface_hub` lays it out, so that both can use it.
//!
//! ```text
//! HF_HUB_CACHE/
//!   models--ORG--NAME/
//!     refs/REVISION              the commit that a branch or tag was when last asked for
//!     blobs/ETAG                 contents
//!     blobs/ETAG.afd-incomplete  a download that goes on next time
//!     snapshots/COMMIT/FILE      links to contents
//!   .locks/models--ORG--NAME/ETAG.lock
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Repository, reference};

/// One repository's part of the cache.
pub(crate) struct Cache {
    repository: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(crate) fn new(root: &Path, repository: &Repository) -> Self {
        let name = format!("models--{}", repository.id().replace('/', "--"));
        Self {
            repository: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    /// The directory of a commit, whether or not it is there.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repository.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag was when last asked for.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.repository.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        reference::is_commit(commit).then(|| commit.to_owned())
    }

    /// Remembers what a branch or tag is.
    pub(crate) fn remember(&self, revision: &str, commit: &str) -> Result<(), Error> {
        let path = self.repository.join("refs").join(revision);
        create_parent(&path)?;
        // Renamed into place, so that no reader sees half a commit; process and count keep writers
        // apart.
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let new = format!(".{}-{count}.afd-tmp", std::process::id());
        let new = self.repository.join("refs").join(new);
        fs::write(&new, commit)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::io("write", &path))
    }

    /// Where a content is, once it is whole.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.repository.join("blobs").join(etag)
    }

    /// Where a content is until then. The name is ours alone: others may write theirs out of order.
    pub(crate) fn part(&self, etag: &str) -> PathBuf {
        self.blob(&format!("{etag}.afd-incomplete"))
    }

    /// Waits until nobody else, Python included, fetches the same content; holds until dropped.
    pub(crate) fn lock(&self, etag: &str) -> Result<File, Error> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let open = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = open.map_err(Error::io("open", &path))?;
        match file.lock() {
            // Some network file systems have no locks; downloads then must not overlap.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file).map_err(Error::io("lock", &path)),
        }
    }

    /// Puts the content `etag` into the snapshot of `commit` as `name`.
    pub(crate) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<(), Error> {
        let (blob, link) = (self.blob(etag), self.snapshot(commit).join(name));
        create_parent(&link)?;
        match make_link(etag, &blob, &link) {
            // Somebody was faster, or a link to a content that was deleted is in the way.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if link.is_file() {
                    return Ok(());
                }
                fs::remove_file(&link)
                    .and_then(|()| make_link(etag, &blob, &link))
                    .map_err(Error::io("write", &link))
            }
            made => made.map_err(Error::io("write", &link)),
        }
    }
}

#[cfg(unix)]
fn make_link(etag: &str, _: &Path, link: &Path) -> io::Result<()> {
    // Relative, so that the cache may move. Names have one part, so the way up is always this.
    std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), link)
}

#[cfg(not(unix))]
fn make_link(_: &str, blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link)
}

/// Creates the directory that `path` is to be in.
pub(crate) fn create_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("create the directory", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache(dir: &Path) -> Cache {
        Cache::new(dir, &Repository::parse("org/name").unwrap())
    }

    #[test]
    fn a_ref_is_read_back_and_rubbish_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        assert_eq!(cache.commit("refs/pr/1"), None);
        cache.remember("refs/pr/1", COMMIT).unwrap();
        assert_eq!(cache.commit("refs/pr/1").unwrap(), COMMIT);
        let path = dir.path().join("models--org--name/refs/main");
        fs::write(&path, "../../../elsewhere").unwrap();
        assert_eq!(cache.commit("main"), None);
    }

    #[test]
    fn a_link_survives_a_move_and_replaces_one_to_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        cache.link(COMMIT, "config.json", "gone").unwrap();
        assert!(!cache.snapshot(COMMIT).join("config.json").exists());
        create_parent(&cache.blob("e")).unwrap();
        fs::write(cache.blob("e"), "text").unwrap();
        cache.link(COMMIT, "config.json", "e").unwrap();
        cache.link(COMMIT, "config.json", "e").unwrap();

        let moved = dir.path().join("moved");
        fs::rename(dir.path().join("models--org--name"), &moved).unwrap();
        let read = fs::read_to_string(moved.join("snapshots").join(COMMIT).join("config.json"));
        assert_eq!(read.unwrap(), "text");
    }

    #[test]
    fn a_content_is_fetched_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let held = cache.lock("e").unwrap();
        let other = File::open(dir.path().join(".locks/models--org--name/e.lock")).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }
}
