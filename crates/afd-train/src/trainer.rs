//! The loop.

use std::{path::Path, time::Instant};

use burn::module::Module;

use crate::{
    BoxError, Error, Objective, Stepper, Sums, TrainConfig,
    average::follow,
    beside::beside,
    checkpoint::{self, TrainerState},
    objective::collate,
    schedule::learning_rate,
};

/// The examples of each optimiser step of an epoch, as micro-batches: a pure function of
/// the epoch, so that a resumed run sees what an uninterrupted one would. Every epoch has as many steps.
pub type Plan<'a> = dyn Fn(u64) -> Vec<Vec<Vec<usize>>> + Sync + 'a;

/// Takes the named numbers of a step.
pub type Log<'a> = dyn Fn(u64, &[(&str, f64)]) -> Result<(), BoxError> + 'a;

/// How the loop reaches disk and people.
pub struct Hooks<'a, M> {
    /// Where checkpoints are kept; what is found there is resumed from.
    pub dir: &'a Path,
    /// Writes a model (without gradients) into a directory.
    pub save: &'a dyn Fn(&M, &Path) -> Result<(), BoxError>,
    /// Reads a model (without gradients) from a directory [`Self::save`] wrote.
    pub load: &'a dyn Fn(&Path) -> Result<M, BoxError>,
    /// Where metrics go.
    pub log: &'a Log<'a>,
    /// Told the step resumed from, so that metrics logged after it can be dropped.
    pub resumed: &'a dyn Fn(u64) -> Result<(), BoxError>,
    /// Told after each step: steps done, steps in all, tokens of the step, a short note.
    pub progress: &'a dyn Fn(u64, u64, u64, &str),
    /// Copies of the model from under way.
    pub snapshots: Snapshots<'a, M>,
}

/// Copies of the model (without gradients) from under way.
pub struct Snapshots<'a, M> {
    /// Which shares of the planned steps are then behind; each above 0 and below 1.
    pub shares: &'a [f64],
    /// Keeps a copy. What an earlier attempt kept may be written again, the same.
    pub write: &'a dyn Fn(M, f64) -> Result<(), BoxError>,
    /// Have a moving average of the weights, which the outcome holds: after each step it is this much
    /// of itself and the rest of the model. It begins as the model does, and takes the memory of what
    /// is trained once more.
    pub moving_average: Option<f64>,
}

impl<M> Snapshots<'_, M> {
    /// No copies.
    pub fn none() -> Self {
        Self {
            shares: &[],
            write: &|_, _| Ok(()),
            moving_average: None,
        }
    }

    /// The shares whose step this is.
    fn due(&self, step: u64, total: u64) -> impl Iterator<Item = f64> {
        let at = move |share: f64| (share * total as f64).round().max(1.0) as u64;
        self.shares
            .iter()
            .copied()
            .filter(move |&share| at(share) == step)
    }
}

/// A finished training.
#[derive(Debug)]
pub struct Outcome<M> {
    /// The trained model, without gradients.
    pub model: M,
    /// The moving average of its weights, if one was asked for.
    pub moving_average: Option<M>,
    /// Optimiser steps done.
    pub steps: u64,
    /// Evaluation loss of the returned model, if there was anything to evaluate on.
    pub eval_loss: Option<f64>,
}

