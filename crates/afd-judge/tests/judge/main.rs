//! Judging against a server that behaves, and misbehaves, as servers do.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod server;

use std::{path::PathBuf, sync::Mutex, time::Instant};

use afd_judge::{
    Comparison, Error, JudgeConfig, OnFailure, Outcome, RewardServer, RewardServerConfig, Verdict,
    judge,
};
use server::{Asked, Server, completion, status};

const TEMPLATE: &str = "Prompt: {prompt}\nAnswer A: {a}\nAnswer B: {b}\nSay [[A]], [[B]] or [[C]].";

/// A directory with a template, and the settings of a judge at a server.
struct Bench {
    dir: tempfile::TempDir,
    config: JudgeConfig,
}

impl Bench {
    fn at(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let prompt = dir.path().join("judge.txt");
        std::fs::write(&prompt, TEMPLATE).unwrap();
        let config = JudgeConfig {
            base_url: format!("{}/v1/", server.address),
            model: "judge-1".into(),
            prompt,
            api_key_env: None,
            temperature: 0.0,
            max_tokens: 16,
            max_concurrency: 4,
            requests_per_minute: None,
            max_retries: 0,
            timeout: 5,
            input_price: 0.0,
            output_price: 0.0,
            max_cost: None,
            on_failure: OnFailure::Skip,
            max_prompts: 100,
        };
        Self { dir, config }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache.jsonl")
    }

    fn judge(&self, comparisons: &[Comparison]) -> Result<Outcome, Error> {
        judge(
            &self.config,
            comparisons,
            &self.cache(),
            &|_| None,
            &|_, _, _| (),
        )
    }
}

fn comparisons(count: usize) -> Vec<Comparison> {
    let one = |number| Comparison {
        prompt: format!("question {number}"),
        ours: "a long and careful answer".into(),
        theirs: "short".into(),
    };
    (0..count).map(one).collect()
}

/// Likes the longer answer.
fn longer(asked: &Asked) -> String {
    let text = asked.text();
    let (a, b) = text.split_once("Answer B: ").unwrap();
    let a = a.split_once("Answer A: ").unwrap().1;
    let b = b.split_once("\nSay").unwrap().0;
    let verdict = if a.trim().len() > b.len() {
        "[[A]]"
    } else {
        "[[B]]"
    };
    completion(verdict)
}

#[test]
fn both_orders_are_asked_and_the_better_answer_wins() {
    let server = Server::start(|asked, _| (200, longer(asked)));
    let bench = Bench::at(&server);
    let outcome = bench.judge(&comparisons(5)).unwrap();
    assert_eq!(server.asked().len(), 10);
    for judged in &outcome.judged {
        assert_eq!(
            (judged.ours_first, judged.theirs_first),
            (Verdict::First, Verdict::Second)
        );
        assert_eq!(judged.score, Some(1.0));
    }
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.body["model"], "judge-1");
    assert_eq!(asked.body["max_tokens"], 16);
    assert_eq!(asked.header("authorization"), None);
    assert_eq!((outcome.input_tokens, outcome.output_tokens), (100, 30));
}

