//! Answers of one model led away from another, against the logits of both.

use afd_backend::device::test_device;

use crate::{
    CausalLm, DecoderConfig, Error, FinishReason, Generation, GenerationRequest, Guide,
    SamplingParams, Stop, generate, generate_guided, never,
    tests::{config, host, model},
};

const PROMPT: [u32; 3] = [3, 9, 4];

/// Among the more likely tokens, so that some answers end early and some do not.
const STOP: Stop<'static> = Stop {
    ids: &[0, 5, 11],
    text: &never,
};

/// Another model of the same shape.
fn initial() -> CausalLm {
    CausalLm::init(config(true), 12, &test_device().into()).unwrap()
}

fn request(answers: u64) -> GenerationRequest {
    GenerationRequest {
        prompt_ids: PROMPT.to_vec(),
        seeds: (0..answers).collect(),
    }
}

fn answers(strength: f64, params: &SamplingParams, count: u64) -> Vec<Generation> {
    let (model, initial) = (model(), initial());
    let guide = Guide {
        away_from: &initial,
        strength,
    };
    generate_guided(&model, guide, &[&request(count)], 64, params, &STOP)
        .unwrap()
        .remove(0)
}

/// Log-probabilities of what comes after each of `rows`: `log p + a (log p − log p_0)`, normalised.
fn extrapolated(rows: &[&[u32]], strength: f64) -> Vec<Vec<f64>> {
    let of = |model: CausalLm| -> Vec<Vec<f64>> {
        let logits = host(model.next_logits(rows));
        logits
            .chunks(logits.len() / rows.len())
            .map(|row| log_softmax(row.iter().map(|logit| f64::from(*logit)).collect()))
            .collect()
    };
    let further = |(own, other): (Vec<f64>, Vec<f64>)| {
        let pairs = own.iter().zip(other);
        log_softmax(pairs.map(|(p, q)| p + strength * (p - q)).collect())
    };
    of(model())
        .into_iter()
        .zip(of(initial()))
        .map(further)
        .collect()
}

fn log_softmax(logits: Vec<f64>) -> Vec<f64> {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - total.ln()).collect()
}

#[test]
fn guided_answers_that_join_others_are_those_drawn_alone() {
    let (model, initial) = (model(), initial());
    let guide = Guide {
        away_from: &initial,
        strength: 1.5,
    };
    let params = SamplingParams::unmodified(12);
    let requests: Vec<_> = [&[3, 9, 4][..], &[8], &[5, 2], &[7, 7, 1, 2, 20]]
        .map(|prompt| GenerationRequest {
            prompt_ids: prompt.to_vec(),
            seeds: (0..5).collect(),
        })
        .into();
    let draw = |requests: &[&GenerationRequest], rows| {
        generate_guided(&model, guide, requests, rows, &params, &STOP).unwrap()
    };
    let together = draw(&requests.iter().collect::<Vec<_>>(), 3);
    for (request, answers) in requests.iter().zip(&together) {
        let alone = draw(&[request], 5).remove(0);
        assert_eq!(answers.len(), alone.len());
        for (answer, alone) in answers.iter().zip(&alone) {
            assert_eq!(answer.ids, alone.ids);
            let pairs = answer
                .sampler_log_probs
                .iter()
                .zip(&alone.sampler_log_probs);
            for (a, b) in pairs.chain(answer.log_probs.iter().zip(&alone.log_probs)) {
                assert!((a - b).abs() < 1e-4, "{a} {b}");
            }
        }
    }
}

#[test]
fn at_strength_0_the_answers_are_the_policys_own_to_the_bit() {
    for params in [
        SamplingParams::unmodified(12),
        SamplingParams {
            temperature: 0.7,
            ..SamplingParams::unmodified(12)
        },
    ] {
        let alone = generate(&model(), &[&request(16)], 64, &params, &STOP).unwrap();
        assert_eq!(answers(0.0, &params, 16), alone[0]);
        assert_ne!(answers(1.0, &params, 16), alone[0]);
    }
}

