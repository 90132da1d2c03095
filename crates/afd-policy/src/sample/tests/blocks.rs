//! Answers that a reward chooses block by block.

use super::*;

/// Likes answers with many different letters.
struct Letters;

impl afd_model::Scorer for Letters {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        let letters = |text: &str| text.chars().collect::<BTreeSet<char>>().len() as f64;
        Ok(pairs.iter().map(|(_, answer)| letters(answer)).collect())
    }
}

/// All answers by blocks, on the tests' device.
fn whole(
    config: &SampleConfig,
    blocks: BlocksConfig,
    inputs: &SampleInputs<'_>,
    ctx: &StageContext,
) -> Result<(), Error> {
    let (part, placement) = (Part::Whole(&[]), test_device().into());
    run_by_blocks(config, blocks, inputs, &Letters, part, &placement, ctx)
}

#[test]
fn one_block_is_the_best_of_its_candidates_and_many_keep_the_policys_log_probs() {
    let fixture = Fixture::new();
    // One prompt: each length costs a driver without a GPU seconds.
    let (model, prompts) = (base(), fixture.prompts("one.jsonl", &["a"]));
    let (inputs, placement) = (inputs(&model, &prompts), Placement::from(test_device()));
    let drawn = |block_length| {
        let blocks = BlocksConfig {
            block_length,
            num_candidates: 3,
        };
        let body = |ctx: &StageContext| whole(&SHORT, blocks, &inputs, ctx);
        rows(&fixture.stage(body).unwrap())
    };
    let tokenizer = Tokenizer::open(&model, DialogueForm::Hh).unwrap();
    let policy = load(&model, &tokenizer, &placement).unwrap();
    let seed = RunDir::open(&fixture.path("run"), 3, Arc::new(Quiet))
        .unwrap()
        .stage_seed("samples");
    let texts = distinct_prompts(&prompts).unwrap();
    let whole = drawn(SHORT.max_completion_length);
    for request in requests(&tokenizer, &texts, 2, seed).unwrap().chunks(1) {
        let prompt = tokenizer.decode(&request[0].prompt_ids).unwrap();
        for (index, &seed) in request[0].seeds.iter().enumerate() {
            let candidates = GenerationRequest {
                prompt_ids: request[0].prompt_ids.clone(),
                seeds: (0..3)
                    .map(|k| afd_stage::seed::derive(seed, "block", k))
                    .collect(),
            };
            let drawn = answer_all(&policy, None, &tokenizer, &[&prompt], &[candidates], &SHORT);
            let drawn = drawn.unwrap();
            let scores: Vec<_> = drawn[0]
                .iter()
                .map(|row| (prompt.as_str(), row.completion.as_str()))
                .collect();
            let scores = afd_model::Scorer::score(&Letters, &scores).unwrap();
            let most = scores.iter().copied().fold(0.0, f64::max);
            let best = scores.iter().position(|score| *score == most).unwrap();
            let row = whole
                .iter()
                .find(|row| row.prompt == prompt && row.index == index as u32);
            let row = row.unwrap();
            assert_eq!(row.completion_ids, drawn[0][best].completion_ids);
            assert_eq!(row.finish_reason, drawn[0][best].finish_reason);
        }
    }
    let by_token = drawn(1);
    assert_ne!(by_token, whole);
    for row in by_token {
        let prompt = tokenizer.encode_prompt(&row.prompt).unwrap();
        let ids = [&prompt[..], &row.completion_ids].concat();
        let sequence = afd_model::Sequence {
            ids: &ids,
            prompt_len: prompt.len(),
        };
        let scored = policy.score_log_probs(&[sequence], 1).unwrap();
        for (found, expected) in row.logprobs.iter().zip(&scored[0]) {
            assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
        }
    }
}

#[test]
fn blocks_in_shards_are_the_whole() {
    let fixture = Fixture::new();
    let (model, prompts) = (base(), fixture.prompts("two.jsonl", &["a", "b longer"]));
    let (inputs, placement) = (inputs(&model, &prompts), Placement::from(test_device()));
    let config = SampleConfig {
        generation_batch_size: 2,
        max_completion_length: 4,
        ..SHORT
    };
    let blocks = BlocksConfig {
        block_length: 2,
        num_candidates: 2,
    };
    let draw = |part: Part<'_>, ctx: &StageContext| {
        run_by_blocks(&config, blocks, &inputs, &Letters, part, &placement, ctx)
    };
    let whole = fixture.stage(|ctx| draw(Part::Whole(&[]), ctx)).unwrap();
    let shards = ["1/2", "2/2"].map(|shard| fixture.shard_by(shard, draw));
    for shard in &shards {
        let batches = std::fs::read_to_string(shard).unwrap();
        assert_eq!(batches.lines().count(), 1, "a batch each");
    }
    // What is drawn again would be seen: nobody scores here.
    let refuses = |part: Part<'_>, ctx: &StageContext| {
        run_by_blocks(&config, blocks, &inputs, &Refuses, part, &placement, ctx)
    };
    let together = fixture
        .stage(|ctx| refuses(Part::Whole(&shards), ctx))
        .unwrap();
    assert_eq!(together, whole);
}

/// Scores nothing.
struct Refuses;

impl afd_model::Scorer for Refuses {
    fn score(
        &self,
        _: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        Err("asked again".into())
    }
}

#[test]
fn a_stop_string_within_a_block_ends_the_answer_as_it_would_without_blocks() {
    let fixture = Fixture::new();
    // One prompt: each length costs a driver without a GPU seconds.
    let (model, prompts) = (base(), fixture.prompts("one.jsonl", &["a"]));
    let inputs = inputs(&model, &prompts);
    let config = SampleConfig {
        stop_strings: vec!["e".to_owned()],
        max_completion_length: 8,
        ..SHORT
    };
    let blocks = BlocksConfig {
        block_length: 4,
        num_candidates: 2,
    };
    let body = |ctx: &StageContext| whole(&config, blocks, &inputs, ctx);
    let tokenizer = Tokenizer::open(&model, DialogueForm::Hh).unwrap();
    let mut stopped = 0;
    for row in rows(&fixture.stage(body).unwrap()) {
        assert!(!row.completion.contains('e'), "{row:?}");
        assert_eq!(row.logprobs.len(), row.completion_ids.len());
        // The stop string is in the last token, and nothing follows it.
        let before = &row.completion_ids[..row.completion_ids.len() - 1];
        let before = tokenizer.decode_completion(before).unwrap();
        assert!(!before.contains('e'), "{row:?}");
        stopped += usize::from(row.finish_reason == "stop");
    }
    assert!(stopped > 0, "no answer holds the letter");
}