#[test]
fn what_was_answered_is_never_asked_again() {
    // The seventh question onwards is answered badly, for good.
    let server = Server::start(|asked, number| match number {
        0..6 => (200, longer(asked)),
        _ => status(400, "no more"),
    });
    let mut bench = Bench::at(&server);
    bench.config.on_failure = OnFailure::Stop;
    bench.config.max_concurrency = 1;
    let all = comparisons(5);
    let error = bench.judge(&all).unwrap_err().to_string();
    assert!(error.contains("status 400: no more"), "{error}");
    assert!(error.contains("6 of 10 answers are kept"), "{error}");
    // A kill tore the last line: that one is asked for again.
    let text = std::fs::read_to_string(bench.cache()).unwrap();
    std::fs::write(bench.cache(), &text[..text.len() - 3]).unwrap();

    let healthy = Server::start(|asked, _| (200, longer(asked)));
    let cache = bench.cache();
    bench.config.base_url = format!("{}/v1/", healthy.address);
    // Another server is another judge: nothing of the first one's counts.
    assert_eq!(bench.judge(&all).unwrap().cached, 0);
    assert_eq!(healthy.asked().len(), 10);
    // The same again costs nothing.
    let again = bench.judge(&all).unwrap();
    assert_eq!((again.cached, healthy.asked().len()), (10, 10));
    assert_eq!(
        std::fs::read_to_string(cache).unwrap().lines().count(),
        5 + 10
    );
    // Another prompt file is another question.
    std::fs::write(&bench.config.prompt, format!("{TEMPLATE} Be fair.")).unwrap();
    assert_eq!(bench.judge(&all).unwrap().cached, 0);
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let server = Server::start(|asked, number| match number {
        0 => status(503, "starting"),
        1 => (200, "{\"choices\": [".to_owned()),
        _ => (200, longer(asked)),
    });
    let mut bench = Bench::at(&server);
    bench.config.max_concurrency = 1;
    bench.config.max_retries = 2;
    let outcome = bench.judge(&comparisons(1)).unwrap();
    assert_eq!(outcome.judged[0].score, Some(1.0));
    assert_eq!(server.asked().len(), 4);

    let server = Server::start(|_, _| status(401, "no key"));
    let mut bench = Bench::at(&server);
    bench.config.max_retries = 5;
    let outcome = bench.judge(&comparisons(1)).unwrap();
    assert_eq!(outcome.judged[0].ours_first, Verdict::Failed);
    assert_eq!((outcome.judged[0].score, server.asked().len()), (None, 2));
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let server = Server::start(|asked, number| match number {
        0 => (429, "{\"retry-after\": 1}".to_owned()),
        _ => (200, longer(asked)),
    });
    let mut bench = Bench::at(&server);
    bench.config.max_concurrency = 1;
    bench.config.max_retries = 1;
    let start = Instant::now();
    bench.judge(&comparisons(1)).unwrap();
    // It said a second; without that it would have been half of one.
    assert!(start.elapsed().as_secs_f64() >= 1.0);
}

#[test]
fn nonsense_and_refusals_are_counted_and_the_other_order_still_counts() {
    let server = Server::start(|asked, number| match number {
        0 => (200, completion("I like both")),
        1 => (200, longer(asked)),
        2 => {
            let refused = r#"{"choices": [{"message": {"content": null, "refusal": "no"}}]}"#;
            (200, refused.to_owned())
        }
        _ => {
            let cut = r#"{"choices": [{"message": {"content": "[[A]]"}, "finish_reason": "content_filter"}]}"#;
            (200, cut.to_owned())
        }
    });
    let mut bench = Bench::at(&server);
    bench.config.max_concurrency = 1;
    let outcome = bench.judge(&comparisons(2)).unwrap();
    let [first, second] = &outcome.judged[..] else {
        panic!("two comparisons");
    };
    assert_eq!(
        (first.ours_first, first.theirs_first),
        (Verdict::Unparsable, Verdict::Second)
    );
    assert_eq!(first.score, Some(1.0));
    assert_eq!(
        (second.ours_first, second.theirs_first),
        (Verdict::Refused, Verdict::Refused)
    );
    assert_eq!(second.score, None);
}