#[test]
fn tokens_carry_the_log_probs_of_their_sampler_and_of_the_policy() {
    let strength = 1.5;
    let drawn = answers(strength, &SamplingParams::unmodified(12), 24);
    let mut ended = 0;
    for answer in &drawn {
        ended += usize::from(answer.finish == FinishReason::Stop);
        for (place, &id) in answer.ids.iter().enumerate() {
            let text = [&PROMPT, &answer.ids[..place]].concat();
            for (found, strength) in [
                (answer.sampler_log_probs[place], strength),
                (answer.log_probs[place], 0.0),
            ] {
                let expected = extrapolated(&[&text], strength)[0][id as usize];
                let gap = (f64::from(found) - expected).abs();
                assert!(gap < 1e-4, "{found} against {expected} at {strength}");
            }
        }
    }
    // Rows left the batch, and the end token was drawn and measured like any other.
    assert!((4..24).contains(&ended), "{ended} of 24 ended");
}

#[test]
fn at_strength_minus_1_the_other_model_writes() {
    let params = SamplingParams::unmodified(12);
    let other = generate(&initial(), &[&request(16)], 64, &params, &STOP).unwrap();
    for (answer, other) in answers(-1.0, &params, 16).iter().zip(&other[0]) {
        assert_eq!(answer.ids, other.ids);
    }
}

/// Four thousand answers of at most two tokens, each a cell; Pearson's χ² against the exact
/// probabilities. Seeds are fixed, so a right sampler does not fail now and then.
#[test]
fn answers_have_the_frequencies_of_the_extrapolated_policy() {
    let strength = 0.5;
    let drawn = answers(strength, &SamplingParams::unmodified(2), 4000);
    let first = extrapolated(&[&PROMPT], strength).remove(0);
    let tokens = first.len() as u32;
    let texts: Vec<Vec<u32>> = (0..tokens)
        .map(|id| [&PROMPT[..], &[id]].concat())
        .collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let second = extrapolated(&texts, strength);

    let count = |ids: &[u32]| drawn.iter().filter(|a| a.ids == ids).count() as f64;
    let (mut square, mut cells, mut rest) = (0.0_f64, 0.0_f64, (0.0, 0.0));
    let mut compare = |found: f64, log_prob: f64| {
        let expected = 4000.0 * log_prob.exp();
        if expected < 5.0 {
            rest = (rest.0 + found, rest.1 + expected);
        } else {
            square += (found - expected).powi(2) / expected;
            cells += 1.0;
        }
    };
    for a in 0..tokens {
        if STOP.ids.contains(&a) {
            compare(count(&[a]), first[a as usize]);
            continue;
        }
        for b in 0..tokens {
            let log_prob = first[a as usize] + second[a as usize][b as usize];
            compare(count(&[a, b]), log_prob);
        }
    }
    square += (rest.0 - rest.1).powi(2) / rest.1;
    // Of `cells` degrees of freedom; χ² has their number for mean and twice it for variance, and is
    // beyond five standard deviations about once in 10 000 times.
    let limit = cells + 5.0 * (2.0 * cells).sqrt();
    assert!(
        cells > 15.0 && square < limit,
        "χ² of {square} in {cells} cells"
    );
}

#[test]
fn models_that_cannot_be_set_against_each_other_are_refused() {
    let other = DecoderConfig {
        vocab_size: 25,
        ..config(true)
    };
    let other = CausalLm::init(other, 1, &test_device().into()).unwrap();
    let refusal = |away_from: &CausalLm, strength: f64| {
        let guide = Guide {
            away_from,
            strength,
        };
        let params = SamplingParams::unmodified(2);
        generate_guided(&model(), guide, &[&request(1)], 64, &params, &STOP).unwrap_err()
    };
    let vocabularies = refusal(&other, 1.0);
    assert!(matches!(
        vocabularies,
        Error::Vocabularies { own: 24, other: 25 }
    ));
    assert!(matches!(
        refusal(&initial(), f64::NAN),
        Error::Sampling { .. }
    ));
}
