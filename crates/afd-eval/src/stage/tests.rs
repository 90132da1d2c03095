//! The stage as a whole, on files small enough for pencil and paper.

mod policies;
mod record;
mod refusals;
mod scorers;

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use afd_data::records::{Example, JsonlWriter, Sample, Scores};
use afd_model::Scorer;
use afd_stage::{Quiet, RunDir, StageError};
use serde::Serialize;

use super::*;
use crate::{
    GoldenRow, KlKind, LogProbs, Policy, PolicyInput, RunRecord, StageRecord, load_summary,
};

/// Reads an answer's reward off its text; fails from a call on.
struct Reader {
    calls: Cell<usize>,
    fails_at: usize,
}

impl Scorer for Reader {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.fails_at {
            return Err("the judge is out".into());
        }
        pairs
            .iter()
            .map(|(_, answer)| Ok(answer.trim().parse::<f64>()?))
            .collect()
    }
}

fn reader() -> Reader {
    Reader {
        calls: Cell::new(0),
        fails_at: usize::MAX,
    }
}

/// The inputs, as their rows.
struct Files {
    test: Vec<Example>,
    init: Vec<Sample>,
    sft: Vec<Sample>,
    rankers: Vec<(&'static str, Vec<Scores>)>,
    policies: Vec<Trained>,
    scorers: Vec<(&'static str, Vec<GoldenRow>)>,
    spread: Option<&'static str>,
    summary: &'static str,
    record: RunRecord,
}

/// A policy with answers of its own, as its rows.
struct Trained {
    name: &'static str,
    samples: Vec<Sample>,
    log_probs: LogProbs,
    log_ratio: Option<Vec<Scores>>,
    proxy: Option<(&'static str, Vec<Scores>)>,
}

/// Stages, and where they were computed.
fn record(stages: &[(&str, Option<&str>)]) -> RunRecord {
    let stage = |(name, environment): &(&str, Option<&str>)| StageRecord {
        name: (*name).to_owned(),
        environment: environment.map(str::to_owned),
        ..StageRecord::default()
    };
    RunRecord {
        stages: stages.iter().map(stage).collect(),
        ..RunRecord::default()
    }
}

const A: &str = "\n\nHuman: a\n\nAssistant:";
const B: &str = "\n\nHuman: b\n\nAssistant:";

/// Two prompts, two answers each by `init` and three by `sft`, all texts being golden rewards.
fn files() -> Files {
    let example = |prompt: &str, completion: &str| Example {
        prompt: prompt.to_owned(),
        completion: Some(completion.to_owned()),
        chosen: None,
        rejected: None,
        messages: Vec::new(),
        source: "world:1".to_owned(),
    };
    Files {
        // The test split may have more prompts than were sampled for, and another order.
        test: vec![example("other", " 9"), example(B, " 5"), example(A, " 3")],
        init: samples(&[
            (A, 0, " -1", 1),
            (A, 1, " 1", 1),
            (B, 0, " 0", 1),
            (B, 1, " 2", 3),
        ]),
        sft: samples(&[
            (A, 0, " 0", 1),
            (A, 1, " 1", 2),
            (A, 2, " 2", 3),
            (B, 0, " 4", 2),
            (B, 1, " 4", 2),
            (B, 2, " 1", 2),
        ]),
        rankers: vec![
            ("init-sft", scores([3.0, 1.0, 2.0], [0.0, 0.0, 5.0])),
            ("closed-form", scores([1.0, 2.0, 3.0], [0.0, 1.0, -1.0])),
        ],
        policies: Vec::new(),
        scorers: Vec::new(),
        spread: None,
        summary: r#"{"eval_accuracy": 0.9, "eval_auc": 0.97, "eval_loss": 0.2, "pairs": 8, "x": 0}"#,
        record: record(&[("eval", None)]),
    }
}

/// Rows of prompt, index, text and number of tokens; three tokens are the limit.
fn samples(rows: &[(&str, u32, &str, usize)]) -> Vec<Sample> {
    let row = |&(prompt, index, text, tokens): &(&str, u32, &str, usize)| Sample {
        prompt: prompt.to_owned(),
        index,
        completion: text.to_owned(),
        completion_ids: vec![7; tokens],
        logprobs: vec![-0.5; tokens],
        sampler_logprobs: None,
        finish_reason: if tokens == 3 { "length" } else { "stop" }.to_owned(),
    };
    rows.iter().map(row).collect()
}

fn scores<const N: usize>(a: [f32; N], b: [f32; N]) -> Vec<Scores> {
    let row = |prompt: &str, scores: [f32; N]| Scores {
        prompt: prompt.to_owned(),
        scores: scores.to_vec(),
        spread: Vec::new(),
        tokens: Vec::new(),
    };
    vec![row(A, a), row(B, b)]
}

fn config() -> EvalConfig {
    EvalConfig {
        n: vec![1, 2, 3, 4],
        bootstrap_resamples: 400,
        kl: vec![0.1, 0.5],
        bradley_terry_prior: 1.0,
        spread_answers: 2,
        examples: 2,
        browser_prompts: 2,
        blur_answers: false,
    }
}

fn write<T: Serialize>(dir: &Path, name: &str, rows: &[T]) -> PathBuf {
    let path = dir.join(name);
    let mut writer = JsonlWriter::create(&path).unwrap();
    for row in rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// Runs the stage in `dir` and returns its directory, or the message of what went wrong.
fn evaluate_in(
    dir: &Path,
    config: &EvalConfig,
    files: &Files,
    golden: &dyn Scorer,
) -> Result<PathBuf, String> {
    stage_in(dir, config, files, |inputs, ctx| {
        run(config, inputs, golden, ctx)
    })
}

/// The same of any stage.
fn stage_in(
    dir: &Path,
    config: &EvalConfig,
    files: &Files,
    stage: impl FnOnce(&EvalInputs<'_>, &StageContext) -> Result<(), Error>,
) -> Result<PathBuf, String> {
    let summary = dir.join("reward.json");
    fs::write(&summary, files.summary).unwrap();
    let rankers: Vec<(String, PathBuf)> = files
        .rankers
        .iter()
        .map(|(name, rows)| {
            (
                (*name).to_owned(),
                write(dir, &format!("{name}.jsonl"), rows),
            )
        })
        .collect();
    let (test, init) = (
        write(dir, "test.jsonl", &files.test),
        write(dir, "init.jsonl", &files.init),
    );
    let sft = write(dir, "sft.jsonl", &files.sft);
    let policies: Vec<PolicyInput> = files
        .policies
        .iter()
        .map(|policy| {
            let file = |what: &str| format!("{}-{what}.jsonl", policy.name);
            let scores = |what: &str, rows: &Vec<Scores>| write(dir, &file(what), rows);
            PolicyInput {
                name: policy.name.to_owned(),
                samples: write(dir, &file("samples"), &policy.samples),
                log_probs: policy.log_probs,
                log_ratio: policy.log_ratio.as_ref().map(|rows| scores("ratio", rows)),
                proxy: policy
                    .proxy
                    .as_ref()
                    .map(|(name, rows)| ((*name).to_owned(), scores("proxy", rows))),
            }
        })
        .collect();
    let scorers: Vec<(String, PathBuf)> = files
        .scorers
        .iter()
        .map(|(name, rows)| {
            (
                (*name).to_owned(),
                write(dir, &format!("{name}.jsonl"), rows),
            )
        })
        .collect();
    let spread = files.spread.map(|text| {
        let path = dir.join("spread.json");
        fs::write(&path, text).unwrap();
        path
    });
    let inputs = EvalInputs {
        test: &test,
        init_samples: &init,
        sft_samples: &sft,
        rankers: &rankers,
        policies: &policies,
        reward_summaries: &[("init-sft".to_owned(), summary)],
        judged: &[],
        scorers: &scorers,
        spread: spread.as_deref(),
        golden_name: "reader",
        record: &files.record,
    };
    let run_dir = RunDir::open(&dir.join("run"), 42, Arc::new(Quiet)).unwrap();
    match run_dir.stage("eval", 1, config, &[], |ctx| stage(&inputs, ctx)) {
        Ok(artifact) => Ok(artifact.path().to_owned()),
        Err(StageError::Body { source, .. }) => Err(source.to_string()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn figures_are_those_worked_out_on_paper() {
    let dir = tempfile::tempdir().unwrap();
    let out = evaluate_in(dir.path(), &config(), &files(), &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    assert_eq!((summary.prompts, summary.samples_per_prompt), (2, 3));
    assert_eq!(
        (summary.all_n(), summary.n_left_out.clone()),
        (vec![1, 2, 3], vec![4])
    );
    assert_eq!(summary.headline_n, 3);

    // Means A, B: init 0, 1; SFT 1, 3; demonstrations 3, 5, each above all of SFT.
    let init = summary.policy(Policy::Init).unwrap();
    let sft = summary.policy(Policy::Sft).unwrap();
    assert_eq!((init.golden_mean, sft.golden_mean), (0.5, 2.0));
    // One in four resamples is A twice, one B twice: the interval spans the two.
    assert_eq!(
        (init.golden_ci95, sft.golden_ci95),
        ([0.0, 1.0], [1.0, 3.0])
    );
    assert_eq!(
        (init.delta_vs_sft, init.delta_vs_sft_ci95),
        (-1.5, [-2.0, -1.0])
    );
    // A: -1 never, 1 beats one and ties with one of three. B: 0 never, 2 beats one of three.
    assert_eq!(init.win_rate_vs_sft, Some(0.208333));
    assert_eq!((init.mean_length, init.cut_off), (1.5, 0.25));
    assert_eq!(summary.reference.demonstrator.golden_mean, 4.0);
    assert_eq!(summary.reference.demonstrator.win_rate_vs_sft, 1.0);
    // Mean log-ratio of A is 2, of B 0.
    assert_eq!(
        (sft.kl_nats, sft.kl_kind),
        (Some(1.0), Some(KlKind::Estimate))
    );
    assert_eq!((sft.win_rate_vs_sft, sft.delta_vs_sft), (Some(0.5), 0.0));

    // Best of 2 by init-sft. A: the highest score (golden 0) wins 2 of 3 pairs, the next (golden
    // 2) one: 2/3. B: the highest (golden 1) wins 2 of 3, the two equal ones (golden 4) share
    // one: 2.
    let row = summary.best_of_n("init-sft").nth(1).unwrap();
    assert_eq!(
        (row.n, row.golden_mean, row.golden_ci95),
        (2, 1.33333, [0.666667, 2.0])
    );
    assert_eq!(
        (row.delta_vs_sft, row.delta_vs_sft_ci95),
        (-0.666667, [-1.0, -0.333333])
    );
    // A: against golden 0 the better score of the others wins (golden 2), against 1 and 2 golden 0 is chosen and
    // loses. B: against each 4 golden 1 is chosen, against 1 one of the 4s. A third of three opponents each.
    assert_eq!(row.win_rate_vs_sft, Some(0.333333));
    // Own scores: 8/3 and 10/3; tokens: 5/3 and 2; cut off: 1/3 and 0.
    assert_eq!(row.proxy_mean, Some(3.0));
    assert_eq!((row.mean_length, row.cut_off), (1.83333, 0.166667));
    assert_eq!(
        (row.kl_nats, row.kl_kind),
        (Some(0.193147), Some(KlKind::UpperBound))
    );

    // All three: A gets golden 0, B gets 1. From N = 1 (2.0) it only falls.
    let ranker = &summary.rankers[0];
    assert_eq!(
        (ranker.ranker.as_str(), ranker.eval_auc),
        ("init-sft", Some(0.97))
    );
    assert_eq!((ranker.peak_n, ranker.fall_from_peak), (1, -1.5));
    assert_eq!(ranker.fall_from_peak_ci95, [-2.0, -1.0]);
    // A: scores and golden (3, 1, 2), (0, 1, 2): -1/2. B: both have two values: -1.
    assert_eq!(ranker.pearson_within_prompt_golden, Some(-0.75));
    // Best of all: init-sft 0.5, closed-form (2 + 4) / 2.
    assert_eq!(summary.comparisons.len(), 1);
    assert_eq!(summary.comparisons[0].delta, -2.5);

    // Chance is SFT for every N; the ceiling takes the best of each prompt.
    for row in summary.best_of_n("random") {
        assert_eq!(
            (row.golden_mean, row.delta_vs_sft, row.proxy_mean),
            (2.0, 0.0, None)
        );
        let wins = (row.n < 3).then_some(0.5);
        assert_eq!((row.win_rate_vs_sft, row.kl_nats), (wins, Some(0.0)));
    }
    assert_eq!(summary.headline("golden").unwrap().golden_mean, 3.0);
    assert_eq!(summary.headline("longest").unwrap().mean_length, 2.5);
    assert_eq!(summary.headline("shortest").unwrap().mean_length, 1.5);
}

#[test]
fn rows_stand_in_their_fixed_order() {
    let dir = tempfile::tempdir().unwrap();
    let out = evaluate_in(dir.path(), &config(), &files(), &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    let rankers: Vec<&str> = summary
        .rankers
        .iter()
        .map(|ranker| ranker.ranker.as_str())
        .collect();
    let expected = [
        "init-sft",
        "closed-form",
        "mean-logprob",
        "longest",
        "shortest",
        "random",
        "golden",
    ];
    assert_eq!(rankers, expected);
    let rows: Vec<_> = summary
        .rows
        .iter()
        .map(|row| (row.ranker.as_deref(), row.n))
        .collect();
    assert_eq!(rows[..2], [(None, 1), (None, 1)]);
    let mut best_of_n = rows[2..].iter();
    for ranker in expected {
        for n in [1, 2, 3] {
            assert_eq!(best_of_n.next(), Some(&(Some(ranker), n)));
        }
    }
    assert_eq!(best_of_n.next(), None);
}

#[test]
fn an_interrupted_run_writes_the_same_bytes_and_asks_only_for_what_is_missing() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = evaluate_in(whole.path(), &config(), &files(), &reader()).unwrap();

    let fails = Reader {
        fails_at: 2,
        ..reader()
    };
    let message = evaluate_in(broken.path(), &config(), &files(), &fails).unwrap_err();
    assert!(message.contains("reader failed at prompt 2"), "{message}");
    // A kill may also have torn the last line.
    let golden = broken.path().join("run/.scratch/eval/golden.jsonl");
    let mut text = fs::read_to_string(&golden).unwrap();
    assert_eq!(text.lines().count(), 1);
    text.push_str("{\"prompt\":\"\\n\\nHum");
    fs::write(&golden, text).unwrap();

    let second = reader();
    let resumed = evaluate_in(broken.path(), &config(), &files(), &second).unwrap();
    assert_eq!(second.calls.get(), 1);
    same_files(&whole, &resumed);
}

fn same_files(one: &Path, other: &Path) {
    for file in ["golden.jsonl", "summary.json", "report.md", "report.html"] {
        let bytes = |dir: &Path| fs::read(dir.join(file)).unwrap();
        assert!(bytes(one) == bytes(other), "{file}");
    }
}

#[test]
fn who_has_said_all_is_not_asked_again() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = evaluate_in(whole.path(), &config(), &files(), &reader()).unwrap();
    let fails = Reader {
        fails_at: 1,
        ..reader()
    };
    evaluate_in(broken.path(), &config(), &files(), &fails).unwrap_err();
    let golden = broken.path().join("run/.scratch/eval/golden.jsonl");
    fs::copy(whole.join("golden.jsonl"), golden).unwrap();
    let second = reader();
    let resumed = evaluate_in(broken.path(), &config(), &files(), &second).unwrap();
    assert_eq!(second.calls.get(), 0);
    same_files(&whole, &resumed);
}

#[test]
fn texts_are_those_of_the_prompts_that_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let config = EvalConfig {
        examples: 1,
        browser_prompts: 1,
        ..config()
    };
    let out = evaluate_in(dir.path(), &config, &files(), &reader()).unwrap();
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("Prompt 1 of 2"), "{markdown}");
    assert!(!markdown.contains("Prompt 2 of 2"), "{markdown}");
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("The answers to 1 of 2 prompts"), "{html}");
    // SFT's three answers to the first prompt, by their golden rewards.
    for (number, text) in [(1, "0"), (2, "1"), (3, "2")] {
        let answer = format!("\"who\":\"sft {number}\",\"text\":\"{text}\"");
        assert!(html.contains(&answer), "{html}");
    }
    assert_eq!(html.matches("\"who\":\"init\"").count(), 1);
}

#[test]
fn the_report_shows_figures_flags_and_dialogues() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = files();
    files.test[1].prompt = "\n\nHuman: <b>`b`</b>\n\nAssistant:".to_owned();
    for sample in files
        .init
        .iter_mut()
        .chain(&mut files.sft)
        .filter(|s| s.prompt == B)
    {
        sample.prompt = files.test[1].prompt.clone();
    }
    for (_, rows) in &mut files.rankers {
        rows[1].prompt = files.test[1].prompt.clone();
    }
    let out = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap();
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        markdown.contains("from 0.50 ± 0.50 to 2.00 ± 1.00"),
        "{markdown}"
    );
    for text in [&markdown, &html] {
        assert!(
            text.contains("AUC 0.970") && text.contains("0.970 red flag"),
            "{text}"
        );
        assert!(text.contains("best of 3 by init-sft"));
    }
    assert!(markdown.contains("Human: <b>`b`</b>"));
    assert!(html.contains("Human: &lt;b&gt;`b`&lt;/b&gt;") && !html.contains("<b>`"));
    assert_eq!(html.matches("<svg").count(), 5);
    assert!(!html.contains("NaN") && !markdown.contains("NaN"));
    assert!(!html.contains(dir.path().to_str().unwrap()));
}
