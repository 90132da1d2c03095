//! The loop: draw, look, weigh, step.

use afd_backend::Placement;
use afd_data::Tokenizer;
use afd_model::{CausalLm, Pretrained, SaveOptions, SequenceClassifier};
use afd_stage::StageContext;
use afd_train::{Stepper, Sums, TrainConfig, latest_checkpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    account::{self, Account},
    anchor::{Anchored, PTX},
    config::RlConfig,
    guards::Watch,
    kl::adapted,
    learner::{Learner, Plan, RlInputs},
    objective::PolicyGradient,
    prepare::{Seen, prepare, refuse_constant},
    rollout::Rollout,
};
use crate::{Error, SampleConfig};

/// Learns, and leaves the policy as a Hugging Face directory in the stage's directory. Killed at any
/// moment and called again, it ends with the same policy.
///
/// When a guard stops it, the policy is the one of the last checkpoint, which the guards had passed, or
/// the one it began with; `summary.json` says so.
///
/// # Errors
/// On unreadable inputs, a reference of another vocabulary, fewer prompts than a batch needs, a reward
/// that tells no two answers apart, a checkpoint without its value model, and a training that diverges.
pub fn run(
    config: &RlConfig,
    train: &TrainConfig,
    sample: &SampleConfig,
    inputs: &RlInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let learner = Learner::new(config, train, sample, inputs, placement, ctx)?;
    let (policy, summary) = learn(&learner)?;
    policy.save_trained(inputs.policy, save, ctx.dir())?;
    Tokenizer::open(inputs.policy, inputs.form)?.save(ctx.dir())?;
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// Where the loop stands before a batch of answers is drawn: with the seed, all it needs to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// Batches of answers learned from.
    batch: u64,
    /// Optimiser steps done.
    step: u64,
    /// Tokens of the answers learned from.
    generated: u64,
    /// Coefficient of the KL term.
    beta: f64,
    watch: Watch,
    /// What guards said that were only to warn.
    warnings: Vec<String>,
}

/// All that changes while the policy learns.
struct Training {
    policy: Stepper<CausalLm>,
    value: Option<Stepper<SequenceClassifier>>,
    state: State,
    /// The step of the last checkpoint; 0 if there is none.
    saved: u64,
}

/// A batch of answers of the policy as it is.
struct Look {
    rollouts: Vec<Rollout>,
    plan: Plan,
    seen: Seen,
    account: Account,
    held_out: Option<(f64, f64)>,
    /// What a guard says that stops the training.
    alarm: Option<String>,
}

/// The trained policy, and what is to be told of it.
fn learn(learner: &Learner<'_>) -> Result<(CausalLm, Value), Error> {
    let mut training = Training::begin(learner)?;
    learner.ctx.metrics().truncate_after(training.state.step)?;
    loop {
        let before = training.state.clone();
        let look = training.look(learner)?;
        let state = &training.state;
        if let Some(alarm) = &look.alarm {
            log(learner, state, &look, None)?;
            let (policy, step) = match latest_checkpoint(learner.ctx.dir()) {
                Some(path) => (learner.load(&path)?, training.saved),
                None => (learner.start.clone(), 0),
            };
            let told = summary(learner, state, &look.account, Some(alarm), step);
            return Ok((policy, told));
        }
        if state.batch == learner.batches {
            log(learner, state, &look, None)?;
            training.policy.sync()?;
            let told = summary(learner, state, &look.account, None, state.step);
            return Ok((training.policy.valid(), told));
        }
        if due(training.saved, state.step, learner.train.save_steps) {
            // With the state from before this look, which a resumed run takes again.
            let value = training.value.as_ref();
            learner.save(&training.policy, value, state.step, &before)?;
            training.saved = state.step;
        }
        write_completions(learner, state, &look)?;
        training = training.steps(learner, look)?;
    }
}