#[test]
fn no_more_is_spent_than_was_allowed() {
    let server = Server::start(|asked, _| (200, longer(asked)));
    let mut bench = Bench::at(&server);
    // 10 tokens read and 3 written a question, at 100 for a million: 0.0013 each; a question may cost up to
    // a token a byte, some 0.03.
    (bench.config.input_price, bench.config.output_price) = (100.0, 100.0);
    bench.config.max_cost = Some(0.05);
    let error = bench.judge(&comparisons(100)).unwrap_err();
    let Error::Cost {
        spent, limit, done, ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(spent <= limit && done > 0, "{spent} {done}");
    assert!(server.asked().len() < 200);
    // What other comparisons of the run cost counts too: nothing is left for these.
    let asked = server.asked().len();
    let other = Comparison {
        prompt: "something else".into(),
        ..comparisons(1).remove(0)
    };
    let error = bench.judge(&[other]).unwrap_err();
    assert!(matches!(error, Error::Cost { done: 0, .. }), "{error}");
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn the_key_is_read_from_the_environment_sent_and_written_nowhere() {
    let server = Server::start(|asked, _| (200, longer(asked)));
    let mut bench = Bench::at(&server);
    bench.config.api_key_env = Some("JUDGE_KEY".into());
    let error = bench.judge(&comparisons(1)).unwrap_err().to_string();
    assert!(error.contains("JUDGE_KEY is not set"), "{error}");
    let told = Mutex::new(String::new());
    let progress = |done, total, spent| {
        *told.lock().unwrap() += &format!("{done} {total} {spent}");
    };
    let key = |name: &str| (name == "JUDGE_KEY").then(|| " sk-secret\n".to_owned());
    judge(
        &bench.config,
        &comparisons(1),
        &bench.cache(),
        &key,
        &progress,
    )
    .unwrap();
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Bearer sk-secret")
    );
    let written = std::fs::read_to_string(bench.cache()).unwrap();
    assert!(!written.contains("secret") && !told.lock().unwrap().contains("secret"));
}

#[test]
fn requests_keep_to_the_rate() {
    let server = Server::start(|asked, _| (200, longer(asked)));
    let mut bench = Bench::at(&server);
    bench.config.requests_per_minute = Some(600);
    let start = Instant::now();
    bench.judge(&comparisons(3)).unwrap();
    // Six, a tenth of a second apart.
    assert!(start.elapsed().as_secs_f64() >= 0.5);
}

#[test]
fn a_template_without_its_places_and_a_server_that_is_not_there_are_named() {
    let server = Server::start(|asked, _| (200, longer(asked)));
    let mut bench = Bench::at(&server);
    std::fs::write(&bench.config.prompt, "Which is better, {a} or {b}?").unwrap();
    let error = bench.judge(&comparisons(1)).unwrap_err().to_string();
    assert!(error.contains("lacks {prompt}"), "{error}");
    std::fs::write(&bench.config.prompt, TEMPLATE).unwrap();
    assert!(matches!(bench.judge(&[]), Err(Error::Nothing)));
    bench.config.base_url = "http://127.0.0.1:9/v1".into();
    bench.config.on_failure = OnFailure::Stop;
    let error = bench.judge(&comparisons(1)).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9 does not judge"), "{error}");
}

#[test]
fn a_server_of_rewards_is_asked_in_batches_and_checked() {
    let rewards = |asked: &Asked, number: usize| {
        let answers = asked.body["completions"].as_array().unwrap().iter();
        let lengths: Vec<usize> = answers
            .map(|answer| answer.as_str().unwrap().len())
            .collect();
        match number {
            0 => status(502, "not yet"),
            4 => (
                200,
                serde_json::json!({ "rewards": [1.0, 2.0, 3.0] }).to_string(),
            ),
            _ => (200, serde_json::json!({ "scores": lengths }).to_string()),
        }
    };
    let server = Server::start(rewards);
    let config = RewardServerConfig {
        url: format!("{}/reward", server.address),
        api_key_env: Some("REWARD_KEY".into()),
        batch_size: 2,
        max_retries: 1,
        timeout: 5,
    };
    assert!(config.problems().is_empty());
    assert!(matches!(
        RewardServer::new(&config, &|_| None),
        Err(Error::Key { .. })
    ));
    let rewarder = RewardServer::new(&config, &|_| Some("k".into())).unwrap();
    let pairs = [
        ("p", "a"),
        ("p", "bb"),
        ("q", "ccc"),
        ("q", "dddd"),
        ("q", ""),
    ];
    assert_eq!(rewarder.score(&pairs).unwrap(), [1.0, 2.0, 3.0, 4.0, 0.0]);
    // Three batches, the first of them twice.
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[1].body["query"], serde_json::json!(["pa", "pbb"]));
    assert_eq!(asked[1].body["prompts"], serde_json::json!(["p", "p"]));
    assert_eq!(asked[1].header("authorization"), Some("Bearer k"));
    let error = rewarder.score(&pairs[..2]).unwrap_err().to_string();
    assert!(error.contains("3 rewards for 2 answers"), "{error}");
}
