//! Further scorers, and what rewards buy by the distance from SFT.

use afd_stats::six_digits;

use super::*;
use crate::GoldenRow;

/// Rewards `factor` times the golden ones of [`files`].
fn scaled(factor: f64) -> Vec<GoldenRow> {
    let row = |prompt: &str, init: [f64; 2], sft: [f64; 3], demonstration: f64| GoldenRow {
        prompt: prompt.to_owned(),
        init: init.map(|reward| factor * reward).to_vec(),
        sft: sft.map(|reward| factor * reward).to_vec(),
        demonstration: factor * demonstration,
        policies: Default::default(),
    };
    vec![
        row(A, [-1.0, 1.0], [0.0, 1.0, 2.0], 3.0),
        row(B, [0.0, 2.0], [4.0, 4.0, 1.0], 5.0),
    ]
}

#[test]
fn scorers_that_agree_and_one_that_says_the_opposite() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files {
        scorers: vec![("double", scaled(2.0)), ("contrary", scaled(-1.0))],
        ..files()
    };
    let out = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    let agreement: Vec<(&str, &str, Option<f64>)> = summary
        .agreement
        .iter()
        .map(|pair| {
            (
                pair.scorer.as_str(),
                pair.versus.as_str(),
                pair.spearman_within_prompt,
            )
        })
        .collect();
    assert_eq!(
        agreement,
        [
            ("reader", "double", Some(1.0)),
            ("reader", "contrary", Some(-1.0)),
            ("double", "contrary", Some(-1.0))
        ]
    );
    let figures = |scorer: usize| -> Vec<(&str, f64, f64)> {
        let policies = summary.scorers[scorer].policies.iter();
        policies
            .map(|one| (one.policy.as_str(), one.mean, one.delta_vs_sft))
            .collect()
    };
    // Golden means: init 0.5, SFT 2, the best of three by init-sft 0.5, by the closed form 3, demonstrations 4.
    assert_eq!(
        figures(0),
        [
            ("init", 1.0, -3.0),
            ("sft", 4.0, 0.0),
            ("best of 3 by init-sft", 1.0, -3.0),
            ("best of 3 by closed-form", 6.0, 2.0),
            ("demonstrator", 8.0, 4.0),
        ]
    );
    assert_eq!(figures(1)[0], ("init", -0.5, 1.5));
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(report.contains("## What other scorers say"), "{report}");
    assert!(
        report.contains("| double | contrary | −1.00 | −1.00 |"),
        "{report}"
    );
}

#[test]
fn a_further_scorer_leaves_what_the_evaluation_would() {
    let (whole, further) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = policies::with_policy();
    let whole = evaluate_in(whole.path(), &config(), &files, &reader()).unwrap();
    let score = |dir: &Path, files: &Files, scorer: &Reader| {
        stage_in(dir, &config(), files, |inputs, ctx| {
            score_golden(inputs, scorer, ctx)
        })
    };
    let further = score(further.path(), &files, &reader()).unwrap();
    let golden = |dir: &Path| fs::read_to_string(dir.join("golden.jsonl")).unwrap();
    assert_eq!(golden(&further), golden(&whole));
    assert!(!further.join("report.md").exists());

    // It is not asked about answers that do not belong together either.
    let (dir, scorer) = (tempfile::tempdir().unwrap(), reader());
    let mut files = files;
    files.policies[0].samples.truncate(2);
    let message = score(dir.path(), &files, &scorer).unwrap_err();
    assert!(
        message.contains("rloo-samples.jsonl has 1 prompts"),
        "{message}"
    );
    assert_eq!(scorer.calls.get(), 0);
}

#[test]
fn how_far_answers_lie_apart_is_told_of_each_policy() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files {
        spread: Some(r#"{"answers": 4, "spread": {"init": 0.75, "sft": null}}"#),
        ..files()
    };
    let out = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    let of = |policy| summary.policy(policy).unwrap().embedding_spread;
    assert_eq!((of(Policy::Init), of(Policy::Sft)), (Some(0.75), None));
}

#[test]
fn rewards_of_other_answers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = scaled(1.0);
    rows[1].sft.pop();
    let files = Files {
        scorers: vec![("short", rows)],
        ..files()
    };
    let message = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap_err();
    assert!(
        message.contains("short.jsonl: prompt 2 has 2 scores for 3 samples"),
        "{message}"
    );
}

#[test]
fn a_reward_buys_what_the_tilt_towards_it_brings() {
    let dir = tempfile::tempdir().unwrap();
    let config = EvalConfig {
        // The best of each prompt is (ln 3 + ln 3)/2 away by init-sft, and nothing is farther.
        kl: vec![0.1, 0.5, 1.0, 1.2],
        ..config()
    };
    let out = evaluate_in(dir.path(), &config, &files(), &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    let of = |ranker: &str| -> Vec<(f64, f64)> {
        let rows = summary.kl_sweep.iter().filter(|row| row.ranker == ranker);
        rows.map(|row| (row.kl_nats, row.golden_mean)).collect()
    };
    let (misled, ceiling) = (of("init-sft"), of("golden"));
    let nats: Vec<f64> = misled.iter().map(|row| row.0).collect();
    assert_eq!(nats, [0.1, 0.5, 1.0]);
    // It likes the worst answers best: from SFT's 2.0 down towards 0.5.
    let means: Vec<f64> = misled.iter().map(|row| row.1).collect();
    assert!(
        means.is_sorted_by(|a, b| a > b) && means[0] < 2.0 && means[2] > 0.5,
        "{means:?}"
    );
    // Two of B's answers are level at the top, so the ceiling is (ln 3 + ln 1.5)/2 = 0.752 away.
    assert_eq!(ceiling.len(), 2);
    assert!(
        ceiling[0].1 > 2.0 && ceiling[1].1 > ceiling[0].1 && ceiling[1].1 < 3.0,
        "{ceiling:?}"
    );
    assert!(of("longest").is_empty());
    let gain = summary.kl_sweep.iter().find(|row| row.ranker == "golden");
    assert_eq!(gain.unwrap().delta_vs_sft, six_digits(ceiling[0].1 - 2.0));
}