impl Training {
    /// From the last checkpoint, or from the beginning.
    fn begin(learner: &Learner<'_>) -> Result<Self, Error> {
        let mut policy = Stepper::new(learner.start.clone(), learner.train);
        let mut value = learner.value_model()?;
        let mut state = State {
            beta: learner.config.beta,
            ..State::default()
        };
        if let Some(path) = latest_checkpoint(learner.ctx.dir()) {
            (policy, state) = policy.read(&path, |dir| Ok(learner.load(dir)?))?;
            value = value
                .map(|model| learner.read_value(model, &path))
                .transpose()?;
        }
        Ok(Self {
            saved: state.step,
            policy,
            value,
            state,
        })
    }

    /// Draws the next batch of answers and looks at it.
    fn look(&mut self, learner: &Learner<'_>) -> Result<Look, Error> {
        let (policy, config) = (self.policy.valid(), learner.config);
        let rollouts = learner.draw(&policy, self.state.batch)?;
        let plan = learner.plan(&rollouts, self.state.batch);
        let seen = learner.see(&policy, self.value.as_ref(), &rollouts, &plan)?;
        if self.state.batch == 0 {
            refuse_constant(&seen.rewards, config.num_generations)?;
        }
        let account = Account::of(&rollouts, &seen.old, &seen.reference, &seen.rewards);
        learner.check_gap(&account, self.state.step)?;
        let held_out = learner.held_out(&rollouts)?;
        let found = self.state.watch.look(&config.guards, &account, held_out);
        let mut alarm = found.map(|found| format!("step {}: {found}", self.state.step));
        if let Some(text) = &alarm {
            tracing::warn!("{text}");
            if config.guards.warn_only {
                self.state.warnings.extend(alarm.take());
            }
        }
        Ok(Look {
            rollouts,
            plan,
            seen,
            account,
            held_out,
            alarm,
        })
    }

    /// Learns from a batch of answers.
    fn steps(mut self, learner: &Learner<'_>, look: Look) -> Result<Self, Error> {
        let (config, account) = (learner.config, look.account);
        let batch = prepare(config, self.state.beta, &look.rollouts, look.seen.clone());
        let objective = PolicyGradient {
            batch: &batch,
            config,
            beta: self.state.beta,
            max_completion_length: learner.sample.max_completion_length,
        };
        let warmup = config
            .value
            .as_ref()
            .map_or(0, |value| value.warmup_batches);
        let first = self.state.step;
        let (mut sums, mut value_sums) = (Sums::default(), Sums::default());
        let mut grad_norm = f64::NAN;
        let drawn: usize = look.rollouts.iter().map(Rollout::tokens).sum();
        self.state.generated += drawn as u64;
        learner.ctx.add_tokens(drawn as u64);
        for micro_batches in &look.plan {
            let step = self.state.step;
            // Where every answer of the step is left out there is no direction to take.
            let counts = |&i: &usize| batch.weights[i] > 0.0;
            if self.state.batch >= warmup && micro_batches.iter().flatten().any(counts) {
                let stepped;
                let rate = learner.rate(step);
                let demonstrations = learner.demonstrations_of(step, batch.rows.len());
                let weights = micro_batches
                    .iter()
                    .flatten()
                    .map(|&i| objective.answer_weight(i));
                let anchored = Anchored {
                    objective: &objective,
                    examples: batch.rows.len(),
                    demonstrations: &learner.demonstrations,
                    coefficient: config.ptx_coef.unwrap_or_default(),
                    share: weights.sum::<f64>()
                        / demonstrations.iter().flatten().count().max(1) as f64,
                };
                let all = [micro_batches.as_slice(), demonstrations.as_slice()].concat();
                (self.policy, stepped) = self.policy.step(&anchored, &all, rate, step)?;
                learner.ctx.add_tokens(stepped.tokens);
                sums.add(stepped.sums);
                grad_norm = stepped.grad_norm;
            }
            if let Some(value) = self.value {
                let (value, fitted) = learner.fit_value(value, &batch, micro_batches, step)?;
                value_sums.add(fitted);
                self.value = Some(value);
            }
            self.state.step += 1;
            let note = format!("reward {:.3}, KL {:.2}", account.score, account.kl);
            let (step, total) = (self.state.step, learner.steps());
            learner.ctx.progress(step, total, "step", &note);
        }
        if due(first, self.state.step, learner.train.logging_steps) {
            let value_loss = value_sums.mean("loss");
            let steps = (&sums, grad_norm, value_loss);
            log(learner, &self.state, &look, Some(steps))?;
        }
        if self.state.batch >= warmup
            && let (Some(target), Some(horizon)) = (config.kl_target, config.kl_horizon)
        {
            let (beta, answers) = (self.state.beta, learner.answers);
            self.state.beta = adapted(beta, account.kl, target, answers, horizon);
        }
        self.state.batch += 1;
        Ok(self)
    }
}

