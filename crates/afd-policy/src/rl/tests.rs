//! The surrogate and its batch on paper, where probabilities have moved.

use afd_backend::device::test_device;
use afd_data::{TokenRow, records::Sample};
use burn::Tensor;

use super::{
    Guards, ImportanceLevel, LossType, RlConfig,
    advantage::Advantage,
    kl::{KlEstimator, KlLevel, KlPlacement},
    objective::{Batch, PolicyGradient},
    prepare::{Seen, prepare, refuse_constant},
    rollout::Rollout,
};

fn config() -> RlConfig {
    RlConfig {
        num_generations: 2,
        steps_per_generation: 1,
        num_iterations: 1,
        advantage: Advantage::LeaveOneOut,
        loss_type: LossType::Sum,
        importance_sampling_level: ImportanceLevel::Token,
        epsilon: None,
        epsilon_high: None,
        beta: 0.0,
        kl_placement: KlPlacement::Reward,
        kl_estimator: KlEstimator::K1,
        kl_level: KlLevel::Token,
        kl_target: None,
        kl_horizon: None,
        reward_transform: None,
        ptx_coef: None,
        missing_eos_penalty: 0.0,
        mask_truncated_completions: false,
        whiten_rewards: false,
        whiten_advantages: false,
        value: None,
        guards: Guards::default(),
        log_completions_steps: 0,
        lora: None,
    }
}

/// Two answers, of two tokens and of one, with advantages 1 and −1.
fn batch() -> Batch {
    Batch {
        rows: vec![
            TokenRow::from_sample(&[9], &[1, 0]),
            TokenRow::from_sample(&[9], &[0]),
        ],
        old: vec![vec![0.0, 0.0], vec![0.0]],
        reference: vec![vec![-0.5, -0.5], vec![0.5]],
        advantages: vec![vec![1.0, 1.0], vec![-1.0]],
        weights: vec![1.0, 1.0],
        returns: Vec::new(),
        values: Vec::new(),
    }
}

/// The loss where the three tokens' ratios are 2, ½ and ½, over its weight.
fn loss(config: &RlConfig, batch: &Batch) -> f64 {
    let gradient = PolicyGradient {
        batch,
        config,
        beta: config.beta,
        max_completion_length: 4,
    };
    let (up, down) = (2f32.ln(), -(2f32.ln()));
    let new = Tensor::<1>::from_data([up, down, down], &test_device().autodiff());
    let loss = gradient.of(new, &[0, 1]);
    let weight = gradient.answer_weight(0) + gradient.answer_weight(1);
    f64::from(loss.sum.into_scalar::<f32>()) / weight
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
}

#[test]
fn clipping_holds_back_gains_and_no_losses() {
    // −(2 + ½ − ½)/2.
    close(loss(&config(), &batch()), -1.0);
    let clipped = |epsilon, epsilon_high| RlConfig {
        epsilon: Some(epsilon),
        epsilon_high,
        ..config()
    };
    // 2 → 1.2; ½ at advantage 1 stays; at −1 it is −½ against −0.8, of which the lesser counts.
    close(
        loss(&clipped(0.2, None), &batch()),
        -(1.2 + 0.5 - 0.8) / 2.0,
    );
    close(
        loss(&clipped(0.2, Some(0.5)), &batch()),
        -(1.5 + 0.5 - 0.8) / 2.0,
    );
}

#[test]
fn the_ratio_of_an_answer_is_the_product_of_its_tokens() {
    // 2·½ = 1 and ½.
    let config = RlConfig {
        importance_sampling_level: ImportanceLevel::Sequence,
        ..config()
    };
    close(loss(&config, &batch()), -(1.0 - 0.5) / 2.0);
}

#[test]
fn each_kind_of_mean_divides_by_its_own() {
    let of = |loss_type| {
        let config = RlConfig {
            loss_type,
            ..config()
        };
        loss(&config, &batch())
    };
    // Tokens' terms are 2, ½ and −½.
    close(of(LossType::Sum), -2.0 / 2.0);
    close(of(LossType::Grpo), -(1.25 - 0.5) / 2.0);
    close(of(LossType::DrGrpo), -2.0 / 8.0);
    close(of(LossType::Dapo), -2.0 / 3.0);
}

