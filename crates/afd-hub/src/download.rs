//! One file from the Hub into the cache: resumed, checked, and only then in its place.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::CONTENT_RANGE;

use crate::cache::{Cache, create_parent};
use crate::hub::{Hub, Remote};
use crate::{Error, Progress};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// Brings the file `name` of `commit` into the cache, if it is not there.
///
/// # Errors
/// The network's, the Hub's and the disk's. What has arrived stays, and the next call goes on.
pub(crate) fn file(
    hub: &Hub<'_>,
    cache: &Cache,
    commit: &str,
    name: &str,
    progress: Progress<'_>,
) -> Result<(), Error> {
    if cache.snapshot(commit).join(name).is_file() {
        return Ok(());
    }
    let remote = hub.file(commit, name)?;
    let _lock = cache.lock(&remote.etag)?;
    let blob = cache.blob(&remote.etag);
    // Another commit, or another process while this one waited, may have brought it.
    if fs::metadata(&blob).map(|blob| blob.len()).ok() != Some(remote.size) {
        let part = cache.part(&remote.etag);
        create_parent(&part)?;
        let mut download = Download::open(&part, name, &remote)?;
        let resumed = download.done > 0;
        let mut ended = download.run(hub, commit, progress);
        if resumed && matches!(ended, Err(Error::Damaged { .. })) {
            tracing::debug!(
                name,
                "what an earlier download left was damaged; from the start"
            );
            ended = download.run(hub, commit, progress);
        }
        ended?;
        fs::rename(&part, &blob).map_err(Error::io("write", &blob))?;
    }
    cache.link(commit, name, &remote.etag)
}

/// A download under way.
struct Download<'a> {
    name: &'a str,
    remote: &'a Remote,
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    done: u64,
    /// Of these bytes, where the Hub says what the hash must be.
    hash: Option<Sha256>,
}

impl<'a> Download<'a> {
    /// Takes up what is at `path`, if there is anything.
    fn open(path: &Path, name: &'a str, remote: &'a Remote) -> Result<Self, Error> {
        let open = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        let mut download = Self {
            name,
            remote,
            path: path.to_path_buf(),
            file: open.map_err(Error::io("open", path))?,
            done: 0,
            hash: is_sha256(&remote.etag).then(Sha256::new),
        };
        download.take_up()?;
        Ok(download)
    }

    /// Reads what is there already.
    fn take_up(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.file.read(&mut buffer);
            match read.map_err(Error::io("read", &self.path))? {
                0 => break,
                n => self.count(&buffer[..n]),
            }
        }
        match self.done > self.remote.size {
            true => self.restart(),
            false => Ok(()),
        }
    }

    /// Fetches what is missing and checks the whole. When it is damaged, nothing of it stays.
    fn run(&mut self, hub: &Hub<'_>, commit: &str, progress: Progress<'_>) -> Result<(), Error> {
        progress(self.name, self.done, self.remote.size);
        if self.done < self.remote.size {
            let mut answer = hub.content(commit, self.name, self.done)?;
            if self.done > 0 && !continues(&answer, self.done, self.remote.size) {
                self.restart()?;
                if answer.status() == 416 {
                    answer = hub.content(commit, self.name, 0)?;
                }
            }
            self.receive(answer, progress)?;
        }
        self.check()
    }

    fn receive(&mut self, answer: Response<Body>, progress: Progress<'_>) -> Result<(), Error> {
        let expected = self.remote.size;
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let end = loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => n,
                Err(error) => break Some(error),
            };
            if self.done + n as u64 > expected {
                return self.damaged();
            }
            let written = self.file.write_all(&buffer[..n]);
            if written.is_err() {
                // What was written in part is not counted.
                let _ = self.file.set_len(self.done);
            }
            written.map_err(Error::io("write", &self.path))?;
            self.count(&buffer[..n]);
            progress(self.name, self.done, expected);
        };
        if self.done == expected {
            return Ok(());
        }
        Err(Error::Interrupted {
            file: self.name.to_owned(),
            got: self.done,
            expected,
            source: end,
        })
    }

    fn check(&mut self) -> Result<(), Error> {
        if let Some(hash) = &self.hash {
            let found: String = hash
                .clone()
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if found != self.remote.etag {
                return self.damaged();
            }
        }
        self.file.sync_all().map_err(Error::io("write", &self.path))
    }

    fn count(&mut self, bytes: &[u8]) {
        self.done += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    fn damaged(&mut self) -> Result<(), Error> {
        self.restart()?;
        Err(Error::Damaged {
            file: self.name.to_owned(),
        })
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io("write", &self.path))?;
        self.done = 0;
        self.hash = self.hash.take().map(|_| Sha256::new());
        Ok(())
    }
}

/// Whether an answer is the rest of a file of `size` bytes from the byte `from` on.
fn continues(answer: &Response<Body>, from: u64, size: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    answer.status() == 206 && range == Some(&format!("bytes {from}-{}/{size}", size - 1))
}

/// Contents of large files are named by their hash.
fn is_sha256(etag: &str) -> bool {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    etag.len() == 64 && etag.bytes().all(hex)
}
