//! Policies with answers of their own, on the same few prompts.

use super::*;
use crate::{PolicyRow, Summary, terminal_table};

/// The files with a policy that answers each prompt twice.
pub(super) fn with_policy() -> Files {
    let policy = Trained {
        name: "rloo",
        samples: samples(&[
            (A, 0, " 2", 1),
            (A, 1, " 4", 3),
            (B, 0, " 3", 2),
            (B, 1, " 5", 4),
        ]),
        log_probs: LogProbs::Own,
        log_ratio: Some(scores([1.0, 2.0], [0.5, -0.5])),
        proxy: Some(("init-sft", scores([4.0, 6.0], [1.0, 3.0]))),
    };
    Files {
        policies: vec![policy],
        ..files()
    }
}

fn summary_of(files: &Files) -> Summary {
    let dir = tempfile::tempdir().unwrap();
    let out = evaluate_in(dir.path(), &config(), files, &reader()).unwrap();
    load_summary(&out.join("summary.json")).unwrap()
}

fn rloo(summary: &Summary) -> PolicyRow {
    summary.trained().next().unwrap().clone()
}

#[test]
fn figures_of_a_policy_are_those_worked_out_on_paper() {
    let summary = summary_of(&with_policy());
    let row = rloo(&summary);
    assert_eq!((row.name.as_deref(), row.n), (Some("rloo"), 1));
    // Means A, B: 3, 4; those of SFT 1, 3.
    assert_eq!((row.golden_mean, row.golden_ci95), (3.5, [3.0, 4.0]));
    assert_eq!((row.delta_vs_sft, row.delta_vs_sft_ci95), (1.5, [1.0, 2.0]));
    // A: 2 beats two of three and ties, 4 beats all: 11/12. B: 3 beats one, 5 all: 2/3.
    assert_eq!(row.win_rate_vs_sft, Some(0.791667));
    // Log-ratios: 3/2 and 0, so a variance of 9/8, which over two prompts is a variance of 9/16.
    assert_eq!(
        (row.kl_nats, row.kl_kind),
        (Some(0.75), Some(KlKind::Estimate))
    );
    assert_eq!((row.kl_se, row.kl_ci95), (Some(0.75), Some([0.0, 1.5])));
    assert_eq!(
        (row.mean_length, row.cut_off, row.eos_rate),
        (2.5, 0.25, Some(0.75))
    );
    // The reward it was trained on gives 5 and 2, and to SFT's answers 2 and 5/3.
    assert_eq!(row.proxy.as_deref(), Some("init-sft"));
    assert_eq!(
        (row.proxy_mean, row.proxy_mean_sft),
        (Some(3.5), Some(1.83333))
    );
    assert_eq!(row.proxy_spearman_within_prompt_golden, Some(1.0));
    // Differences to SFT of 2 and 1: of four sign changes two go as far.
    let test = &summary.tests[0];
    assert_eq!(
        (test.policy.as_str(), test.versus.as_str()),
        ("rloo", "sft")
    );
    assert_eq!((test.delta, test.p, test.p_holm), (1.5, 0.5, 1.0));
    let strengths: Vec<(&str, f64)> = summary
        .strengths
        .iter()
        .map(|strength| (strength.policy.as_str(), strength.elo))
        .collect();
    assert_eq!(strengths[1], ("sft", 0.0));
    // Wins 11/12 and 2/3 of SFT, and more of the others.
    assert!(
        strengths[2].0 == "rloo" && strengths[2].1 > 0.0,
        "{strengths:?}"
    );
    assert!(
        strengths[0].0 == "init" && strengths[0].1 < 0.0,
        "{strengths:?}"
    );
    // Half a nat a token; no answer has two words.
    assert_eq!(row.entropy_nats, Some(1.25));
    assert_eq!((row.distinct_1, row.distinct_2), (Some(1.0), None));

    let (init, sft) = (summary.policy(Policy::Init), summary.policy(Policy::Sft));
    let (init, sft) = (init.unwrap(), sft.unwrap());
    assert_eq!(
        (init.entropy_nats, sft.entropy_nats),
        (Some(0.75), Some(1.0))
    );
    // Two answers to a prompt are looked at; those of SFT to B are the same.
    assert_eq!(summary.distinct_answers, Some(2));
    assert_eq!((init.distinct_1, sft.distinct_1), (Some(1.0), Some(0.75)));
    assert_eq!((sft.kl_se, sft.kl_ci95), (Some(1.0), Some([0.0, 2.0])));
}

