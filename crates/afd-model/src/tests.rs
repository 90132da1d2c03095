//! Properties of whole models: padding, batching, caching, gradients, files.

use afd_backend::device::test_device;
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Gradients,
};

use crate::{
    CausalLm, DecoderConfig, Error, Family, FinishReason, GenerationRequest, SamplingParams,
    Sequence, SequenceClassifier, Side, Stop, generate, never, parameter_names, plan_batches,
};

fn config(tied: bool) -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: 24,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        max_position_embeddings: 32,
        tie_word_embeddings: tied,
        // Large enough that attention is far from uniform.
        initializer_range: 0.4,
        pad_token_id: Some(1),
        bos_token_id: None,
        eos_token_ids: vec![0],
    }
}

fn model() -> CausalLm {
    CausalLm::init(config(true), 11, &test_device()).unwrap()
}

const ROWS: [(&[u32], usize); 3] = [
    (&[3, 9, 4, 17, 5, 0], 3),
    (&[8, 2, 20, 6, 6, 11, 19, 23, 0], 4),
    (&[7, 12, 0], 2),
];

fn sequences() -> Vec<Sequence<'static>> {
    ROWS.iter()
        .map(|&(ids, prompt_len)| Sequence { ids, prompt_len })
        .collect()
}

fn host(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance, "{a} against {b}");
    }
}

#[test]
fn left_and_right_padding_agree_with_no_padding() {
    let model = model();
    let right = host(model.log_probs(&sequences(), Side::Right));
    let left = host(model.log_probs(&sequences(), Side::Left));
    let alone: Vec<f32> = sequences()
        .iter()
        .flat_map(|s| host(model.log_probs(&[*s], Side::Right)))
        .collect();
    assert_eq!(right.len(), 3 + 5 + 1);
    assert_close(&right, &alone, 1e-5);
    assert_close(&left, &alone, 1e-5);
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device()).unwrap();
    let together = host(model.scores(&sequences()));
    for (score, sequence) in together.iter().zip(sequences()) {
        assert_close(&[*score], &host(model.scores(&[sequence])), 1e-5);
    }
    assert!(together[0] != together[1]);
}

fn request(prompt: &[u32], seeds: &[u64]) -> GenerationRequest {
    GenerationRequest {
        prompt_ids: prompt.to_vec(),
        seeds: seeds.to_vec(),
    }
}

/// Several end tokens, so that some answers end early and some do not.
const STOP: Stop<'static> = Stop {
    ids: &[0, 5, 11],
    text: &never,
};

#[test]
fn cached_decoding_is_the_full_forward_pass() {
    let model = model();
    let request = request(&[3, 9, 4], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let params = SamplingParams::unmodified(20);
    let answers = generate(&model, &[&request], &params, &STOP).unwrap();
    let mut ended = 0;
    for answer in &answers[0] {
        let ids = [request.prompt_ids.as_slice(), &answer.ids].concat();
        let sequence = Sequence {
            ids: &ids,
            prompt_len: 3,
        };
        let full = host(model.log_probs(&[sequence], Side::Right));
        assert_close(&answer.log_probs, &full, 1e-4);
        match answer.finish {
            FinishReason::Stop => {
                ended += usize::from(answer.ids.last().is_some_and(|id| STOP.ids.contains(id)))
            }
            FinishReason::Length => assert_eq!(answer.ids.len(), 20),
        }
    }
    // Otherwise rows leaving the batch would not have been tried.
    assert!((1..8).contains(&ended), "{ended} of 8 ended");
}

#[test]
fn an_answer_depends_on_its_prompt_and_seed_alone() {
    let model = model();
    let params = SamplingParams::unmodified(12);
    let a = request(&[3, 9, 4], &[1, 2, 3]);
    let b = request(&[8, 2, 20], &[4, 5]);
    let together = generate(&model, &[&a, &b], &params, &STOP).unwrap();
    for (request, answers) in [&a, &b].into_iter().zip(&together) {
        for (seed, answer) in request.seeds.iter().zip(answers) {
            let alone = self::request(&request.prompt_ids, &[*seed]);
            let alone = generate(&model, &[&alone], &params, &STOP).unwrap();
            assert_eq!(alone[0][0].ids, answer.ids);
        }
    }
    assert_ne!(together[0][0].ids, together[0][1].ids);
}

#[test]
fn a_stop_text_ends_an_answer_with_the_token_that_completes_it() {
    let model = model();
    let params = SamplingParams::unmodified(12);
    let stop = Stop {
        ids: &[],
        text: &|ids: &[u32]| ids.len() == 3,
    };
    let answers = generate(&model, &[&request(&[3], &[1])], &params, &stop).unwrap();
    assert_eq!(answers[0][0].ids.len(), 3);
    assert_eq!(answers[0][0].finish, FinishReason::Stop);
}

#[test]
fn batches_hold_one_length_and_at_most_so_many_answers() {
    let requests: Vec<_> = [(3, 2), (2, 2), (3, 2), (3, 9), (2, 1)]
        .map(|(length, answers)| request(&vec![5; length], &vec![0; answers]))
        .into();
    let plan = plan_batches(&requests, 4);
    assert_eq!(plan, [vec![1, 4], vec![0, 2], vec![3]]);
}

#[test]
fn prompts_that_cannot_be_continued_are_refused() {
    let model = model();
    let refusal = |prompt: &[u32], new| {
        let params = SamplingParams::unmodified(new);
        generate(&model, &[&request(prompt, &[1])], &params, &STOP).unwrap_err()
    };
    assert!(matches!(refusal(&[], 4), Error::EmptyPrompt));
    assert!(matches!(refusal(&[24], 4), Error::TokenId { id: 24, .. }));
    assert!(matches!(
        refusal(&[1; 30], 4),
        Error::ContextLength {
            prompt: 30,
            new: 4,
            context: 32
        }
    ));
}

/// Names of the parameters whose gradient is missing, zero or not finite.
fn without_gradient<M: Module>(model: &M, grads: &Gradients) -> Vec<String> {
    struct Check<'a> {
        grads: &'a Gradients,
        flags: Vec<bool>,
    }
    impl ModuleVisitor for Check<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            let grad = param.base().grad(self.grads);
            let norm = grad.map_or(0.0, |grad| grad.abs().sum().into_scalar::<f32>());
            self.flags.push(norm > 0.0 && norm.is_finite());
        }
    }
    let mut check = Check {
        grads,
        flags: Vec::new(),
    };
    model.visit(&mut check);
    let names = parameter_names(model).into_iter().zip(check.flags);
    names
        .filter(|(_, fine)| !fine)
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_parameter_of_a_language_model_gets_a_gradient() {
    for tied in [true, false] {
        let model = CausalLm::init(config(tied), 3, &test_device())
            .unwrap()
            .train();
        let loss = model.log_probs(&sequences(), Side::Right).sum().neg();
        assert_eq!(
            without_gradient(&model, &loss.backward()),
            Vec::<String>::new()
        );
        assert_eq!(
            parameter_names(&model).len(),
            2 + 2 * 9 + usize::from(!tied)
        );
    }
}

