//! What the report says of the run, and the summary does not.

use std::fs;

use afd_stage::Cost;

use super::*;
use crate::PolicyCost;

#[test]
fn the_report_says_where_each_stage_was_computed_and_the_summary_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, gpu) = ("Laptop <b>|`x`", "Big & GPU; resumed on Laptop");
    let mut files = files();
    let stages = [
        ("data", Some(laptop)),
        ("sft", Some(gpu)),
        ("samples/init", None),
        ("samples/sft", Some(laptop)),
        ("eval", Some(laptop)),
    ];
    files.record = record(&stages);
    let out = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap();
    let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
    let (markdown, html) = (read("report.md"), read("report.html"));

    let rows = "\
| device, driver, precision | stages |
| :--- | :--- |
| Laptop \\<b>\\|\\`x\\` | data, samples/sft, eval |
| Big \\& GPU; resumed on Laptop | sft |
| not recorded | samples/init |
";
    assert!(markdown.contains(rows), "{markdown}");
    for row in [
        "<th scope=\"row\">Laptop &lt;b&gt;|`x`</th><td>data, samples/sft, eval</td>",
        "<th scope=\"row\">Big &amp; GPU; resumed on Laptop</th><td>sft</td>",
        "<th scope=\"row\">not recorded</th><td>samples/init</td>",
    ] {
        assert!(html.contains(row), "{html}");
    }

    files.record = record(&[("eval", None)]);
    let other = tempfile::tempdir().unwrap();
    let elsewhere = evaluate_in(other.path(), &config(), &files, &reader()).unwrap();
    for file in ["summary.json", "golden.jsonl"] {
        let bytes = |dir: &Path| fs::read(dir.join(file)).unwrap();
        assert!(bytes(&out) == bytes(&elsewhere), "{file}");
    }
}

#[test]
fn the_report_tells_what_it_took_how_it_learned_and_how_to_make_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = dir.path().join("metrics.jsonl");
    let line = |step: u32, loss: f64| format!("{{\"step\":{step},\"train/loss\":{loss}}}\n");
    let text = format!(
        "{}{}{{\"step\":2,\"eval/loss\":1}}\n",
        line(1, 3.0),
        line(2, 2.5)
    );
    fs::write(&metrics, text).unwrap();
    let mut files = policies::with_policy();
    let cost = |tokens, seconds, mebibytes: u64| {
        Some(Cost {
            tokens,
            seconds,
            peak_memory_bytes: Some(mebibytes << 20),
            ..Cost::default()
        })
    };
    let stage = |name: &str, cost, metrics: Option<&Path>| StageRecord {
        name: name.to_owned(),
        environment: None,
        cost,
        metrics: metrics.map(Path::to_owned),
    };
    files.record = RunRecord {
        stages: vec![
            stage("sft", cost(1_200_000, 61.5, 300), Some(&metrics)),
            stage("policy/p", cost(500_000, 20.0, 250), None),
            stage("eval", None, None),
        ],
        policies: vec![PolicyCost {
            policy: files.policies[0].name.to_owned(),
            tokens: 500_000,
            seconds: 20.0,
        }],
        command: "afd pipeline --config config.toml".to_owned(),
        config: "seed = 0\n# ``` </pre><script>\n".to_owned(),
        about: "{ \"afd\": \"0.1.0\" }".to_owned(),
    };
    let out = evaluate_in(dir.path(), &config(), &files, &reader()).unwrap();
    let summary = load_summary(&out.join("summary.json")).unwrap();
    let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
    let (markdown, html) = (read("report.md"), read("report.html"));
    for row in [
        "| sft | 1\u{202f}200\u{202f}000 | 61.5 | 300 |",
        "| all stages | 1\u{202f}700\u{202f}000 | 81.5 | 300 |",
        "````text\nseed = 0\n# ``` </pre><script>\n````",
        "run `afd pipeline --config config.toml`.",
    ] {
        assert!(markdown.contains(row), "{row}: {markdown}");
    }
    // Half a million tokens: by the million the gain is twice what it is.
    let gain = summary.trained().next().unwrap().delta_vs_sft;
    let numbers = crate::numbers::Numbers::of(&summary);
    let row = format!(
        "500\u{202f}000 | 20.0 | {} | {} |",
        numbers.signed(gain),
        numbers.signed(2.0 * gain)
    );
    assert!(markdown.contains(&row), "{row}: {markdown}");
    // One validation makes no line.
    assert!(markdown.contains("`sft`: `train/loss`."), "{markdown}");
    assert!(html.contains("What sft logged over its steps"));
    assert!(!html.contains("</pre><script>"));

    fs::write(&metrics, "{").unwrap();
    let again = tempfile::tempdir().unwrap();
    let error = evaluate_in(again.path(), &config(), &files, &reader()).unwrap_err();
    assert!(error.contains("metrics.jsonl"), "{error}");
}
