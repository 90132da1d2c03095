//! Steps of reinforcement learning: draw answers, score them, learn from them once.

use std::time::Instant;

use afd_backend::Placement;
use afd_data::{TokenRow, records::Sample};
use afd_model::{CausalLm, Generation, Sequence};
use afd_policy::rl::{
    Guards, ImportanceLevel, LossType, RlConfig,
    advantage::Advantage,
    kl::{KlEstimator, KlLevel, KlPlacement},
    objective::PolicyGradient,
    prepare::{Seen, prepare},
    rollout::Rollout,
};
use afd_train::Stepper;

use super::{
    FIRST_STEP,
    inference::{draw, request},
    model::rows,
    print,
    training::{WARM_UP, config},
};
use crate::{
    args::{BenchArgs, Variant},
    error::Error,
};

/// Tokens a second, prompts and answers, of RLOO with a reference and one step on each batch of
/// `batch_size` answers: what the stage does, without tokenizer and files. The reward is the share
/// of an answer's ids that are even.
pub(super) fn rl(args: &BenchArgs, variant: &Variant, placement: &Placement) -> Result<f64, Error> {
    let (batch, length) = (args.batch_size.get(), args.length.get());
    let each = args.answers.get();
    let prompt = (length / 4).max(1);
    if !batch.is_multiple_of(each) || each < 2 {
        let message = "--batch-size must be a multiple of --answers, and that 2 or more";
        return Err(Error::Usage(message.into()));
    }
    let mut start = CausalLm::init(args.shape.decoder(length), 0, &placement.for_training())?;
    start
        .model
        .set_gradient_checkpointing(variant.gradient_checkpointing);
    let (reference, train, rloo) = (start.clone(), config(), rloo(each));
    let mut policy = Stepper::new(start, &train);
    let steps = WARM_UP + args.steps.get();
    let prompts = rows(args, steps * batch / each);
    let mut began = Instant::now();
    for (step, prompts) in prompts.chunks(batch / each).enumerate() {
        if step == WARM_UP {
            began = Instant::now();
        }
        let now = policy.valid();
        let requests: Vec<_> = prompts
            .iter()
            .map(|row| request(args, &row.ids[..prompt]))
            .collect();
        let answers = draw(&now, &requests, length - prompt)?;
        let rollouts: Vec<Rollout> = requests
            .iter()
            .zip(answers)
            .flat_map(|(request, answers)| {
                let rollout = |answer| rollout(&request.prompt_ids, answer);
                answers.into_iter().map(rollout)
            })
            .collect();
        let sequences: Vec<Sequence<'_>> = rollouts.iter().map(Rollout::sequence).collect();
        let micro_batches = [(0..batch).collect::<Vec<usize>>()];
        let seen = Seen {
            rewards: rollouts.iter().map(even).collect(),
            old: now.score_log_probs_in(&sequences, &micro_batches)?,
            reference: reference.score_log_probs(&sequences, batch)?,
            values: Vec::new(),
        };
        let batch = prepare(&rloo, rloo.beta, &rollouts, seen);
        let objective = PolicyGradient {
            batch: &batch,
            config: &rloo,
            beta: rloo.beta,
            max_completion_length: length - prompt,
        };
        let rate = train.learning_rate;
        let stepped = policy.step(&objective, &micro_batches, rate, step as u64);
        policy = stepped.map_err(afd_policy::Error::from)?.0;
        if step == 0 {
            print(FIRST_STEP)?;
        }
    }
    policy.sync().map_err(afd_policy::Error::from)?;
    let seconds = began.elapsed().as_secs_f64() / args.steps.get() as f64;
    Ok((batch * length) as f64 / seconds)
}

/// An answer as the policy's stage has it, but for its text.
fn rollout(prompt: &[u32], answer: Generation) -> Rollout {
    Rollout {
        row: TokenRow::from_sample(prompt, &answer.ids),
        sample: Sample {
            prompt: String::new(),
            index: 0,
            completion: String::new(),
            completion_ids: answer.ids,
            logprobs: answer.log_probs,
            sampler_logprobs: None,
            finish_reason: "length".into(),
        },
    }
}

/// The reward, paid at the last token.
fn even(rollout: &Rollout) -> Vec<f64> {
    let ids = &rollout.sample.completion_ids;
    let mut rewards = vec![0.0; ids.len()];
    if let Some(last) = rewards.last_mut() {
        let even = ids.iter().filter(|id| id.is_multiple_of(2)).count();
        *last = even as f64 / ids.len() as f64;
    }
    rewards
}

/// RLOO as TRL's trainer of that name has it by default.
fn rloo(num_generations: usize) -> RlConfig {
    RlConfig {
        num_generations,
        steps_per_generation: 1,
        num_iterations: 1,
        advantage: Advantage::LeaveOneOut,
        loss_type: LossType::Sum,
        importance_sampling_level: ImportanceLevel::Sequence,
        epsilon: Some(0.2),
        epsilon_high: None,
        beta: 0.05,
        kl_placement: KlPlacement::Reward,
        kl_estimator: KlEstimator::K1,
        kl_level: KlLevel::Sequence,
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
