//! An HTTP server of a few lines, and a Hub made of two: one for names, one for large files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use afd_hub::{Error, Options, Repository, Snapshot, Token, resolve};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What the repository's branch `main` is at first.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
}

/// What to answer.
#[derive(Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Close after this many bytes of the body.
    cut: Option<usize>,
}

/// A server on a port of its own, and all it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &log, answer.as_ref()));
            }
        });
        Self { address, asked }
    }
}

fn serve(mut stream: &TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let asked = Asked {
        method: words.next().unwrap(),
        path: words.next().unwrap(),
        headers: lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_lowercase(), value.trim().to_owned()))
            })
            .collect(),
    };
    log.lock().unwrap().push(asked.clone());
    let answer = answer(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
    head += &format!("Content-Length: {}\r\n", answer.body.len());
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = match answer.cut {
        _ if asked.method == "HEAD" => &[],
        Some(cut) => &answer.body[..cut],
        None => &answer.body[..],
    };
    let _ = stream.write_all((head + "\r\n").as_bytes());
    let _ = stream.write_all(body);
}

/// A repository on the Hub, and how the Hub misbehaves.
#[derive(Default)]
pub(crate) struct Repo {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Refuse who does not send this.
    pub(crate) token: Option<&'static str>,
    /// Refuse with this status and code whatever the path contains the text.
    pub(crate) refuse: Option<(&'static str, u16, &'static str)>,
    /// Send that many bytes of a large file and hang up.
    pub(crate) cut: Option<usize>,
    /// Answer a request for a part with the whole.
    pub(crate) ignores_ranges: bool,
    /// Send these bytes instead of a large file's own.
    pub(crate) instead: Option<Vec<u8>>,
    /// Say that this is the ETag of every file.
    pub(crate) etag: Option<&'static str>,
    /// Redirect every small file here.
    pub(crate) elsewhere: Option<&'static str>,
}

/// A Hub with one repository, `org/name`, and a cache to fetch it to.
pub(crate) struct World {
    hub: Server,
    cdn: Server,
    repo: Arc<Mutex<Repo>>,
    cache: TempDir,
}

impl World {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let repo = Arc::new(Mutex::new(Repo {
            commit: COMMIT.to_owned(),
            ..Repo::default()
        }));
        let large = repo.clone();
        let cdn = Server::start(move |asked| large.lock().unwrap().large(asked));
        let (small, elsewhere) = (repo.clone(), cdn.address.clone());
        let hub = Server::start(move |asked| small.lock().unwrap().hub(asked, &elsewhere));
        let world = Self {
            hub,
            cdn,
            repo,
            cache: tempfile::tempdir().unwrap(),
        };
        for (name, text) in files {
            world.put(name, text);
        }
        world
    }

    /// A model in one file.
    pub(crate) fn small_model() -> Self {
        Self::new(&[
            ("config.json", "{}"),
            ("tokenizer.json", "[1]"),
            ("model.safetensors", "the weights of this model"),
            ("README.md", "# A model"),
            ("pytorch_model.bin", "a pickle"),
            ("modeling.py", "import os"),
        ])
    }

    /// A model in two files.
    pub(crate) fn sharded(shard: &str) -> Self {
        let index = format!(r#"{{"weight_map": {{"a": "model-1.safetensors", "b": "{shard}"}}}}"#);
        Self::new(&[
            ("config.json", "{}"),
            ("model.safetensors.index.json", &index),
            ("model-1.safetensors", "one"),
            ("model-2.safetensors", "two"),
        ])
    }

    pub(crate) fn repo(&self) -> MutexGuard<'_, Repo> {
        self.repo.lock().unwrap()
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let mut repo = self.repo();
        repo.files.insert(name.to_owned(), text.into());
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            cache: self.cache.path().join("hub"),
            endpoint: self.hub.address.clone(),
            token: None,
            offline: false,
            proxy: None,
            no_proxy: String::new(),
        }
    }

    pub(crate) fn with_token(&self) -> Options {
        Options {
            token: Token::new("hf_secret"),
            ..self.options()
        }
    }

    pub(crate) fn offline(&self) -> Options {
        Options {
            offline: true,
            ..self.options()
        }
    }

    /// Resolves `name` and forgets what was asked before.
    pub(crate) fn resolve(&self, name: &str) -> Result<Snapshot, Error> {
        self.resolve_with(name, &self.options())
    }

    pub(crate) fn resolve_with(&self, name: &str, options: &Options) -> Result<Snapshot, Error> {
        self.hub.asked.lock().unwrap().clear();
        self.cdn.asked.lock().unwrap().clear();
        resolve(&Repository::parse(name).unwrap(), options, &|_, _, _| {})
    }

    /// What the Hub was asked since.
    pub(crate) fn hub_asked(&self) -> Vec<Asked> {
        self.hub.asked.lock().unwrap().clone()
    }

    /// What the other host was asked since.
    pub(crate) fn cdn_asked(&self) -> Vec<Asked> {
        self.cdn.asked.lock().unwrap().clone()
    }
}

