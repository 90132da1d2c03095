//! Writing answers: the cache against full forward passes, and draws against probabilities.

use afd_backend::{device::test_device, ops::PackedWeight};
use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Int, TensorData},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    CausalLm, Error, FinishReason, Generation, GenerationRequest, KvCache, SamplingParams,
    Sequence, Side, Stop, generate, never,
    tests::{assert_close, config, host, model},
};

/// Largest difference in nats between the log-probability a token was drawn with and what a
/// forward pass, padded or not, with gradients or without, says of it on the same device.
const SAME: f32 = 1e-5;

/// The same between answers drawn alone and in company, where a device may sum one row in another order than many: on
/// average, and at most. On libtorch that is up to 6e-7 and 1.3e-5; what rounding is worth in this model, a test below says.
const JOINED_MEAN: f32 = 1e-6;
const JOINED_MOST: f32 = 4e-5;

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
fn training_and_decoding_give_the_same_log_probs() {
    let mut ended = 0;
    for tied in [true, false] {
        let model = CausalLm::init(config(tied), 11, &test_device().into()).unwrap();
        let request = request(&[3, 9, 4], &[1, 2, 3, 4, 5, 6, 7, 8]);
        let params = SamplingParams::unmodified(20);
        let answers = generate(&model, &[&request], 64, &params, &STOP).unwrap();
        let mut laid_out = model.for_drawing().clone();
        for linear in laid_out.model.linears_mut() {
            let weight = PackedWeight::new(linear.weight.base(), linear.compute);
            assert_eq!(linear.packed.is_some(), weight.is_some());
        }
        let again = generate(&laid_out, &[&request], 64, &params, &STOP).unwrap();
        assert_eq!(again, answers);
        let texts: Vec<Vec<u32>> = answers[0]
            .iter()
            .map(|answer| [request.prompt_ids.as_slice(), &answer.ids].concat())
            .collect();
        let sequences: Vec<Sequence<'_>> = texts
            .iter()
            .map(|ids| Sequence { ids, prompt_len: 3 })
            .collect();

        let mut drawn = Vec::new();
        for (answer, sequence) in answers[0].iter().zip(&sequences) {
            assert_close(
                &answer.log_probs,
                &host(model.log_probs(&[*sequence], Side::Right)),
                SAME,
            );
            drawn.extend_from_slice(&answer.log_probs);
            match answer.finish {
                FinishReason::Stop => {
                    ended += usize::from(answer.ids.last().is_some_and(|id| STOP.ids.contains(id)))
                }
                FinishReason::Length => assert_eq!(answer.ids.len(), 20),
            }
        }
        let trained = model.train();
        for side in [Side::Right, Side::Left] {
            assert_close(
                &drawn,
                &host(trained.log_probs(&sequences, side).inner()),
                SAME,
            );
        }
    }
    // Otherwise rows leaving the batch would not have been tried.
    assert!((2..15).contains(&ended), "{ended} of 16 ended");
}

#[test]
fn however_a_text_is_cut_the_cache_reads_it_alike() {
    const ROWS: [[i32; 9]; 2] = [
        [3, 9, 4, 17, 5, 0, 8, 2, 20],
        [6, 6, 11, 19, 23, 0, 7, 12, 1],
    ];
    let model = model().model;
    let ids = Tensor::<2, Int>::from_data(ROWS, &test_device());
    let whole = host(model.forward(ids.clone()));
    for cuts in [vec![9], vec![4, 3, 2], vec![1, 7, 1], vec![1; 9]] {
        let mut cache = KvCache::new(&model, 2, 9);
        let mut start = 0;
        let parts = cuts.iter().map(|&length| {
            let part = ids.clone().narrow(1, start, length);
            start += length;
            model.forward_cached(part, &mut cache)
        });
        let parts = Tensor::cat(parts.collect(), 1);
        assert_close(&host(parts), &whole, SAME);
    }
}

