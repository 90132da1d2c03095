//! The three questions that are asked of the Hub, and what its refusals mean.

use std::collections::BTreeSet;

use serde::Deserialize;
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, ETAG};
use ureq::http::{HeaderMap, Method, Response};

use crate::http::{Follow, Http};
use crate::{Error, Options, Repository, reference};

/// Most bytes of a repository's description.
const MAX_INFO: u64 = 64 << 20;

/// A repository, asked over the network.
pub(crate) struct Hub<'a> {
    http: Http,
    endpoint: &'a str,
    repository: &'a Repository,
}

/// What the Hub says of a revision.
pub(crate) struct Info {
    /// What the revision is today.
    pub(crate) commit: String,
    /// The files in it.
    pub(crate) files: BTreeSet<String>,
}

/// What the Hub says of a file.
#[derive(Debug)]
pub(crate) struct Remote {
    /// Names the content; where it has 64 digits, it is the content's SHA-256.
    pub(crate) etag: String,
    /// In bytes.
    pub(crate) size: u64,
}

#[derive(Deserialize)]
struct RawInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl<'a> Hub<'a> {
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn new(repository: &'a Repository, options: &'a Options) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(options)?,
            endpoint: &options.endpoint,
            repository,
        })
    }

    /// The commit and the files of the repository's revision.
    ///
    /// # Errors
    /// The network's, or the Hub's refusals.
    pub(crate) fn info(&self) -> Result<Info, Error> {
        let revision = self.repository.revision();
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.endpoint,
            self.repository.id(),
            encode(revision)
        );
        let answer = self.http.ask(&Method::GET, &url, 0, Follow::WithinHub)?;
        let mut answer = self.accept(answer, None)?;
        let bytes = answer.body_mut().with_config().limit(MAX_INFO);
        let bytes = bytes.read_to_vec().map_err(|source| Error::Unreachable {
            host: self.endpoint.to_owned(),
            source: Box::new(source),
        })?;
        let raw: RawInfo = serde_json::from_slice(&bytes)
            .map_err(|_| self.http.protocol("a repository's description is none"))?;
        if !reference::is_commit(&raw.sha) {
            return Err(self.http.protocol("a commit is none"));
        }
        Ok(Info {
            commit: raw.sha,
            files: raw
                .siblings
                .into_iter()
                .map(|file| file.rfilename)
                .collect(),
        })
    }

    /// Name and size of a file's content.
    ///
    /// # Errors
    /// The network's, or the Hub's refusals.
    pub(crate) fn file(&self, commit: &str, name: &str) -> Result<Remote, Error> {
        let url = self.url(commit, name);
        // Large files are elsewhere; what is asked here stands in the redirect to them.
        let answer = self.http.ask(&Method::HEAD, &url, 0, Follow::WithinHub)?;
        let answer = self.accept(answer, Some(name))?;
        let headers = answer.headers();
        let found = text(headers, "x-repo-commit");
        if found.is_some_and(|found| found != commit) {
            return Err(self.http.protocol("a file is of another commit"));
        }
        // What a redirect says of itself is not about the file.
        let own = |name: &str| match answer.status().is_redirection() {
            true => None,
            false => text(headers, name),
        };
        let etag = text(headers, "x-linked-etag").or_else(|| own(ETAG.as_str()));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let size = text(headers, "x-linked-size").or_else(|| own(CONTENT_LENGTH.as_str()));
        let size = size.and_then(|size| size.parse().ok());
        let (Some(etag), Some(size)) = (etag, size) else {
            return Err(self.http.protocol("a file has no ETag or no size"));
        };
        // It becomes a file name.
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if etag.is_empty() || etag.len() > 128 || !etag.chars().all(fits) {
            return Err(self.http.protocol("a file's ETag is none"));
        }
        Ok(Remote {
            etag: etag.to_owned(),
            size,
        })
    }

    /// A file's content from the byte `from` on, or from its start if whoever holds it says so.
    ///
    /// # Errors
    /// The network's, or the Hub's refusals; not when there is nothing at `from` (status 416).
    pub(crate) fn content(
        &self,
        commit: &str,
        name: &str,
        from: u64,
    ) -> Result<Response<Body>, Error> {
        let url = self.url(commit, name);
        let answer = self.http.ask(&Method::GET, &url, from, Follow::Anywhere)?;
        match answer.status().as_u16() {
            200 | 206 | 416 => Ok(answer),
            // Whether we may have it was asked before; this may be another host's trouble.
            status => Err(self.status(name, status)),
        }
    }

    fn url(&self, commit: &str, name: &str) -> String {
        let (endpoint, id) = (self.endpoint, self.repository.id());
        format!("{endpoint}/{id}/resolve/{commit}/{}", encode(name))
    }

    /// Turns a refusal into an error. `file` is what was asked for, if not the repository.
    fn accept(&self, answer: Response<Body>, file: Option<&str>) -> Result<Response<Body>, Error> {
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let (id, endpoint) = (self.repository.id().to_owned(), self.endpoint.to_owned());
        let with_token = self.http.has_token();
        let code = text(answer.headers(), "x-error-code").unwrap_or_default();
        Err(match (code, status.as_u16()) {
            ("GatedRepo", _) => Error::Gated {
                id,
                endpoint,
                with_token,
            },
            ("RevisionNotFound", _) => Error::Revision {
                id,
                revision: self.repository.revision().to_owned(),
                endpoint,
            },
            ("RepoNotFound", _) => Error::NotFound {
                id,
                endpoint,
                with_token,
            },
            (_, 401) if with_token => Error::Token { endpoint },
            // The Hub does not tell strangers what exists.
            (_, 401) => Error::NotFound {
                id,
                endpoint,
                with_token,
            },
            (_, 403) => Error::Gated {
                id,
                endpoint,
                with_token,
            },
            (_, 404) if file.is_none() => Error::NotFound {
                id,
                endpoint,
                with_token,
            },
            (_, status) => self.status(file.unwrap_or(&id), status),
        })
    }

    fn status(&self, what: &str, status: u16) -> Error {
        Error::Status {
            host: self.endpoint.to_owned(),
            what: format!("`{what}`"),
            status,
        }
    }
}

/// A header's text.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Writes a revision or a file's name as one part of an address.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let mut encoded = String::new();
    for byte in text.bytes() {
        match plain(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_means_something_in_an_address_is_encoded() {
        assert_eq!(super::encode("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(super::encode("a b?#%é"), "a%20b%3F%23%25%C3%A9");
        assert_eq!(
            super::encode("model-00001-of-00002.safetensors"),
            "model-00001-of-00002.safetensors"
        );
    }
}