/// Minimises `objective` over its examples with AdamW.
///
/// `model` comes without gradients and goes back so. `evaluation` holds another objective
/// and its batches; its weighted mean loss picks the best model. While a step is under way another thread
/// puts the next one's batches together, and plans the next epoch.
///
/// Departures from transformers' `Trainer`: the mean is over all target tokens of an
/// optimiser step and not per micro-batch; vectors (norms) are the only parameters
/// without weight decay, there being no biases.
///
/// # Errors
/// [`Error::NonFinite`] as soon as a loss or gradient is NaN or infinite,
/// [`Error::NoTargets`] when a step's weights are zero, [`Error::Device`] when the device fails in
/// the last step (earlier it panics), [`Error::Hook`] from the hooks.
pub fn train<M: Module, O: Objective<M>>(
    model: M,
    objective: &O,
    plan: &Plan<'_>,
    evaluation: Option<(&O, &[Vec<usize>])>,
    config: &TrainConfig,
    hooks: &Hooks<'_, M>,
) -> Result<Outcome<M>, Error> {
    let first_epoch = plan(0);
    let per_epoch = first_epoch.len() as u64;
    let epochs = per_epoch.saturating_mul(config.num_train_epochs);
    let total = match config.max_steps {
        0 => epochs,
        limit => limit.min(epochs),
    };
    if total == 0 {
        return Err(Error::NoTargets);
    }

    let decay = hooks.snapshots.moving_average;
    let mut average = decay.map(|_| model.clone());
    let stepper = Stepper::new(model, config);
    let (mut stepper, state) = stepper.resume(hooks.dir, |path| {
        if average.is_some() {
            average = Some((hooks.load)(&checkpoint::average_dir(path))?);
        }
        (hooks.load)(path)
    })?;
    let mut state: TrainerState = state.unwrap_or_default();
    (hooks.resumed)(state.global_step)?;

    let collator = objective.collator(stepper.model());
    let mut batches = steps_from(plan, first_epoch, state.global_step, total)
        .map(|examples| collate(objective, &collator, examples));
    let mut next = batches.next();
    let mut clock = Clock::start(&state);
    while let Some(micro_batches) = next.take()
        && !state.stopped
    {
        let step = state.global_step;
        let rate = learning_rate(config, step, total);
        let stepped;
        (stepper, stepped) = beside(
            || next = batches.next(),
            || stepper.step_on(objective, micro_batches, rate, step),
        )?;
        if let (Some(decay), Some(last)) = (decay, average.take()) {
            average = Some(follow(last, stepper.model(), decay));
        }
        state.global_step += 1;
        state.num_input_tokens_seen += stepped.tokens;
        state.running.add(stepped.sums);
        let note = format!("loss {:.4}", state.running.mean("loss"));
        (hooks.progress)(state.global_step, total, stepped.tokens, &note);

        for share in hooks.snapshots.due(state.global_step, total) {
            (hooks.snapshots.write)(stepper.valid(), share)?;
        }

        let is_last = state.global_step == total;
        let evaluation = evaluation.filter(|_| is_last || is_due(step + 1, config.eval_steps));
        let evaluated = evaluation.map(|(objective, batches)| {
            let valid = stepper.valid();
            let means = evaluate(&valid, objective, batches);
            (valid, means)
        });
        if let Some((valid, means)) = &evaluated {
            note_evaluation(&mut state, valid, means, config, hooks)?;
        }
        let is_over = is_last || state.stopped;
        if is_over || is_due(step + 1, config.logging_steps) {
            let means = state.running.means();
            let mut line: Vec<(String, f64)> = means
                .map(|(name, mean)| (format!("train/{name}"), mean))
                .collect();
            line.extend([
                ("train/grad_norm".into(), stepped.grad_norm),
                ("train/learning_rate".into(), rate),
                ("train/epoch".into(), (step + 1) as f64 / per_epoch as f64),
                ("perf/tokens_per_sec".into(), clock.lap(&state)),
            ]);
            log(hooks, step + 1, &line)?;
            state.running.clear();
        }
        if let Some((_, means)) = &evaluated {
            let line: Vec<_> = means
                .iter()
                .map(|(name, value)| (format!("eval/{name}"), *value))
                .collect();
            log(hooks, step + 1, &line)?;
        }
        if config.save_steps > 0 && (is_over || is_due(step + 1, config.save_steps)) {
            stepper.save(hooks.dir, state.global_step, &state, |model, dir| {
                (hooks.save)(model, dir)?;
                let Some(average) = &average else {
                    return Ok(());
                };
                let beside = checkpoint::average_dir(dir);
                std::fs::create_dir_all(&beside)?;
                (hooks.save)(average, &beside)
            })?;
        }
    }

    let model = match (config.load_best_model_at_end, state.best) {
        (true, Some(_)) => (hooks.load)(&checkpoint::best_dir(hooks.dir))?,
        _ => stepper.valid(),
    };
    // The last step may still be under way: what goes wrong in it is this function's error, and a
    // driver whose process ends meanwhile may crash.
    stepper.sync()?;
    Ok(Outcome {
        model,
        moving_average: average,
        steps: state.global_step,
        eval_loss: match config.load_best_model_at_end {
            true => state.best.map(|(loss, _)| loss),
            false => state.last_eval_loss,
        },
    })
}

