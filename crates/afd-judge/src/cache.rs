//! What a server has said, by what it was asked: a rerun asks for nothing twice.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// An answer of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What it wrote.
    pub content: String,
    /// Whether it declined to judge.
    pub refused: bool,
    /// Tokens it read.
    pub input_tokens: u64,
    /// Tokens it wrote.
    pub output_tokens: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    reply: Reply,
}

/// Replies in a file of JSON Lines, each appended as it comes.
pub(crate) struct Cache {
    path: PathBuf,
    inside: Mutex<Inside>,
}

struct Inside {
    file: File,
    replies: HashMap<String, Reply>,
    /// Tokens that all of them took: read, written.
    tokens: (u64, u64),
}

impl Inside {
    fn add(&mut self, key: String, reply: Reply) {
        self.tokens.0 += reply.input_tokens;
        self.tokens.1 += reply.output_tokens;
        self.replies.insert(key, reply);
    }
}

impl Cache {
    /// Opens the file behind its last whole line.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let io = |action| {
            move |source| Error::Io {
                action,
                path: path.to_path_buf(),
                source,
            }
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io("make the directory of"))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        let mut replies = Vec::new();
        let (mut whole, mut line) = (0, Vec::new());
        let mut reader = BufReader::new(&file);
        while reader.read_until(b'\n', &mut line).map_err(io("read"))? > 0 && line.ends_with(b"\n")
        {
            let Ok(Line { key, reply }) = serde_json::from_slice(&line) else {
                break;
            };
            replies.push((key, reply));
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).map_err(io("write"))?;
        file.seek(SeekFrom::Start(whole)).map_err(io("write"))?;
        let mut inside = Inside {
            file,
            replies: HashMap::new(),
            tokens: (0, 0),
        };
        for (key, reply) in replies {
            inside.add(key, reply);
        }
        Ok(Self {
            path: path.to_path_buf(),
            inside: Mutex::new(inside),
        })
    }

    /// Tokens that all replies in the file took: read, written.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.tokens
    }

    pub(crate) fn get(&self, key: &str) -> Option<Reply> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.replies.get(key).cloned()
    }

    pub(crate) fn put(&self, key: &str, reply: &Reply) -> Result<(), Error> {
        let line = Line {
            key: key.to_owned(),
            reply: reply.clone(),
        };
        // Strings and numbers always serialise.
        let text = format!("{}\n", serde_json::json!(line));
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside
            .file
            .write_all(text.as_bytes())
            .map_err(|source| Error::Io {
                action: "write",
                path: self.path.clone(),
                source,
            })?;
        inside.add(line.key, line.reply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_asked_for_again_and_the_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/cache.jsonl");
        let reply = |content: &str| Reply {
            content: content.to_owned(),
            refused: false,
            input_tokens: 3,
            output_tokens: 1,
        };
        let cache = Cache::open(&path).unwrap();
        cache.put("a", &reply("[[A]]")).unwrap();
        cache.put("b", &reply("[[B]]\n\u{1f642}")).unwrap();
        drop(cache);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.get("a"), Some(reply("[[A]]")));
        assert_eq!(cache.get("b"), None);
        cache.put("b", &reply("again")).unwrap();
        drop(cache);
        assert_eq!(Cache::open(&path).unwrap().get("b"), Some(reply("again")));
    }
}
