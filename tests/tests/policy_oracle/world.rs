//! One prompt, fifteen answers, a policy that is a table, and all that is known of them.

use afd_backend::device::test_device;
use afd_data::{TokenRow, records::Sample};
use afd_exact::{Policy, Space, reward::token_rewards};
use afd_policy::rl::{
    ImportanceLevel, LossType, RlConfig,
    advantage::Advantage,
    kl::{KlEstimator, KlLevel, KlPlacement},
    objective::PolicyGradient,
    rollout::Rollout,
};
use afd_train::{Loss, Objective, SchedulerType, TrainConfig};
use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Int, activation::log_softmax},
};

/// The prompt.
const PROMPT: [u32; 1] = [1];

/// A policy that is a table: a logit for each step.
#[derive(Module, Debug)]
pub(crate) struct Table {
    logits: Param<Tensor<2>>,
}

impl Table {
    pub(crate) fn new(policy: &Policy<'_>) -> Self {
        let narrow: Vec<f32> = policy.logits().iter().map(|logit| *logit as f32).collect();
        let vocab = policy.space().vocab();
        let flat = Tensor::<1>::from_data(narrow.as_slice(), &test_device());
        let logits = flat.reshape([narrow.len() / vocab, vocab]);
        Self {
            logits: Param::initialized(ParamId::from(1), logits).set_require_grad(true),
        }
    }

    /// Log-probability of each step, `[steps]`, in nats.
    fn steps(&self) -> Tensor<1> {
        log_softmax(self.logits.val(), 1).flatten(0, 1)
    }

    /// The gradient of a loss over the logits, by step.
    pub(crate) fn gradient(&self, loss: Tensor<1>) -> Vec<f64> {
        let found = self.logits.val().grad(&loss.backward());
        found.map_or_else(Vec::new, |g| g.into_data().iter::<f64>().collect())
    }

    /// The policy as the oracle knows it.
    pub(crate) fn policy<'s>(&self, space: &'s Space) -> Policy<'s> {
        let logits = self.logits.val().into_data();
        Policy::new(space, logits.iter::<f64>().collect())
    }
}

/// The loss that is trained with, on a table: `answers` says which answer of the space each example is.
pub(crate) struct OnTable<'a> {
    pub(crate) gradient: PolicyGradient<'a>,
    pub(crate) space: &'a Space,
    pub(crate) answers: &'a [usize],
}

impl Objective<Table> for OnTable<'_> {
    type Collator = ();
    type Batch = ();

    fn collator(&self, _: &Table) {}

    fn batch(&self, (): &(), _examples: &[usize]) {}

    fn weight(&self, example: usize) -> f64 {
        self.gradient.answer_weight(example)
    }

    fn tokens(&self, _example: usize) -> u64 {
        1
    }

    fn loss(&self, table: &Table, examples: &[usize], (): (), _draw: Option<u64>) -> Loss {
        let steps = examples
            .iter()
            .flat_map(|&i| self.space.steps(self.answers[i]))
            .map(|&step| step as i32);
        let steps: Vec<i32> = steps.collect();
        let index = Tensor::<1, Int>::from_data(steps.as_slice(), &test_device());
        self.gradient.of(table.steps().select(0, index), examples)
    }
}

/// All answers with their prompt, in the order of the space.
fn rows(space: &Space) -> Vec<TokenRow> {
    let ids = |tokens: &[usize]| tokens.iter().map(|&token| token as u32).collect::<Vec<_>>();
    let answers = space.answers().iter();
    answers
        .map(|answer| TokenRow::from_sample(&PROMPT, &ids(&answer.tokens)))
        .collect()
}

/// A policy's log-probability of each token of each answer, in nats.
pub(crate) fn log_probs(policy: &Policy<'_>) -> Vec<Vec<f32>> {
    let (space, tokens) = (policy.space(), policy.token_log_probs());
    let along = |answer: usize| {
        let steps = space.steps(answer).iter();
        steps.map(|&step| tokens[step] as f32).collect()
    };
    (0..space.answers().len()).map(along).collect()
}

/// The probability of each answer.
pub(crate) fn distribution(log_probs: &[Vec<f32>]) -> Vec<f64> {
    log_probs
        .iter()
        .map(|tokens| answer_sum(tokens).exp())
        .collect()
}

