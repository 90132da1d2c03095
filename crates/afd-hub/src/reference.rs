//! What a model is called: a directory here, or a repository on the Hub.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;

/// The branch that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// Longest name of a repository or its owner, as the Hub has it.
const MAX_NAME: usize = 96;

/// A model as people name it in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// A directory, which may or may not exist.
    Directory(PathBuf),
    /// A repository on the Hub.
    Repository(Repository),
}

impl Model {
    /// Reads `text`, whose relative paths start at `base`.
    ///
    /// What exists on disk wins, so that no name on the Hub can get in front of a directory of
    /// one's own. Otherwise `org/name` and `org/name@revision` are repositories, and everything
    /// else is a directory that is not there: what begins with `.`, `/` or `~`, has another number
    /// of slashes, or letters that the Hub has in no name. A name alone, such as `gpt2`, is a
    /// directory as well: the Hub's old repositories without an owner have one now
    /// (`openai-community/gpt2`), and a mistyped directory must not become a download.
    pub fn parse(text: &str, base: &Path) -> Self {
        let path = base.join(text);
        match Repository::parse(text) {
            Ok(repository) if !path.exists() => Self::Repository(repository),
            _ => Self::Directory(path),
        }
    }
}

/// A repository on the Hub, at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    id: String,
    revision: String,
}

impl Repository {
    /// Reads `org/name` or `org/name@revision`, whatever there is on disk.
    ///
    /// # Errors
    /// [`Error::Reference`] when `text` is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (id, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let refuse = |reason| Error::Reference {
            text: text.to_owned(),
            reason,
        };
        let Some((owner, name)) = id.split_once('/') else {
            return Err(refuse("there is no `/` between owner and name"));
        };
        if !is_name(owner) || !is_name(name) || name.ends_with(".git") {
            return Err(refuse(
                "owner and name are made of letters, digits, `-`, `_` and `.`, with a letter, \
                 digit or `_` at both ends, and without `--` or `..`",
            ));
        }
        if !is_revision(revision) {
            return Err(refuse(
                "after `@` stands a branch, a tag or a commit, without blanks, `..` and other \
                 letters that git refuses",
            ));
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// `org/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The branch, tag or commit; `main` if none was named.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same repository at a commit that [`resolve`](crate::resolve) returned.
    ///
    /// # Errors
    /// [`Error::Reference`] when `commit` is no full commit hash.
    pub fn at_commit(&self, commit: &str) -> Result<Self, Error> {
        if !is_commit(commit) {
            return Err(Error::Reference {
                text: format!("{}@{commit}", self.id),
                reason: "a commit is 40 hexadecimal digits",
            });
        }
        Ok(Self {
            id: self.id.clone(),
            revision: commit.to_owned(),
        })
    }

    /// The commit, if that is what the revision is: then no network is needed to know it.
    pub(crate) fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(self.revision.as_str())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.revision.as_str() {
            DEFAULT_REVISION => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// Whether `text` is a whole commit hash. It then is a safe file name too.
pub(crate) fn is_commit(text: &str) -> bool {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    text.len() == 40 && text.bytes().all(hex)
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(fits)
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("--")
        && !text.contains("..")
}

/// A git reference that is also a relative path below the cache's `refs`.
fn is_revision(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !"\\:?*[]~^\"<>|%#@{}".contains(c);
    let part =
        |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with('.');
    text.chars().all(fits)
        && !text.contains("..")
        && !text.ends_with(".lock")
        && text.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_slash_are_repositories() {
        let repository = Repository::parse("Qwen/Qwen2.5-0.5B").unwrap();
        assert_eq!(repository.id(), "Qwen/Qwen2.5-0.5B");
        assert_eq!(repository.revision(), "main");
        assert_eq!(repository.to_string(), "Qwen/Qwen2.5-0.5B");
        assert_eq!(repository.commit(), None);

        let repository = Repository::parse("EleutherAI/pythia-70m@refs/pr/1").unwrap();
        assert_eq!(repository.revision(), "refs/pr/1");
        assert_eq!(repository.to_string(), "EleutherAI/pythia-70m@refs/pr/1");

        let commit = "0123456789abcdef0123456789abcdef01234567";
        let pinned = repository.at_commit(commit).unwrap();
        assert_eq!(pinned.commit(), Some(commit));
        assert_eq!(pinned.id(), repository.id());
        assert!(repository.at_commit("main").is_err());
        assert!(repository.at_commit(&commit.to_uppercase()).is_err());
    }

    #[test]
    fn everything_else_is_no_repository() {
        for text in [
            "",
            "gpt2",
            "gpt2@main",
            "./a/b",
            "./a",
            "../a",
            "/a",
            "~/a",
            "a/b/c",
            "a/",
            "/a/b",
            "a//b",
            "a/..",
            "../b@main",
            "a/b c",
            "a\\b/c",
            "C:/models",
            "a/b--c",
            "a/-b",
            "a/b.git",
            "a/ü",
        ] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_revision_is_what_git_takes_and_stays_below_its_directory() {
        for revision in [
            "", ".", "..", "/", "a//b", "/a", "a/", "../x", "a/../b", "a b", "a~1", "a^", "a:b",
            "a\\b", ".a", "a/.b", "-a", "a.lock", "a@{1}", "a\n", "%2e",
        ] {
            let text = format!("org/name@{revision}");
            assert!(Repository::parse(&text).is_err(), "{text:?}");
        }
        for revision in ["v1.0", "step143000", "refs/pr/12", "feature/a-b_c+d"] {
            let text = format!("org/name@{revision}");
            assert_eq!(Repository::parse(&text).unwrap().revision(), revision);
        }
    }

    #[test]
    fn what_is_on_disk_wins() {
        let base = tempfile::tempdir().unwrap();
        let parse = |text: &str| Model::parse(text, base.path());
        let repository = Model::Repository(Repository::parse("org/name").unwrap());
        assert_eq!(parse("org/name"), repository);
        std::fs::create_dir_all(base.path().join("org/name")).unwrap();
        assert_eq!(
            parse("org/name"),
            Model::Directory(base.path().join("org/name"))
        );
        // Elsewhere there is no such directory.
        assert_eq!(Model::parse("org/name", Path::new("/nowhere")), repository);
        for path in ["gpt2", "./org/other", "../x", "a/b/c"] {
            assert_eq!(parse(path), Model::Directory(base.path().join(path)));
        }
        assert_eq!(parse("/x/y"), Model::Directory(PathBuf::from("/x/y")));
    }

    #[test]
    fn a_refusal_says_what_a_repository_looks_like() {
        let error = Repository::parse("gpt2").unwrap_err().to_string();
        assert!(error.contains("`gpt2`"), "{error}");
        assert!(error.contains("`org/name@revision`"), "{error}");
    }
}