/// Logs a batch, and the steps on it if any were taken, under the step they end at.
fn log(
    learner: &Learner<'_>,
    state: &State,
    look: &Look,
    steps: Option<(&Sums, f64, f64)>,
) -> Result<(), Error> {
    let mut line = look.account.metrics(state.beta);
    if let Some((mean, _)) = look.held_out {
        line.push(("objective/held_out_scores", mean));
    }
    if let Some((sums, grad_norm, value_loss)) = steps {
        let anchored = learner.config.ptx_coef.map_or(0.0, |c| c * sums.mean(PTX));
        line.extend([
            // What demonstrations add is told apart.
            ("loss/policy_avg", sums.mean("loss") - anchored),
            (account::APPROX_KL, sums.mean(account::APPROX_KL)),
            (account::CLIP_FRAC, sums.mean(account::CLIP_FRAC)),
            (account::RATIO, sums.mean(account::RATIO)),
            (PTX, sums.mean(PTX)),
            ("loss/value_avg", value_loss),
            ("train/grad_norm", grad_norm),
            (
                "train/learning_rate",
                learner.rate(state.step.saturating_sub(1)),
            ),
        ]);
    }
    // While only the value model learns there is nothing to say of the policy's steps.
    line.retain(|(_, value)| value.is_finite());
    Ok(learner.ctx.metrics().log(state.step, &line)?)
}

/// What is told of a training, `policy_of_step` being the step of the policy that it left.
fn summary(
    learner: &Learner<'_>,
    state: &State,
    account: &Account,
    stopped: Option<&str>,
    policy_of_step: u64,
) -> Value {
    json!({
        "steps": state.step,
        "answers": state.batch * learner.answers as u64,
        "generated_tokens": state.generated,
        "stopped": stopped,
        "policy_of_step": policy_of_step,
        "warnings": state.warnings,
        "beta": state.beta,
        // Whether initial policy, start and what was learned were one base with adapters.
        "shared_base": learner.inputs.stacked.is_some(),
        // Of the policy that a guard stopped, where one did: not of the one that is kept.
        "last_batch": {
            "kl": account.kl,
            "score": account.score,
            "entropy": account.entropy,
            "mean_length": account.length,
            "eos_rate": account.eos_rate,
        },
    })
}

/// Writes a batch's answers down, for people to read, if it is time.
fn write_completions(learner: &Learner<'_>, state: &State, look: &Look) -> Result<(), Error> {
    let after = state.step + learner.config.steps_per_batch();
    if !due(state.step, after, learner.config.log_completions_steps) {
        return Ok(());
    }
    let sum = |tokens: &[f32]| tokens.iter().copied().map(f64::from).sum::<f64>();
    let mut text = String::new();
    for (index, rollout) in look.rollouts.iter().enumerate() {
        let row = json!({
            "step": state.step,
            "prompt": rollout.sample.prompt,
            "completion": rollout.sample.completion,
            "reward": look.seen.rewards[index].iter().sum::<f64>(),
            "kl": sum(&look.seen.old[index]) - sum(&look.seen.reference[index]),
            "finish_reason": rollout.sample.finish_reason,
        });
        text += &format!("{row}\n");
    }
    let file = format!("completions/step-{}.jsonl", state.step);
    Ok(learner.ctx.write(&file, text.as_bytes())?)
}

/// Whether a multiple of `every` lies above `before` and not above `after`.
fn due(before: u64, after: u64, every: u64) -> bool {
    every > 0 && after / every > before / every
}
