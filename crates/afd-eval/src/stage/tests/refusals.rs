//! What the stage does not accept, and how it says so.

use super::*;

/// The message of what goes wrong with `files`.
fn error(change: impl FnOnce(&mut Files)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut files = files();
    change(&mut files);
    evaluate_in(dir.path(), &config(), &files, &reader()).unwrap_err()
}

#[test]
fn samples_that_do_not_belong_together_are_named() {
    let message = error(|files| files.sft[4].index = 2);
    assert!(
        message.contains("sft.jsonl: row 5 has the sample index 2, expected 1"),
        "{message}"
    );
    let message = error(|files| files.sft.truncate(5));
    assert!(
        message.contains("prompt 2 has 2 samples, prompt 1 has 3"),
        "{message}"
    );
    let message = error(|files| files.init.truncate(2));
    assert!(
        message.contains("init.jsonl has 1 prompts") && message.contains("has 2;"),
        "{message}"
    );
    let message = error(|files| {
        files
            .init
            .extend(samples(&[("c", 0, " 1", 1), ("c", 1, " 1", 1)]))
    });
    assert!(
        message.contains("init.jsonl has 3 prompts") && message.contains("has 2;"),
        "{message}"
    );
    let message = error(|files| {
        files.init.rotate_left(2);
    });
    assert!(message.contains("differ in prompt 1"), "{message}");
    let message = error(|files| files.sft.truncate(3));
    assert!(message.contains("needs at least 2"), "{message}");
    let message = error(|files| files.sft[1].logprobs.clear());
    assert!(
        message.contains("answer 1 to prompt 1 has 2 tokens and 0 log-prob"),
        "{message}"
    );
    let message = error(|files| files.test[1].completion = None);
    assert!(
        message.contains("test.jsonl has no demonstration for prompt 2"),
        "{message}"
    );
}

#[test]
fn scores_that_rank_nothing_are_refused() {
    let message = error(|files| files.rankers[0].1[1].scores.truncate(2));
    assert!(
        message.contains("init-sft.jsonl: prompt 2 has 2 scores for 3 samples"),
        "{message}"
    );
    let message = error(|files| files.rankers[1].1.truncate(1));
    assert!(
        message.contains("closed-form.jsonl has 1 prompts"),
        "{message}"
    );
    let message = error(|files| {
        files.rankers[0].1[0].scores = vec![1.0; 3];
        files.rankers[0].1[1].scores = vec![2.0; 3];
    });
    assert!(message.contains("the reward model init-sft gives every answer the same score"));
    assert!(
        message.contains("init-sft.jsonl") && message.contains("train it again"),
        "{message}"
    );
    for name in ["init-sft", "golden"] {
        let message = error(|files| files.rankers[1].0 = name);
        assert!(
            message.contains(&format!("two rankers are called {name}")),
            "{message}"
        );
    }
    let message = error(|files| files.rankers[0].0 = "init-demo");
    assert!(
        message.contains("reward summary of init-sft, but no ranker"),
        "{message}"
    );
    let message = error(|files| files.summary = "{\"eval_auc\": 0.5}");
    assert!(message.contains("reward.json: missing field"), "{message}");
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    // JSON has no NaN: it is written as null, which is no score.
    let message = error(|files| files.rankers[0].1[1].scores[2] = f32::NAN);
    assert!(
        message.contains("init-sft.jsonl:2:") && message.contains("null"),
        "{message}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.jsonl");
    fs::write(&path, "{\"prompt\":\"p\",\"scores\":[1e39]}").unwrap();
    let rows = afd_data::records::read_jsonl::<Scores>(&path);
    assert!(rows.is_err() || !rows.unwrap()[0].scores[0].is_finite());
}

#[test]
fn a_golden_reward_that_judges_nothing_is_refused() {
    let message = error(|files| files.sft[3].completion = " NaN".to_owned());
    assert!(
        message.contains("gives NaN to answer 0 of the SFT policy of prompt 2"),
        "{message}"
    );
    let message = error(|files| files.test[2].completion = Some(" inf".to_owned()));
    assert!(
        message.contains("gives inf to the demonstration of prompt 1"),
        "{message}"
    );
    let message = error(|files| {
        for sample in files.init.iter_mut().chain(&mut files.sft) {
            sample.completion = " 1".to_owned();
        }
        for example in &mut files.test {
            example.completion = Some(" 1".to_owned());
        }
    });
    assert!(
        message.contains("reader gives every answer the same reward"),
        "{message}"
    );

    struct Short;
    impl Scorer for Short {
        fn score(
            &self,
            _: &[(&str, &str)],
        ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(vec![1.0])
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let message = evaluate_in(dir.path(), &config(), &files(), &Short).unwrap_err();
    assert!(
        message.contains("1 rewards for the 6 answers to prompt 1"),
        "{message}"
    );
}

#[test]
fn n_beyond_the_samples_is_an_error_only_if_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let config = EvalConfig {
        n: vec![4, 8],
        ..config()
    };
    let message = evaluate_in(dir.path(), &config, &files(), &reader()).unwrap_err();
    assert!(
        message.contains("the smallest N is 4") && message.contains("only 3"),
        "{message}"
    );
}

#[test]
fn a_summary_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("summary.json");
    fs::write(&path, "{\"format\": 2, \"news\": []}").unwrap();
    let message = load_summary(&path).unwrap_err().to_string();
    assert!(
        message.contains("summary.json has the format 2, this program reads 1"),
        "{message}"
    );
}