/// Rows 0 and 2 have been put in as copies of one, as have 1 and 3; then rows leave, join, and columns go.
#[test]
fn a_cache_knows_which_of_its_rows_share_a_prompt() {
    let model = model().model;
    let read = |rows: usize, tokens: usize| {
        let mut cache = KvCache::new(&model, rows, tokens);
        let ids = Tensor::<2, Int>::zeros([rows, tokens], &test_device());
        let _ = model.forward_cached(ids, &mut cache);
        cache
    };
    let shared = |cache: &KvCache| -> Option<Vec<(usize, usize)>> {
        let prefixes = cache.prefixes()?;
        Some(prefixes.iter().map(|of| (of.row, of.end)).collect())
    };
    let mut cache = KvCache::new(&model, 5, 6);
    assert_eq!(shared(&cache), None);
    cache.put(&[0, 1, 2, 3], &read(2, 4), &[0, 1, 0, 1]);
    let all = [(0, 4), (1, 4), (0, 4), (1, 4), (4, 0)];
    assert_eq!(shared(&cache).unwrap(), all);
    cache.select(&[1, 2, 3]);
    assert_eq!(shared(&cache).unwrap(), [(0, 4), (1, 4), (0, 4)]);
    // Joins behind one column of the others, with a prompt of its own.
    cache.put(&[1], &read(1, 3), &[0]);
    assert_eq!(shared(&cache).unwrap(), [(0, 4), (1, 4), (0, 4)]);
    cache.put(&[0, 2], &read(1, 2), &[0, 0]);
    assert_eq!(shared(&cache).unwrap(), [(0, 4), (1, 4), (0, 4)]);
    let ids = Tensor::<2, Int>::zeros([3, 2], &test_device());
    let _ = model.forward_cached(ids, &mut cache);
    // All six columns are full, and no row begins before the second.
    cache.make_room();
    assert_eq!(cache.len(), 5);
    assert_eq!(shared(&cache).unwrap(), [(0, 3), (1, 3), (0, 3)]);
    cache.vacate(2);
    assert_eq!(shared(&cache), None);
}

#[test]
fn an_answer_depends_on_its_prompt_and_seed_alone() {
    let model = model();
    let params = SamplingParams::unmodified(12);
    let a = request(&[3, 9, 4], &[1, 2, 3]);
    let b = request(&[8, 2, 20], &[4, 5]);
    let together = generate(&model, &[&a, &b], 64, &params, &STOP).unwrap();
    for (request, answers) in [&a, &b].into_iter().zip(&together) {
        for (seed, answer) in request.seeds.iter().zip(answers) {
            let alone = self::request(&request.prompt_ids, &[*seed]);
            let alone = generate(&model, &[&alone], 64, &params, &STOP).unwrap();
            assert_eq!(alone[0][0].ids, answer.ids);
        }
    }
    assert_ne!(together[0][0].ids, together[0][1].ids);
}

