//! A server of a few lines that speaks as much of the protocol as is asked for.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Names in small letters.
    headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// What the user says.
    pub(crate) fn text(&self) -> &str {
        self.body["messages"][0]["content"].as_str().unwrap()
    }
}

/// A server on a port of its own, and all it was asked.
pub(crate) struct Server {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers with status and body by the request and its number, from 0.
    pub(crate) fn start(
        answer: impl Fn(&Asked, usize) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
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

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: &TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, usize) -> (u16, String),
) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let asked = Asked {
        path: first.split(' ').nth(1).unwrap().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let (status, body) = answer(&asked, number);
    let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
    let patience = serde_json::from_str::<Value>(&body).ok();
    if let Some(seconds) = patience.and_then(|body| body["retry-after"].as_u64()) {
        head += &format!("Retry-After: {seconds}\r\n");
    }
    head += &format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

/// The body of a completion that read 10 tokens and wrote 3.
pub(crate) fn completion(content: &str) -> String {
    json!({
        "id": "x",
        "object": "chat.completion",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content },
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13 },
    })
    .to_string()
}

pub(crate) fn status(status: u16, said: &str) -> (u16, String) {
    (status, said.to_owned())
}