#[test]
fn gains_are_told_at_the_length_of_sft_too() {
    let summary = summary_of(&with_policy());
    // SFT's answers to A gain 1 a token, those to B are all of one length.
    assert_eq!(summary.length_slope, Some(1.0));
    let controlled = |row: &PolicyRow| {
        (
            row.length_controlled_gain.unwrap(),
            row.length_controlled_gain_ci95.unwrap(),
        )
    };
    // Tokens more than SFT: 0, 1. So 2 − 0 and 1 − 1.
    assert_eq!(controlled(&rloo(&summary)), (1.0, [0.0, 2.0]));
    // −1, 0: −1 + 1 and −2.
    assert_eq!(
        controlled(summary.policy(Policy::Init).unwrap()),
        (-1.0, [-2.0, 0.0])
    );
    assert_eq!(
        controlled(summary.policy(Policy::Sft).unwrap()),
        (0.0, [0.0, 0.0])
    );
    // Best of 2 by init-sft: −1/3 with 1/3 of a token less, and −1.
    let best = summary.best_of_n("init-sft").nth(1).unwrap();
    assert_eq!(controlled(best).0, -0.5);
    for row in summary.best_of_n("random") {
        assert_eq!(controlled(row), (0.0, [0.0, 0.0]));
    }
}

#[test]
fn a_sampler_over_sft_has_its_entropy_by_the_log_ratio() {
    let mut files = with_policy();
    files.policies[0].log_probs = LogProbs::Sft;
    // Stored −1/2, −3/2 and −1, −2; with the log-ratios 1/2, 1/2 and −1/2, −5/2.
    assert_eq!(rloo(&summary_of(&files)).entropy_nats, Some(0.5));
    files.policies[0].log_ratio = None;
    let row = rloo(&summary_of(&files));
    assert_eq!(
        (row.entropy_nats, row.kl_nats, row.kl_se),
        (None, None, None)
    );
    files.policies[0].proxy = Some(("another", scores([4.0, 6.0], [1.0, 3.0])));
    let row = rloo(&summary_of(&files));
    assert_eq!((row.proxy_mean, row.proxy_mean_sft), (Some(3.5), None));
}

#[test]
fn the_order_of_prompts_changes_nothing() {
    let expected = summary_of(&with_policy());
    let mut files = with_policy();
    files.init.rotate_left(2);
    files.sft.rotate_left(3);
    files
        .rankers
        .iter_mut()
        .for_each(|(_, rows)| rows.reverse());
    let policy = &mut files.policies[0];
    policy.samples.rotate_left(2);
    policy.log_ratio.as_mut().unwrap().reverse();
    policy.proxy.as_mut().unwrap().1.reverse();
    // With two prompts an interval spans the two, whatever is drawn.
    assert_eq!(summary_of(&files), expected);
}

#[test]
fn other_rows_do_not_change_with_a_policy_there() {
    let (without, with) = (summary_of(&files()), summary_of(&with_policy()));
    assert_eq!(without.trained().count(), 0);
    let others = with.rows.iter().filter(|row| row.policy != Policy::Trained);
    let others: Vec<PolicyRow> = others.cloned().collect();
    assert_eq!(others, without.rows);
    assert_eq!(
        (with.rankers, with.comparisons),
        (without.rankers, without.comparisons)
    );
    assert_eq!(with.rows[2].policy, Policy::Trained);
}