/// Probabilities of the next token after each of `rows`.
fn probabilities(model: &CausalLm, rows: &[&[u32]]) -> Vec<Vec<f64>> {
    let logits = host(model.next_logits(rows));
    let softmax = |row: &[f32]| -> Vec<f64> {
        let weights: Vec<f64> = row.iter().map(|logit| f64::from(*logit).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    };
    logits
        .chunks(logits.len() / rows.len())
        .map(softmax)
        .collect()
}

/// Pearson's χ² of `counts`, and what it exceeds once in 100 000 times when the counts come
/// from `probabilities` (Wilson and Hilferty's formula). Tokens expected fewer than five
/// times count together.
fn chi_square(counts: &[f64], probabilities: &[f64]) -> (f64, f64) {
    let draws: f64 = counts.iter().sum();
    let (mut cells, mut rest) = (Vec::new(), (0.0, 0.0));
    for (count, probability) in counts.iter().zip(probabilities) {
        let expected = draws * probability;
        if expected < 5.0 {
            rest = (rest.0 + count, rest.1 + expected);
        } else {
            cells.push((*count, expected));
        }
    }
    if rest.1 > 0.0 {
        cells.push(rest);
    }
    let square = |(count, expected): &(f64, f64)| (count - expected).powi(2) / expected;
    let spread = 2.0 / (9.0 * (cells.len() - 1) as f64);
    let limit = (cells.len() - 1) as f64 * (1.0 - spread + 4.265 * spread.sqrt()).powi(3);
    (cells.iter().map(square).sum(), limit)
}

/// Four thousand draws of two tokens: the first from the prefill, the second from the cache.
/// Seeds are fixed, so a right sampler does not fail now and then.
#[test]
fn tokens_are_drawn_with_the_models_probabilities() {
    let model = model();
    let prompt = [3, 9, 4];
    let seeds: Vec<u64> = (0..4000).collect();
    let stop = Stop {
        ids: &[],
        text: &never,
    };
    let params = SamplingParams::unmodified(2);
    let answers = generate(&model, &[&request(&prompt, &seeds)], 64, &params, &stop).unwrap();

    let first = probabilities(&model, &[&prompt]).remove(0);
    let texts: Vec<Vec<u32>> = (0..first.len() as u32)
        .map(|id| [prompt.as_slice(), &[id]].concat())
        .collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut second = vec![0.0; first.len()];
    for (share, row) in first.iter().zip(probabilities(&model, &texts)) {
        for (sum, probability) in second.iter_mut().zip(row) {
            *sum += share * probability;
        }
    }
    let uniform = vec![1.0 / first.len() as f64; first.len()];
    for (place, expected) in [first, second].iter().enumerate() {
        let mut counts = vec![0.0; expected.len()];
        for answer in &answers[0] {
            counts[answer.ids[place] as usize] += 1.0;
        }
        let (square, limit) = chi_square(&counts, expected);
        assert!(
            square < limit,
            "token {place}: χ² of {square}, limit {limit}"
        );
        let (square, limit) = chi_square(&counts, &uniform);
        assert!(square > limit, "token {place} may as well be uniform");
    }
}

#[test]
fn a_stop_text_ends_an_answer_with_the_token_that_completes_it() {
    let model = model();
    let params = SamplingParams::unmodified(12);
    let stop = Stop {
        ids: &[],
        text: &|ids: &[u32]| ids.len() == 3,
    };
    let answers = generate(&model, &[&request(&[3], &[1])], 64, &params, &stop).unwrap();
    assert_eq!(answers[0][0].ids.len(), 3);
    assert_eq!(answers[0][0].finish, FinishReason::Stop);
}

/// Prompts of all lengths up to seven, with as many seeds.
fn crowd() -> Vec<GenerationRequest> {
    let of = |i: u64| {
        let prompt: Vec<u32> = (0..=i % 7).map(|k| ((i * 5 + k * 3) % 24) as u32).collect();
        let seeds: Vec<u64> = (0..=i % 4).map(|k| i * 10 + k).collect();
        request(&prompt, &seeds)
    };
    (0..28).map(of).collect()
}

/// More answers than rows: those that join do so in all kinds of company, and often enough for the cache to be moved.
#[test]
fn answers_that_join_others_are_those_drawn_alone() {
    let requests = crowd();
    let asked: Vec<&GenerationRequest> = requests.iter().collect();
    let params = SamplingParams::unmodified(20);
    for tied in [true, false] {
        let model = CausalLm::init(config(tied), 11, &test_device().into()).unwrap();
        let alone: Vec<Vec<Generation>> = requests
            .iter()
            .map(|request| {
                let each = |seed| self::request(&request.prompt_ids, &[seed]);
                let drawn = |request| generate(&model, &[&request], 1, &params, &STOP).unwrap();
                let seeds = request.seeds.iter().copied();
                seeds.map(|seed| drawn(each(seed))[0][0].clone()).collect()
            })
            .collect();
        let tokens: usize = alone.iter().flatten().map(|answer| answer.ids.len()).sum();
        assert!(
            tokens / 3 > 2 * (7 + 20 + 64),
            "{tokens} would not fill the cache"
        );
        for max_rows in [1, 3, 16, 1000] {
            let drawn = generate(&model, &asked, max_rows, &params, &STOP).unwrap();
            let mut sum = 0.0;
            for (drawn, alone) in drawn.iter().flatten().zip(alone.iter().flatten()) {
                assert_eq!((&drawn.ids, drawn.finish), (&alone.ids, alone.finish));
                assert_close(&drawn.log_probs, &alone.log_probs, JOINED_MOST);
                let pairs = drawn.log_probs.iter().zip(&alone.log_probs);
                sum += pairs
                    .map(|(drawn, alone)| (drawn - alone).abs())
                    .sum::<f32>();
            }
            let mean = sum / tokens as f32;
            assert!(mean <= JOINED_MEAN, "{mean} on average");
            let count =
                |answers: &Vec<Vec<Generation>>| answers.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(count(&drawn), count(&alone));
        }
    }
}

/// Moves each weight to one of the two numbers of f32 beside it.
struct Nudge(ChaCha8Rng);

impl ModuleMapper for Nudge {
    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        param.map(|weights| {
            let (shape, device) = (weights.dims(), weights.device());
            let mut nudge = |weight: f32| match self.0.random() {
                true => weight.next_up(),
                false => weight.next_down(),
            };
            let nudged = host(weights).into_iter().map(&mut nudge).collect();
            Tensor::from_data(TensorData::new(nudged, shape), &device)
        })
    }
}

