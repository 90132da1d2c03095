//! From a repository's name to a directory with its files.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::hub::{Hub, Info};
use crate::{Error, Options, Repository, download, files};

/// Hears of a download: the file, its bytes that are here, all its bytes.
pub type Progress<'a> = &'a dyn Fn(&str, u64, u64);

/// A repository's files at one commit, all of them here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where they are. Other tools may have put other files beside them.
    pub dir: PathBuf,
    /// `org/name`.
    pub id: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// What that is: the commit to write down for the next time.
    pub commit: String,
    /// The names of the files that make up the model, sorted.
    pub files: Vec<String>,
}

/// Finds the repository's files, fetching those that are not in the cache.
///
/// A branch or tag is looked up on the Hub; a commit whose files are in the cache needs no network.
/// With [`Options::offline`] nothing does, and a branch is what it was when last looked up.
///
/// A kill at any moment leaves a cache that the next call goes on with.
///
/// # Errors
/// Whatever stands between the name and its files, with what to do.
pub fn resolve(
    repository: &Repository,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Snapshot, Error> {
    if options.offline {
        return cached(repository, options).ok_or_else(|| missing(repository, options));
    }
    if repository.commit().is_some()
        && let Some(snapshot) = cached(repository, options)
    {
        return Ok(snapshot);
    }
    let cache = Cache::new(&options.cache, repository);
    let hub = Hub::new(repository, options)?;
    let info = hub.info()?;
    let (id, commit) = (repository.id(), &info.commit);
    if repository.commit().is_some_and(|asked| asked != commit) {
        return Err(Error::Protocol {
            host: options.endpoint.clone(),
            problem: format!("`{repository}` is told to be the commit {commit}"),
        });
    }
    tracing::debug!(%repository, commit, "the Hub knows it");
    let mut files = Vec::new();
    for name in files::wanted(id, &info.files)? {
        download::file(&hub, &cache, commit, name, progress)?;
        files.push(name.to_owned());
        if name == files::INDEX {
            let shards = files::shards(id, &cache.snapshot(commit).join(name))?;
            refuse_missing(id, &shards, &info)?;
            for shard in &shards {
                download::file(&hub, &cache, commit, shard, progress)?;
            }
            files.extend(shards);
        }
    }
    files.sort();
    if repository.commit().is_none() {
        cache.remember(repository.revision(), commit)?;
    }
    Ok(snapshot(repository, &cache, commit, files))
}

/// Better now than after the other shards.
fn refuse_missing(id: &str, shards: &[String], info: &Info) -> Result<(), Error> {
    let missing = shards.iter().find(|shard| !info.files.contains(*shard));
    missing.map_or(Ok(()), |shard| {
        Err(Error::Index {
            id: id.to_owned(),
            problem: format!("names `{shard}`, which the repository does not have"),
        })
    })
}

/// What the cache holds of the repository, if that is all of it; no network.
pub fn cached(repository: &Repository, options: &Options) -> Option<Snapshot> {
    let cache = Cache::new(&options.cache, repository);
    let commit = match repository.commit() {
        Some(commit) => commit.to_owned(),
        None => cache.commit(repository.revision())?,
    };
    let files = files::complete(repository.id(), &cache.snapshot(&commit))?;
    Some(snapshot(repository, &cache, &commit, files))
}

fn snapshot(repository: &Repository, cache: &Cache, commit: &str, files: Vec<String>) -> Snapshot {
    Snapshot {
        dir: cache.snapshot(commit),
        id: repository.id().to_owned(),
        revision: repository.revision().to_owned(),
        commit: commit.to_owned(),
        files,
    }
}

fn missing(repository: &Repository, options: &Options) -> Error {
    let cache = Cache::new(&options.cache, repository);
    let commit = repository.commit().map(str::to_owned);
    let commit = commit.or_else(|| cache.commit(repository.revision()));
    Error::Offline {
        repository: repository.to_string(),
        cache: options.cache.clone(),
        partly: commit.is_some_and(|commit| cache.snapshot(&commit).is_dir()),
    }
}
