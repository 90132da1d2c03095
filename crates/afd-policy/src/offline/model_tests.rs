//! The objectives on a model: their sums are those of its log-probabilities, however batched.

use afd_backend::device::test_device;
use afd_data::TokenRow;
use afd_model::{CausalLm, DecoderConfig};
use afd_train::Objective;
use burn::module::Module;

use super::{
    answer::{refer, sequence},
    *,
};

fn model(seed: u64) -> CausalLm {
    let config = DecoderConfig {
        vocab_size: 24,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 16,
        initializer_range: 0.4,
        eos_token_ids: vec![0],
        ..DecoderConfig::llama(4)
    };
    CausalLm::init(config, seed, &test_device().into()).unwrap()
}

fn row(answer: &[u32]) -> TokenRow {
    TokenRow::from_sample(&[7, 9, 4], answer)
}

/// An answer that the reference has seen.
fn answer(ids: &[u32]) -> Answer {
    let mut answer = Answer::new(row(ids));
    refer(&model(1), &mut [&mut answer], 1).unwrap();
    answer
}

/// `log π(y|x)`.
fn log_prob(policy: &CausalLm, row: &TokenRow) -> f64 {
    let tokens = policy.score_log_probs(&[sequence(row)], 1).unwrap();
    tokens[0].iter().map(|token| f64::from(*token)).sum()
}

/// Summed loss and metrics of some examples.
fn total<O: Objective<CausalLm>>(objective: &O, policy: &CausalLm, batch: &[usize]) -> Vec<f64> {
    let loss = objective.loss_on(policy, batch, None);
    let metrics = loss.metrics.iter().map(|(_, value)| *value);
    let sum = f64::from(loss.sum.into_scalar::<f32>());
    [sum].into_iter().chain(metrics).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-4, "{found:?} for {expected:?}");
    }
}

#[test]
fn pairs_cost_what_their_log_ratios_say_however_batched() {
    let contests = vec![
        Contest {
            answers: [&[5, 12, 0][..], &[20, 0], &[3, 3, 3, 3]]
                .map(answer)
                .to_vec(),
            pairs: vec![(0, 1), (2, 1), (0, 2)],
        },
        Contest {
            answers: [&[11, 0][..], &[2, 6, 0]].map(answer).to_vec(),
            pairs: vec![(1, 0)],
        },
    ];
    let (beta, policy) = (0.3, model(2));
    let mut expected = vec![0.0; 7];
    for contest in &contests {
        let log_probs = contest.answers.iter().map(|a| log_prob(&policy, &a.row));
        let l: Vec<f64> = log_probs.collect();
        let ratio = |place: usize| l[place] - contest.answers[place].reference_sum();
        for &(c, r) in &contest.pairs {
            let (chosen, rejected) = (beta * ratio(c), beta * ratio(r));
            let values = [
                (1.0 + (rejected - chosen).exp()).ln(),
                chosen,
                rejected,
                f64::from(u8::from(chosen > rejected)),
                chosen - rejected,
                l[c],
                l[r],
            ];
            expected
                .iter_mut()
                .zip(values)
                .for_each(|(sum, v)| *sum += v);
        }
    }
    let dpo = Dpo {
        contests,
        beta,
        label_smoothing: 0.0,
        seed: 0,
    };
    assert_eq!([dpo.weight(0), dpo.weight(1)], [3.0, 1.0]);
    close(&total(&dpo, &policy, &[0, 1]), &expected);
    let apart = [0, 1].map(|i| total(&dpo, &policy, &[i]));
    let sums: Vec<f64> = apart[0].iter().zip(&apart[1]).map(|(a, b)| a + b).collect();
    close(&sums, &expected);
    // Of the reference itself nothing is preferred, and no margin is there to the last bit.
    let own = total(&dpo, &model(1), &[0]);
    assert!(
        (own[0] - 3.0 * 2f64.ln()).abs() < 1e-5 && own[4].abs() < 1e-5,
        "{own:?}"
    );
}

#[test]
fn distilled_answers_weigh_by_their_tokens_and_what_weighs_nothing_is_left_out() {
    let rows = [row(&[5, 12, 0]), row(&[20, 0]), row(&[3, 3, 3, 3])];
    let weighted = rows.iter().cloned().zip([0.75, 0.0, 0.25]).collect();
    let distil = Distil::new(weighted, 0);
    assert_eq!(
        (distil.len(), distil.weight(0), distil.weight(1)),
        (2, 3.0, 4.0)
    );
    let policy = model(2);
    // ¾·3 + ¼·4 = 3¼ weighted tokens out of 7: weights are scaled by 28/13.
    let expected = [0.75, 0.25].iter().zip([&rows[0], &rows[2]]);
    let expected = expected.map(|(w, row)| -w * 28.0 / 13.0 * log_prob(&policy, row));
    let expected: Vec<f64> = expected.collect();
    close(&total(&distil, &policy, &[0]), &expected[..1]);
    close(&total(&distil, &policy, &[1]), &expected[1..]);
    close(
        &total(&distil, &policy, &[0, 1]),
        &[expected[0] + expected[1]],
    );
}

#[test]
fn the_baseline_of_kto_is_a_number_of_the_batch_and_not_below_zero() {
    let policy = model(2);
    let (ids, others) = ([&[5, 12, 0][..], &[20, 0]], [&[3, 3, 3, 3][..], &[8, 0]]);
    let judged = |place: usize| Judged {
        answer: answer(ids[place]),
        desirable: place == 0,
        mismatched: answer(others[place]),
    };
    let kto = |order: [usize; 2]| {
        let mut examples = order.map(judged).to_vec();
        for example in &mut examples {
            // Far below the policy, or far above it.
            let (down, up) = (-4.0, 4.0);
            let shift = if order[0] == 0 { down } else { up };
            example
                .mismatched
                .reference
                .iter_mut()
                .for_each(|token| *token += shift);
        }
        Kto::new(examples, 0.5, [1.0, 2.0], 0)
    };
    let ratio = |answer: &Answer| log_prob(&policy, &answer.row) - answer.reference_sum();
    let of = [0, 1].map(|place| ratio(&answer(ids[place])));
    let mean = [0, 1]
        .map(|place| ratio(&answer(others[place])))
        .iter()
        .sum::<f64>()
        / 2.0;
    // Four and two mismatched tokens.
    let kl = mean + 4.0 * 3.0;
    assert!(kl > 1.0, "{kl}");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let cost = |z: f64| {
        let good = 1.0 - sigmoid(0.5 * (of[0] - z));
        good + 2.0 * (1.0 - sigmoid(0.5 * (z - of[1])))
    };
    let found = total(&kto([0, 1]), &policy, &[0, 1]);
    close(&[found[0], found[6]], &[cost(kl), 2.0 * kl]);
    // One of either kind among two: doubled, so that the mean over both is that of the kind.
    close(&found[1..3], &[2.0 * 0.5 * of[0], 2.0 * 0.5 * of[1]]);
    let found = total(&kto([1, 0]), &policy, &[0, 1]);
    close(&[found[0], found[6]], &[cost(0.0), 0.0]);
    // In training it is the same number, though the model keeps gradients.
    let training = kto([0, 1]).loss_on(&policy.clone().train(), &[0, 1], Some(0));
    close(&[f64::from(training.sum.into_scalar::<f32>())], &[cost(kl)]);
}