#[test]
fn every_parameter_of_a_reward_model_gets_a_gradient() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device())
        .unwrap()
        .train();
    let loss = model.scores(&sequences()).sum();
    assert_eq!(
        without_gradient(&model, &loss.backward()),
        Vec::<String>::new()
    );
    assert!(parameter_names(&model).contains(&"score.weight".to_owned()));
}

#[test]
fn saving_and_loading_keeps_every_bit() {
    let device = test_device();
    for tied in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let model = CausalLm::init(config(tied), 3, &device).unwrap();
        model.save(dir.path()).unwrap();
        let loaded = CausalLm::load(dir.path(), &device).unwrap();
        assert_eq!(loaded.config(), model.config());
        let logits = |model: &CausalLm| model.next_logits(&[&[3, 9, 4]]).into_data();
        logits(&model).assert_eq(&logits(&loaded), true);

        let reward = SequenceClassifier::load(dir.path(), 5, &device).unwrap();
        let dir = tempfile::tempdir().unwrap();
        reward.save(dir.path()).unwrap();
        // Another seed: nothing may be drawn afresh when the head is there.
        let loaded = SequenceClassifier::load(dir.path(), 6, &device).unwrap();
        assert_eq!(
            host(reward.scores(&sequences())),
            host(loaded.scores(&sequences()))
        );
        assert!(CausalLm::load(dir.path(), &device).is_err());
    }
}

#[test]
fn damaged_checkpoints_are_told_apart() {
    let device = test_device();
    let dir = tempfile::tempdir().unwrap();
    let load = || CausalLm::load(dir.path(), &device).unwrap_err();
    assert!(matches!(load(), Error::Read { .. }));

    model().save(dir.path()).unwrap();
    let weights = dir.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    for length in [0, 4, 100, whole.len() - 1] {
        std::fs::write(&weights, &whole[..length]).unwrap();
        assert!(
            matches!(load(), Error::Safetensors { .. }),
            "{length} bytes"
        );
    }
    std::fs::write(&weights, &whole).unwrap();

    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        load()
    };
    let error = with("\"intermediate_size\": 20", "\"intermediate_size\": 21");
    assert!(
        error.to_string().contains("mlp.gate_proj.weight"),
        "{error}"
    );
    assert!(matches!(
        with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        Error::MissingTensor { .. }
    ));
    let error = with(
        "\"rope_scaling\": null",
        "\"rope_scaling\": {\"type\": \"linear\"}",
    );
    assert!(matches!(
        error,
        Error::Option {
            key: "rope_scaling",
            ..
        }
    ));
    let error = with("LlamaForCausalLM", "MambaForCausalLM");
    assert!(matches!(error, Error::Architecture { .. }));
    assert!(matches!(with("{", "{{"), Error::Json { .. }));
    assert!(matches!(
        with("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
        Error::Key { .. }
    ));
}