/// What [`JOINED_MEAN`] and [`JOINED_MOST`] allow is of the size of what the last place of the weights is worth: 1.1e-6 to
/// 1.2e-6 on average, and 1.2e-5 to 1.8e-5 at most, in four draws.
#[test]
fn company_is_allowed_what_the_last_place_of_weights_is_worth() {
    let requests = crowd();
    let asked: Vec<&GenerationRequest> = requests.iter().collect();
    for tied in [true, false] {
        let model = CausalLm::init(config(tied), 11, &test_device().into()).unwrap();
        let params = SamplingParams::unmodified(20);
        let drawn = generate(&model, &asked, 1000, &params, &STOP).unwrap();
        let texts: Vec<(usize, Vec<u32>)> = asked
            .iter()
            .zip(&drawn)
            .flat_map(|(request, answers)| {
                answers.iter().map(|answer| (&request.prompt_ids, answer))
            })
            .map(|(prompt, answer)| (prompt.len(), [prompt.as_slice(), &answer.ids].concat()))
            .collect();
        let sequences: Vec<_> = texts
            .iter()
            .map(|(prompt_len, ids)| Sequence {
                ids,
                prompt_len: *prompt_len,
            })
            .collect();
        let before = host(model.log_probs(&sequences, Side::Right));
        let mut moved: Vec<f32> = Vec::new();
        for seed in 0..4 {
            let nudged = model
                .clone()
                .map(&mut Nudge(ChaCha8Rng::seed_from_u64(seed)));
            let after = host(nudged.log_probs(&sequences, Side::Right));
            moved.extend(before.iter().zip(&after).map(|(a, b)| (a - b).abs()));
        }
        let mean = moved.iter().sum::<f32>() / moved.len() as f32;
        let most = moved.iter().copied().fold(0.0, f32::max);
        assert!(2.0 * mean >= JOINED_MEAN, "{mean} on average");
        assert!(4.0 * most >= JOINED_MOST, "{most} at most");
    }
}

#[test]
fn prompts_that_cannot_be_continued_are_refused() {
    let model = model();
    let refusal = |prompt: &[u32], new| {
        let params = SamplingParams::unmodified(new);
        generate(&model, &[&request(prompt, &[1])], 64, &params, &STOP).unwrap_err()
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

/// Puts NaN in the place of every weight.
struct Break;

impl ModuleMapper for Break {
    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        param.map(|weights| weights.mul_scalar(f32::NAN))
    }
}

#[test]
fn a_model_that_answers_nan_is_refused() {
    let model = model().map(&mut Break);
    let params = SamplingParams::unmodified(4);
    let asked = request(&[3, 9, 4], &[1, 2, 3]);
    let error = generate(&model, &[&asked], 64, &params, &STOP).unwrap_err();
    assert!(matches!(error, Error::NonFinite), "{error}");
}