impl Repo {
    fn hub(&self, asked: &Asked, cdn: &str) -> Answer {
        if let Some((text, status, code)) = self.refuse
            && asked.path.contains(text)
        {
            return self.refusal(status, code);
        }
        let sent = asked.headers.get("authorization").map(String::as_str);
        if self.token.is_some() && sent != self.token {
            return self.refusal(401, "");
        }
        if let Some(revision) = asked.path.strip_prefix("/api/models/org/name/revision/") {
            return match revision == "main"
                || revision == "refs%2Fpr%2F1"
                || revision == self.commit
            {
                true => self.info(),
                false => self.refusal(404, "RevisionNotFound"),
            };
        }
        if let Some(name) = asked.path.strip_prefix("/small/") {
            return self.content(asked, &self.files[name]);
        }
        let prefix = format!("/org/name/resolve/{}/", self.commit);
        let Some(name) = asked.path.strip_prefix(&prefix) else {
            return self.refusal(404, "RepoNotFound");
        };
        match self.files.get(name) {
            None => self.refusal(404, "EntryNotFound"),
            Some(body) if name.ends_with(".safetensors") => self.redirect(cdn, name, body),
            // The Hub sends even small files round a corner.
            Some(_) => Answer {
                status: 307,
                headers: vec![
                    ("ETag", "\"of-the-redirect\"".to_owned()),
                    (
                        "Location",
                        match self.elsewhere {
                            Some(elsewhere) => elsewhere.to_owned(),
                            None => format!("/small/{name}"),
                        },
                    ),
                ],
                body: b"go there".to_vec(),
                cut: None,
            },
        }
    }

    fn info(&self) -> Answer {
        let names = self.files.keys();
        let siblings: Vec<String> = names
            .map(|name| format!(r#"{{"rfilename": "{name}"}}"#))
            .collect();
        let body = format!(
            r#"{{"sha": "{}", "private": false, "siblings": [{}]}}"#,
            self.commit,
            siblings.join(", ")
        );
        Answer {
            status: 200,
            body: body.into(),
            ..Answer::default()
        }
    }

    fn redirect(&self, cdn: &str, name: &str, body: &[u8]) -> Answer {
        let etag = self.etag.map_or_else(|| sha256(body), str::to_owned);
        Answer {
            status: 302,
            headers: vec![
                ("X-Repo-Commit", self.commit.clone()),
                ("X-Linked-ETag", format!("\"{etag}\"")),
                ("X-Linked-Size", body.len().to_string()),
                ("Location", format!("{cdn}/{name}?signature=s3cret")),
            ],
            ..Answer::default()
        }
    }

    fn large(&self, asked: &Asked) -> Answer {
        let (name, _) = asked.path[1..].split_once('?').unwrap();
        let body = self.instead.as_ref().unwrap_or(&self.files[name]);
        let mut answer = self.content(asked, body);
        answer.cut = self.cut;
        answer
    }

    /// A file, or the rest of it.
    fn content(&self, asked: &Asked, body: &[u8]) -> Answer {
        let etag = self
            .etag
            .map_or_else(|| sha256(body)[..40].to_owned(), str::to_owned);
        let mut headers = vec![
            ("X-Repo-Commit", self.commit.clone()),
            ("ETag", format!("W/\"{etag}\"")),
        ];
        let range = asked.headers.get("range").filter(|_| !self.ignores_ranges);
        let from = range.map(|range| {
            let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-');
            from.unwrap().parse::<usize>().unwrap()
        });
        let (status, from) = match from {
            None => (200, 0),
            Some(from) if from < body.len() => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                headers.push(("Content-Range", range));
                (206, from)
            }
            Some(_) => return self.refusal(416, ""),
        };
        Answer {
            status,
            headers,
            body: body[from..].to_vec(),
            cut: None,
        }
    }

    fn refusal(&self, status: u16, code: &str) -> Answer {
        Answer {
            status,
            headers: match code {
                "" => Vec::new(),
                code => vec![("X-Error-Code", code.to_owned())],
            },
            ..Answer::default()
        }
    }
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