#[test]
fn the_kl_term_in_the_loss_is_of_tokens_or_of_answers() {
    let of = |kl_level, kl_estimator| {
        let config = RlConfig {
            beta: 1.0,
            kl_placement: KlPlacement::Loss,
            kl_level,
            kl_estimator,
            ..config()
        };
        loss(&config, &batch()) + 1.0
    };
    // log π − log ref: ln 2 + ½, ½ − ln 2, −ln 2 − ½.
    let l = [2f64.ln() + 0.5, 0.5 - 2f64.ln(), -(2f64.ln()) - 0.5];
    let squares: f64 = l.iter().map(|l| 0.5 * l * l).sum();
    close(of(KlLevel::Token, KlEstimator::K2), squares / 2.0);
    // Of the answers: 1 and −ln 2 − ½.
    let answers = 0.5 + 0.5 * l[2] * l[2];
    close(of(KlLevel::Sequence, KlEstimator::K2), answers / 2.0);
}

#[test]
fn an_answer_that_is_left_out_counts_for_nothing() {
    let mut batch = batch();
    batch.weights[0] = 0.0;
    // ½ at advantage −1, over one answer.
    close(loss(&config(), &batch), 0.5);
}

/// Answers of two tokens and of one, of which the second was cut.
fn rollouts() -> Vec<Rollout> {
    let rollout = |ids: &[u32], finish_reason: &str| Rollout {
        row: TokenRow::from_sample(&[9], ids),
        sample: Sample {
            prompt: "p".into(),
            index: 0,
            completion: String::new(),
            completion_ids: ids.to_vec(),
            logprobs: vec![0.0; ids.len()],
            sampler_logprobs: None,
            finish_reason: finish_reason.into(),
        },
    };
    vec![rollout(&[1, 0], "stop"), rollout(&[1], "length")]
}

fn seen() -> Seen {
    Seen {
        rewards: vec![vec![0.0, 3.0], vec![1.0]],
        old: vec![vec![0.0, 0.0], vec![0.0]],
        reference: vec![vec![-1.0, 0.5], vec![-2.0]],
        values: Vec::new(),
    }
}

#[test]
fn penalty_and_kl_are_taken_off_before_answers_are_compared() {
    let rewards = |config: &RlConfig| {
        let config = RlConfig {
            advantage: Advantage::Reward,
            ..config.clone()
        };
        let batch = prepare(&config, config.beta, &rollouts(), seen());
        (batch.advantages[0][0], batch.advantages[1][0])
    };
    assert_eq!(rewards(&config()), (3.0, 1.0));
    let penalised = RlConfig {
        missing_eos_penalty: 2.0,
        ..config()
    };
    assert_eq!(rewards(&penalised), (3.0, -1.0));
    // log π − log ref: 1 − ½ and 2 nats, at ½ a nat.
    let held = RlConfig {
        beta: 0.5,
        ..config()
    };
    assert_eq!(rewards(&held), (2.75, 0.0));
    // k2 of the answer: ½·¼ and ½·4.
    let squared = RlConfig {
        beta: 0.5,
        kl_estimator: KlEstimator::K2,
        kl_level: KlLevel::Sequence,
        ..config()
    };
    assert_eq!(rewards(&squared), (2.9375, 0.0));
    // In the loss it takes nothing off the reward.
    let in_loss = RlConfig {
        beta: 0.5,
        kl_placement: KlPlacement::Loss,
        ..config()
    };
    assert_eq!(rewards(&in_loss), (3.0, 1.0));
}

#[test]
fn cut_answers_are_left_out_if_asked_and_still_compared() {
    let masked = RlConfig {
        mask_truncated_completions: true,
        ..config()
    };
    let batch = prepare(&masked, 0.0, &rollouts(), seen());
    assert_eq!(batch.weights, [1.0, 0.0]);
    assert_eq!(batch.advantages, [vec![2.0, 2.0], vec![-2.0]]);
    assert_eq!(
        prepare(&config(), 0.0, &rollouts(), seen()).weights,
        [1.0; 2]
    );
}

#[test]
fn a_reward_that_tells_no_two_answers_apart_is_refused() {
    let rewards = |second: f64| vec![vec![0.0, 3.0], vec![second], vec![5.0], vec![1.0, 4.0]];
    assert!(refuse_constant(&rewards(2.0), 2).is_ok());
    let message = refuse_constant(&rewards(3.0), 2).unwrap_err().to_string();
    assert!(message.contains("all 2 answers the same score, for each of 2 prompts"));
}
