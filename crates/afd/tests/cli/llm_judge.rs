//! A language model as judge in a run: asked once for each answer, and told in the report.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use crate::util::{Ends, Run, root};

/// A judge that always likes the answer shown first: its address, and how often it was asked.
fn fond_of_the_first() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let count = count.clone();
            std::thread::spawn(move || answer(&stream.unwrap(), &count));
        }
    });
    (address, asked)
}

fn answer(mut stream: &TcpStream, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    count.fetch_add(1, Ordering::SeqCst);
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let body = match asked["completions"].as_array() {
        // As a server of rewards it counts characters.
        Some(answers) => {
            let lengths: Vec<usize> = answers.iter().map(|a| a.as_str().unwrap().len()).collect();
            serde_json::json!({ "rewards": lengths }).to_string()
        }
        None => r#"{"choices": [{"message": {"content": "The first. [[A]]"}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5}}"#
            .to_owned(),
    };
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(whole.as_bytes()).unwrap();
}

fn settings(address: &str) -> String {
    format!(
        r#"
[policies.sharp]
method = "sampler"
temperature = 0.5
strength = 0.0
[llm_judge]
base_url = "{address}"
model = "first"
prompt = "{}/configs/judge-prompt.txt"
temperature = 0.0
max_tokens = 64
max_concurrency = 4
max_retries = 1
timeout = 20
input_price = 1.0
output_price = 2.0
on_failure = "stop"
max_prompts = 5
"#,
        root().display()
    )
}

#[test]
fn a_judge_is_asked_once_and_its_bias_is_told() {
    let (address, asked) = fond_of_the_first();
    let run = Run::new(&settings(&address));
    run.pipeline(&[]).succeeds();
    // The policy and four rewards' winners, five prompts each, both ways about; where answers are equal
    // text the question is too, and was answered before.
    let first = asked.load(Ordering::SeqCst);
    assert!((25..=50).contains(&first), "{first}");
    let summary: Value = serde_json::from_str(&run.summary()).unwrap();
    let judged = summary["judged"].as_array().unwrap();
    assert_eq!(judged.len(), 5, "{judged:?}");
    for one in judged {
        assert_eq!(one["win_rate"], 0.5, "{one}");
        assert_eq!(one["position_bias"], 0.5, "{one}");
        assert_eq!(one["consistent"], 0.0, "{one}");
    }
    let report = fs::read_to_string(run.file("eval/report.md")).unwrap();
    assert!(report.contains("## What the judge says"), "{report}");
    assert!(report.contains("| best-of-n-init-sft | 50.0 %"), "{report}");
    // Made again, nothing is asked again.
    run.pipeline(&["--force", "judged"]).succeeds();
    assert_eq!(asked.load(Ordering::SeqCst), first);
}

#[test]
fn settings_of_a_judge_are_checked_together() {
    let wrong = settings("ftp://nowhere").replace("max_tokens = 64", "max_tokens = 0");
    Run::new(&format!("{wrong}max_cost = 0.0\n[best_of_n]\nn = 3\n"))
        .pipeline(&[])
        .fails(
            2,
            &[
                "`llm_judge.base_url` must be an address",
                "`llm_judge.max_tokens` must be 1 or more",
                "`llm_judge.max_cost` must be above 0",
                "`sample.test_num_generations` must be above best_of_n.n",
            ],
        );
}

#[test]
fn a_missing_key_is_told_before_anything_is_computed() {
    let (address, _) = fond_of_the_first();
    let judge = format!("{}api_key_env = \"NO_SUCH_KEY\"\n", settings(&address));
    let server = format!(
        "[scorers.remote]\nkind = \"http\"\nserver = {{ url = \"{address}\", api_key_env = \"NO_SUCH_KEY\", \
         batch_size = 8, max_retries = 1, timeout = 20 }}\n"
    );
    for extra in [judge, server] {
        let run = Run::new(&extra);
        run.pipeline(&[]).fails(1, &["NO_SUCH_KEY"]);
        assert!(!run.file("data").exists());
        // What comes before needs no key.
        run.pipeline(&["--until", "data"]).succeeds();
    }
}

#[test]
fn further_scorers_stand_beside_the_golden_one() {
    let (address, asked) = fond_of_the_first();
    let run = Run::new(&format!(
        "[scorers.twin]\nkind = \"world\"\n[scorers.remote]\nkind = \"http\"\nserver = {{ url = \
         \"{address}/rewards\", batch_size = 8, max_retries = 1, timeout = 20 }}\n"
    ));
    run.pipeline(&[]).succeeds();
    let first = asked.load(Ordering::SeqCst);
    let summary: Value = serde_json::from_str(&run.summary()).unwrap();
    let agreement = summary["agreement"].as_array().unwrap();
    let alike = |a: &str, b: &str| {
        let pair = |one: &&Value| one["scorer"] == a && one["versus"] == b;
        let found = agreement.iter().find(pair).unwrap();
        found["spearman_within_prompt"].as_f64().unwrap()
    };
    assert_eq!(alike("world", "twin"), 1.0);
    assert!(alike("remote", "twin") < 1.0, "{agreement:?}");
    // The twin says of all policies what the golden reward does.
    let twin = summary["scorers"].as_array().unwrap();
    let twin = twin.iter().find(|one| one["scorer"] == "twin").unwrap();
    let sft = &twin["policies"][1];
    assert_eq!(sft["policy"], "sft");
    assert_eq!(sft["mean"], summary["rows"][1]["golden_mean"]);
    // What was scored is not asked for again.
    run.pipeline(&["--force", "eval"]).succeeds();
    assert_eq!(asked.load(Ordering::SeqCst), first);

    let wrong = "[scorers.world]\nkind = \"classifier\"\nserver = { url = \"ftp://x\", batch_size = 0, \
                 max_retries = 1, timeout = 20 }\n";
    Run::new(wrong).pipeline(&[]).fails(
        2,
        &[
            "`scorers.world` must be called",
            "`scorers.world.path` must be given",
            "`scorers.world.server` must be given for kind = \"http\"",
            "`scorers.world.server.url` must be an address",
        ],
    );
}

#[test]
fn a_server_may_give_the_golden_rewards() {
    let (address, asked) = fond_of_the_first();
    let server = format!(
        "golden_server = {{ url = \"{address}/rewards\", batch_size = 8, max_retries = 1, timeout = 20 }}"
    );
    let run = Run::new(&format!("[eval]\ngolden = \"http\"\n{server}\n"));
    run.pipeline(&[]).succeeds();
    // The six answers to each of 16 prompts at a time.
    assert_eq!(asked.load(Ordering::SeqCst), 16);
    let summary: Value = serde_json::from_str(&run.summary()).unwrap();
    assert_eq!(summary["golden"], "http");
    let rows = summary["rows"].as_array().unwrap();
    let golden = |ranker: &str| {
        let best = |row: &&Value| row["ranker"] == ranker && row["n"] == 3;
        rows.iter().find(best).unwrap()["golden_mean"]
            .as_f64()
            .unwrap()
    };
    assert!(golden("golden") > golden("shortest"), "{rows:?}");
    Run::new("[eval]\ngolden = \"http\"\n")
        .pipeline(&[])
        .fails(2, &["`eval.golden_server` must be given"]);
}
