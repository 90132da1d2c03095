//! What can go wrong between a name and its files; each message says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate. No message holds a token, a password or a signed address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text does not name a repository.
    #[error(
        "`{text}` does not name a repository: {reason}; write `org/name` or `org/name@revision`, \
         as in `openai-community/gpt2`"
    )]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// No variable says where the cache is.
    #[error("nothing says where the cache of models is; set HF_HOME to a directory")]
    NoCache,

    /// A variable holds something that cannot be used; its value is not shown.
    #[error("{variable} {problem}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with its value, and what would be right.
        problem: &'static str,
    },

    /// There is no such repository, or none that may be seen.
    #[error(
        "there is no repository `{id}` at {endpoint}, nor a directory of that name here; check \
         the spelling{}",
        match .with_token {
            true => ", or whether the account of your token may see it",
            false => ", or, if it is private, set HF_TOKEN to a token of an account that may see \
                      it (or run `hf auth login`)",
        }
    )]
    NotFound {
        /// The repository.
        id: String,
        /// Where it was looked for.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// The repository is there, its revision is not.
    #[error(
        "`{id}` has no branch, tag or commit `{revision}`; {endpoint}/{id}/tree/main lists what \
         there is"
    )]
    Revision {
        /// The repository.
        id: String,
        /// What it was asked for.
        revision: String,
        /// Where it is.
        endpoint: String,
    },

    /// The repository is open only to those who accepted its conditions.
    #[error(
        "`{id}` may not be downloaded without its authors' consent: ask for access at \
         {endpoint}/{id}, {}",
        match .with_token {
            true => "with the account of your token, and see that the token may read gated \
                     repositories",
            false => "then set HF_TOKEN to a token of that account (or run `hf auth login`)",
        }
    )]
    Gated {
        /// The repository.
        id: String,
        /// Where it is.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// The token is not one that the Hub knows.
    #[error(
        "{endpoint} refuses the token; get another at {endpoint}/settings/tokens and set HF_TOKEN \
         (or run `hf auth login`), or unset HF_TOKEN for what is public"
    )]
    Token {
        /// Who refused it.
        endpoint: String,
    },

    /// No answer came.
    #[error(
        "cannot reach {host}; check the network, HF_ENDPOINT and HTTPS_PROXY, or set \
         HF_HUB_OFFLINE=1 to use what is in the cache"
    )]
    Unreachable {
        /// The host.
        host: String,
        /// What happened.
        source: Box<ureq::Error>,
    },

    /// An answer came that says neither yes nor no.
    #[error("{host} answered {status} when asked for {what}; {}", remedy(*.status))]
    Status {
        /// The host.
        host: String,
        /// What it was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
    },

    /// An answer came that the Hub does not give.
    #[error("{host} does not answer as the Hub does: {problem}; check HF_ENDPOINT")]
    Protocol {
        /// The host.
        host: String,
        /// What is wrong.
        problem: String,
    },

    /// Offline, and the cache does not hold it.
    #[error(
        "`{repository}` is not in the cache `{}`{}, and HF_HUB_OFFLINE forbids to fetch it; \
         unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE and run the same command again, or set \
         HF_HOME to a cache that has it",
        .cache.display(),
        if *.partly { ", or only a part of it" } else { "" }
    )]
    Offline {
        /// The repository with its revision.
        repository: String,
        /// The cache.
        cache: PathBuf,
        /// Whether some of its files are there.
        partly: bool,
    },

    /// The repository has weights only as pickles, which run what they hold.
    #[error(
        "`{id}` has its weights only as pickles, which are not opened because they may run \
         anything; convert them where you trust them, with Python's transformers: \
         `AutoModelForCausalLM.from_pretrained(\"{id}\").save_pretrained(\"DIR\")`, the tokenizer \
         likewise, and give DIR; or ask for a revision with safetensors, which the Hub's \
         conversion often left at `{id}@refs/pr/N`"
    )]
    Pickled {
        /// The repository.
        id: String,
    },

    /// The repository holds something else than a model as transformers writes it.
    #[error("`{id}` is no model as transformers writes it: it has no `{missing}`")]
    NotAModel {
        /// The repository.
        id: String,
        /// The file that every model has.
        missing: &'static str,
    },

    /// The list of a checkpoint's files cannot be used.
    #[error("`{id}` cannot be used: its model.safetensors.index.json {problem}")]
    Index {
        /// The repository.
        id: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The connection ended before the file did.
    #[error(
        "the connection ended after {got} of {expected} bytes of `{file}`; run the same command \
         again, it goes on from there"
    )]
    Interrupted {
        /// The file.
        file: String,
        /// The bytes that are there.
        got: u64,
        /// The bytes it has.
        expected: u64,
        /// What happened, if the network said so.
        source: Option<io::Error>,
    },

    /// The bytes that came are not those of the file.
    #[error(
        "`{file}` arrived damaged: its hash is not the one that the Hub announced; run the same \
         command again, and check HTTPS_PROXY and HF_ENDPOINT if it stays so"
    )]
    Damaged {
        /// The file.
        file: String,
    },

    /// The operating system refused to read or write something.
    #[error("cannot {action} `{}`{}", .path.display(), explain(.source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// Gives an [`io::Error`] the verb and the path that it lacks, for use in `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// What to do about a status.
fn remedy(status: u16) -> &'static str {
    match status {
        429 => {
            "it wants fewer requests: wait some minutes and run the same command again, with a \
             token in HF_TOKEN if there is none"
        }
        500..=599 => "that is its own trouble: wait and run the same command again",
        _ => "run the same command again, and check HF_ENDPOINT if it stays so",
    }
}

/// Cause and remedy in words where there is one; the source has the system's own words.
fn explain(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full; free some space, or set HF_HOME to a directory on a larger disk, \
             and run the same command again, it goes on from there"
        }
        io::ErrorKind::PermissionDenied => {
            ": permission denied; change its permissions, or set HF_HOME to a directory of yours"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            ": the file system is read-only; set HF_HOME to a directory that can be written"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_where_to_go() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let message = Error::io("write", Path::new("/c/x"))(full).to_string();
        assert!(message.starts_with("cannot write `/c/x`: the disk is full"));
        assert!(message.contains("HF_HOME"), "{message}");
    }
}