/// A prompt's answers, what each is worth, and the policy that learning begins with and is held to.
pub(crate) struct World {
    seed: u64,
    pub(crate) space: Space,
    pub(crate) rows: Vec<TokenRow>,
    /// Log-probabilities of tokens by the reference, in nats.
    pub(crate) reference: Vec<Vec<f32>>,
    /// By answer, of about a nat.
    pub(crate) reward: Vec<f64>,
    /// By step: the log-ratio of two policies.
    pub(crate) token_reward: Vec<f64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let space = Space::new(3, 3);
        let rows = rows(&space);
        let policy = |seed: u64| Policy::random(&space, 1.0, 1000 + 10 * seed);
        let reward = policy(seed).logits()[..space.answers().len()].to_vec();
        let token_reward = token_rewards(&policy(seed + 100), &policy(seed + 200));
        Self {
            reference: log_probs(&policy(seed + 300)),
            seed,
            rows,
            reward,
            token_reward,
            space,
        }
    }

    /// The answer that each step ends, if it ends one.
    pub(crate) fn ends(&self) -> Vec<Option<usize>> {
        let mut ends = vec![None; self.token_reward.len()];
        for answer in 0..self.rows.len() {
            if let Some(&last) = self.space.steps(answer).last() {
                ends[last] = Some(answer);
            }
        }
        ends
    }

    /// The policy that learning begins with, and is held to.
    pub(crate) fn start(&self) -> Table {
        Table::new(&Policy::random(
            &self.space,
            1.0,
            1000 + 10 * (self.seed + 300),
        ))
    }

    /// The expected reward from each token's state on, along each answer.
    pub(crate) fn values(&self, policy: &[f64], rewards: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let to_go = |answer: usize, from: usize| rewards[answer][from..].iter().sum::<f64>();
        let tokens = |answer: usize| &self.space.answers()[answer].tokens;
        let value = |prefix: &[usize]| {
            let through = (0..policy.len()).filter(|&a| tokens(a).starts_with(prefix));
            let (mut sum, mut mass) = (0.0, 0.0);
            for answer in through {
                sum += policy[answer] * to_go(answer, prefix.len());
                mass += policy[answer];
            }
            sum / mass
        };
        let along = |answer: usize| {
            let all = tokens(answer);
            (0..all.len()).map(|t| value(&all[..t])).collect()
        };
        (0..policy.len()).map(along).collect()
    }
}

/// An answer's log-probability in nats.
pub(crate) fn answer_sum(tokens: &[f32]) -> f64 {
    tokens.iter().copied().map(f64::from).sum()
}

/// A plain policy gradient: leave-one-out, nothing clipped or whitened, k1 in the reward.
pub(crate) fn rloo(beta: f64) -> RlConfig {
    RlConfig {
        num_generations: 4,
        steps_per_generation: 1,
        num_iterations: 1,
        advantage: Advantage::LeaveOneOut,
        loss_type: LossType::Sum,
        importance_sampling_level: ImportanceLevel::Token,
        epsilon: None,
        epsilon_high: None,
        beta,
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
        guards: afd_policy::rl::Guards::default(),
        log_completions_steps: 0,
        lora: None,
    }
}

/// Adam without anything else.
pub(crate) fn adam(learning_rate: f64) -> TrainConfig {
    TrainConfig {
        learning_rate,
        lr_scheduler_type: SchedulerType::Linear,
        warmup_ratio: 0.0,
        num_train_epochs: 1,
        max_steps: 0,
        per_device_train_batch_size: 64,
        gradient_accumulation_steps: 1,
        per_device_eval_batch_size: 64,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.99,
        adam_epsilon: 1e-8,
        gradient_checkpointing: false,
        max_grad_norm: 0.0,
        logging_steps: 1,
        eval_steps: 0,
        save_steps: 0,
        load_best_model_at_end: false,
        early_stopping_patience: 0,
    }
}

/// An answer as it would have been drawn.
pub(crate) fn rollout(row: &TokenRow, log_probs: &[f32]) -> Rollout {
    let ids = row.ids[PROMPT.len()..].to_vec();
    let ended = ids.last() == Some(&0);
    Rollout {
        sample: Sample {
            prompt: String::new(),
            index: 0,
            completion: String::new(),
            completion_ids: ids,
            logprobs: log_probs.to_vec(),
            sampler_logprobs: None,
            finish_reason: if ended { "stop" } else { "length" }.to_owned(),
        },
        row: row.clone(),
    }
}