#[test]
fn golden_rewards_of_all_answers_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = evaluate_in(dir.path(), &config(), &with_policy(), &reader()).unwrap();
    let golden = fs::read_to_string(out.join("golden.jsonl")).unwrap();
    let rows: Vec<&str> = golden.lines().collect();
    assert!(
        rows[0].ends_with(r#""demonstration":3.0,"policies":{"rloo":[2.0,4.0]}}"#),
        "{golden}"
    );
    assert!(
        rows[1].ends_with(r#""demonstration":5.0,"policies":{"rloo":[3.0,5.0]}}"#),
        "{golden}"
    );

    let dir = tempfile::tempdir().unwrap();
    let out = evaluate_in(dir.path(), &config(), &files(), &reader()).unwrap();
    let golden = fs::read_to_string(out.join("golden.jsonl")).unwrap();
    assert!(!golden.contains("policies"), "{golden}");
}

#[test]
fn the_report_shows_policies_where_there_are_some() {
    let told = |files: &Files| {
        let dir = tempfile::tempdir().unwrap();
        let out = evaluate_in(dir.path(), &config(), files, &reader()).unwrap();
        let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
        let summary = load_summary(&out.join("summary.json")).unwrap();
        (
            read("report.md"),
            read("report.html"),
            terminal_table(&summary),
        )
    };
    let (markdown, html, table) = told(&with_policy());
    let row = "| rloo | 3.50 ± 0.50 | **+1.50 [1.00, 2.00]** | +1.00 [0.00, 2.00] | 79.2 % | 0.75 ± \
               0.75 from sft | 2.5 | 25.0 % |";
    assert!(markdown.contains(row), "{markdown}");
    for row in [
        "| rloo | init-sft | 3.50 | 1.83 | 1.00 |",
        "| rloo | 75.0 % | 2.5 | 1.2 | 1.000 | – | 0.000 | – | 0.0 % | 0.0 % | – | – |",
    ] {
        assert!(markdown.contains(row), "{row}: {markdown}");
    }
    assert!(markdown.contains("\nrloo (golden 2.00)\n"), "{markdown}");
    assert_eq!(html.matches("<svg").count(), 6);
    assert!(!html.contains("NaN") && !markdown.contains("NaN"));
    assert!(table.contains("rloo          3.50 ± 0.50"), "{table}");

    // Without any there is nothing to be seen of them.
    let (markdown, html, table) = told(&files());
    assert_eq!(html.matches("<svg").count(), 5);
    for text in [markdown, html, table] {
        for new in [
            "rained polic",
            "at SFT's length",
            "At SFT's length",
            "KL from sft ",
        ] {
            assert!(!text.contains(new), "{new}: {text}");
        }
    }
}

/// The message of what goes wrong with a policy.
fn error(change: impl FnOnce(&mut Trained)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut files = with_policy();
    change(&mut files.policies[0]);
    evaluate_in(dir.path(), &config(), &files, &reader()).unwrap_err()
}

#[test]
fn policies_that_do_not_belong_here_are_named() {
    let message = error(|policy| policy.samples.rotate_left(2));
    assert!(
        message.contains("rloo-samples.jsonl") && message.contains("differ in prompt 1"),
        "{message}"
    );
    let message = error(|policy| policy.samples.truncate(2));
    assert!(
        message.contains("rloo-samples.jsonl has 1 prompts"),
        "{message}"
    );
    let message = error(|policy| policy.samples.truncate(3));
    assert!(
        message.contains("prompt 2 has 1 samples, prompt 1 has 2"),
        "{message}"
    );
    let message = error(|policy| policy.samples[0].logprobs.clear());
    assert!(
        message.contains("answer 0 to prompt 1 has 1 tokens and 0 log-prob"),
        "{message}"
    );

    let message = error(|policy| policy.log_ratio = Some(scores([1.0; 3], [1.0; 3])));
    assert!(
        message.contains("rloo-ratio.jsonl: prompt 1 has 3 scores for 2 samples"),
        "{message}"
    );
    let message = error(|policy| policy.log_ratio.as_mut().unwrap().reverse());
    assert!(
        message.contains("rloo-ratio.jsonl and")
            && message.contains("rloo-samples.jsonl differ in prompt 1"),
        "{message}"
    );
    let message = error(|policy| policy.proxy.as_mut().unwrap().1.truncate(1));
    assert!(
        message.contains("rloo-proxy.jsonl has 1 prompts"),
        "{message}"
    );
    let message = error(|policy| policy.samples[2].completion = " inf".to_owned());
    assert!(
        message.contains("gives inf to answer 0 of rloo of prompt 2"),
        "{message}"
    );
}

#[test]
fn nobody_is_asked_while_a_file_does_not_belong_here() {
    type Change<'a> = &'a dyn Fn(&mut Files);
    let other = |what: &str| samples(&[(A, 0, " 1", 1), (what, 0, " 1", 1)]);
    let changes: [(&str, Change<'_>); 7] = [
        ("differ in prompt 2", &|files| {
            files.policies[0].samples = other("c");
        }),
        ("rloo-samples.jsonl has 3 prompts", &|files| {
            files.policies[0].samples = [other(B), samples(&[("c", 0, " 1", 1)])].concat();
        }),
        ("row 5 has the sample index 7", &|files| {
            let last = samples(&[("c", 7, " 1", 1)]);
            files.policies[0].samples.extend(last);
        }),
        ("rloo-proxy.jsonl and", &|files| {
            let (_, rows) = files.policies[0].proxy.as_mut().unwrap();
            rows[1].prompt = "c".to_owned();
        }),
        ("rloo-ratio.jsonl:2:", &|files| {
            files.policies[0].log_ratio.as_mut().unwrap()[1].scores[1] = f32::NAN;
        }),
        ("init-sft.jsonl: prompt 2 has 2 scores", &|files| {
            files.rankers[0].1[1].scores.pop();
        }),
        ("other.jsonl has 0 prompts", &|files| {
            files.scorers = vec![("other", Vec::new())];
        }),
    ];
    for (expected, change) in changes {
        let (dir, golden) = (tempfile::tempdir().unwrap(), reader());
        let mut files = with_policy();
        change(&mut files);
        let message = evaluate_in(dir.path(), &config(), &files, &golden).unwrap_err();
        assert!(message.contains(expected), "{expected}: {message}");
        assert_eq!(golden.calls.get(), 0, "{expected}");
    }
}

#[test]
fn names_that_are_taken_are_refused() {
    for name in [
        "",
        "init",
        "sft",
        "demonstrator",
        "best-of-n",
        "init-sft",
        "golden",
    ] {
        let message = error(|policy| policy.name = name);
        assert!(
            message.contains(&format!("cannot be called {name:?}")),
            "{message}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = with_policy();
    files.policies.extend(with_policy().policies);
    let message = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap_err();
    assert!(message.contains("cannot be called \"rloo\""), "{message}");
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    // JSON has no NaN and no infinity: they are written as null, which is no score.
    let message = error(|policy| policy.log_ratio.as_mut().unwrap()[1].scores[0] = f32::NAN);
    assert!(
        message.contains("rloo-ratio.jsonl:2:") && message.contains("null"),
        "{message}"
    );
    let message = error(|policy| policy.proxy.as_mut().unwrap().1[0].scores[1] = f32::INFINITY);
    assert!(
        message.contains("rloo-proxy.jsonl:1:") && message.contains("null"),
        "{message}"
    );
}