/// The micro-batches of the steps from `first` to before `total`. The first epoch has been planned.
fn steps_from<'a>(
    plan: &'a Plan<'a>,
    first_epoch: Vec<Vec<Vec<usize>>>,
    first: u64,
    total: u64,
) -> impl Iterator<Item = Vec<Vec<usize>>> + Send + 'a {
    let per_epoch = first_epoch.len() as u64;
    let mut planned = Some(first_epoch);
    let steps_of = move |epoch| match planned.take() {
        Some(first_epoch) if epoch == 0 => first_epoch,
        _ => plan(epoch),
    };
    (first / per_epoch..)
        .flat_map(steps_of)
        .skip((first % per_epoch) as usize)
        .take(total.saturating_sub(first) as usize)
}

/// Takes note of an evaluation: whether it is the best, and whether patience is at its end.
fn note_evaluation<M>(
    state: &mut TrainerState,
    model: &M,
    means: &[(String, f64)],
    config: &TrainConfig,
    hooks: &Hooks<'_, M>,
) -> Result<(), Error> {
    let loss = means.iter().find(|(name, _)| name == "loss");
    let loss = loss.map_or(f64::NAN, |(_, loss)| *loss);
    if !loss.is_finite() {
        return Err(Error::NonFinite {
            what: "evaluation loss",
            step: state.global_step,
        });
    }
    state.last_eval_loss = Some(loss);
    if state.best.is_none_or(|(best, _)| loss < best) {
        state.best = Some((loss, state.global_step));
        state.evals_without_best = 0;
        if config.load_best_model_at_end {
            checkpoint::save_best(hooks.dir, |dir| (hooks.save)(model, dir))?;
        }
    } else {
        state.evals_without_best += 1;
        state.stopped = config.early_stopping_patience > 0
            && state.evals_without_best >= config.early_stopping_patience;
    }
    Ok(())
}

/// Time and tokens since the last logged step.
struct Clock {
    start: Instant,
    tokens: u64,
}

impl Clock {
    fn start(state: &TrainerState) -> Self {
        Self {
            start: Instant::now(),
            tokens: state.num_input_tokens_seen,
        }
    }

    /// Tokens a second since the start, which is now.
    fn lap(&mut self, state: &TrainerState) -> f64 {
        let tokens = (state.num_input_tokens_seen - self.tokens) as f64;
        let seconds = self.start.elapsed().as_secs_f64();
        *self = Self::start(state);
        tokens / seconds.max(1e-9)
    }
}

/// The weighted means of an objective over `batches`, without gradients: `loss` and its
/// further metrics. While a batch is read another thread puts the next one together.
pub fn evaluate<M, O: Objective<M>>(
    model: &M,
    objective: &O,
    batches: &[Vec<usize>],
) -> Vec<(String, f64)> {
    let collator = objective.collator(model);
    let mut batches = batches
        .iter()
        .map(|examples| (examples, objective.batch(&collator, examples)));
    let mut sums = Sums::default();
    let mut next = batches.next();
    while let Some((examples, batch)) = next.take() {
        let read = || {
            let loss = objective.loss(model, examples, batch, None);
            (f64::from(loss.sum.into_scalar::<f32>()), loss.metrics)
        };
        let (value, metrics) = beside(|| next = batches.next(), read);
        let weight = examples.iter().map(|&i| objective.weight(i)).sum();
        sums.add(Sums::new(
            weight,
            [("loss", value)].into_iter().chain(metrics),
        ));
    }
    let means = sums.means();
    means.map(|(name, mean)| (name.to_owned(), mean)).collect()
}

fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

fn log<M>(hooks: &Hooks<'_, M>, step: u64, line: &[(String, f64)]) -> Result<(), Error> {
    let line: Vec<(&str, f64)> = line.iter().map(|(name, v)| (name.as_str(), *v)).collect();
    Ok((hooks.log)(step, &line)?)
}
