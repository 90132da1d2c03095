//! A model and its optimiser between two steps: what loops are built on.

use std::path::Path;

use burn::{
    module::{Module, ParamGroup},
    optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    BoxError, Error, Objective, Sums, TrainConfig,
    adamw::FusedAdamW,
    checkpoint, gradients,
    objective::{MicroBatch, collate},
};

/// A model in training, one optimiser step at a time.
///
/// [`crate::train`] is a loop over it with a fixed list of examples; a loop whose examples come up
/// on the way, such as a policy's own answers, has its own.
pub struct Stepper<M> {
    model: M,
    optimizer: ModuleOptimizer,
    max_grad_norm: f64,
}

/// What a step did.
#[derive(Debug)]
pub struct Stepped {
    /// The loss and the objective's further metrics, before the step.
    pub sums: Sums,
    /// Norm of all gradients together, before they were clipped.
    pub grad_norm: f64,
    /// Tokens read.
    pub tokens: u64,
}

impl<M: Module> Stepper<M> {
    /// AdamW as `config` has it, at its beginning, on a model that comes without gradients.
    pub fn new(model: M, config: &TrainConfig) -> Self {
        Self {
            optimizer: optimizer(&model, config),
            max_grad_norm: config.max_grad_norm,
            model: model.train(),
        }
    }

    /// Where [`save`](Self::save) left off, and the state it was given; this stepper itself, and no
    /// state, if there is nothing in `dir`. `load` reads the model from the checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is damaged, [`Error::Hook`] from `load`.
    pub fn resume<S: DeserializeOwned>(
        self,
        dir: &Path,
        load: impl FnOnce(&Path) -> Result<M, BoxError>,
    ) -> Result<(Self, Option<S>), Error> {
        let Some(path) = checkpoint::latest(dir) else {
            return Ok((self, None));
        };
        let (stepper, state) = self.read(&path, load)?;
        Ok((stepper, Some(state)))
    }

    /// What [`write`](Self::write) wrote into `dir`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is damaged, [`Error::Hook`] from `load`.
    pub fn read<S: DeserializeOwned>(
        self,
        dir: &Path,
        load: impl FnOnce(&Path) -> Result<M, BoxError>,
    ) -> Result<(Self, S), Error> {
        let (state, optimizer) = checkpoint::load(dir, self.optimizer)?;
        let stepper = Self {
            model: load(dir)?.train(),
            optimizer,
            max_grad_norm: self.max_grad_norm,
        };
        Ok((stepper, state))
    }

    /// The model, with gradients.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, without gradients.
    pub fn valid(&self) -> M {
        self.model.valid()
    }

    /// One step at the rate `rate` down the gradient of `Σ loss / Σ weight` over all micro-batches.
    /// `number` tells this step's draws from all others'. The weights change in place, where nobody
    /// else holds them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a loss or gradient is NaN or infinite, [`Error::NoTargets`] when the
    /// weights are zero.
    pub fn step<O: Objective<M>>(
        self,
        objective: &O,
        micro_batches: &[Vec<usize>],
        rate: f64,
        number: u64,
    ) -> Result<(Self, Stepped), Error> {
        let collator = objective.collator(&self.model);
        let micro_batches = collate(objective, &collator, micro_batches.to_vec());
        self.step_on(objective, micro_batches, rate, number)
    }

    /// [`Self::step`] on examples that have been put together.
    pub(crate) fn step_on<O: Objective<M>>(
        mut self,
        objective: &O,
        micro_batches: Vec<MicroBatch<O::Batch>>,
        rate: f64,
        number: u64,
    ) -> Result<(Self, Stepped), Error> {
        let (grads, sums, tokens) = accumulate(&self.model, objective, micro_batches, number)?;
        let (grads, grad_norm) = gradients::clip(&self.model, grads, self.max_grad_norm);
        if !grad_norm.is_finite() {
            return Err(Error::NonFinite {
                what: "gradient norm",
                step: number + 1,
            });
        }
        self.model = self.optimizer.step(rate, self.model, grads);
        let stepped = Stepped {
            sums,
            grad_norm,
            tokens,
        };
        Ok((self, stepped))
    }

    /// Keeps `dir/checkpoint-STEP`, whole or not at all, and removes the one before it. `state` is
    /// the loop's own, which [`resume`](Self::resume) gives back; `save_model` writes the model.
    ///
    /// # Errors
    /// [`Error::Write`], and [`Error::Hook`] from `save_model`.
    pub fn save<S: Serialize>(
        &self,
        dir: &Path,
        step: u64,
        state: &S,
        save_model: impl FnOnce(&M, &Path) -> Result<(), BoxError>,
    ) -> Result<(), Error> {
        checkpoint::save(dir, step, |dir| self.write(dir, state, save_model))
    }

    /// Writes all of it into `dir`: the model by `save_model`, the optimiser, and the loop's `state`. For
    /// a model that learns beside another, whose checkpoint it belongs to.
    ///
    /// # Errors
    /// [`Error::Write`], and [`Error::Hook`] from `save_model`.
    pub fn write<S: Serialize>(
        &self,
        dir: &Path,
        state: &S,
        save_model: impl FnOnce(&M, &Path) -> Result<(), BoxError>,
    ) -> Result<(), Error> {
        save_model(&self.model.valid(), dir)?;
        checkpoint::write(dir, state, &self.optimizer)
    }

    /// Waits for the last step to be done.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails in it.
    pub fn sync(&self) -> Result<(), Error> {
        for device in self.model.devices() {
            device
                .sync()
                .map_err(|error| Error::Device(error.to_string()))?;
        }
        Ok(())
    }
}

fn optimizer<M: Module>(model: &M, config: &TrainConfig) -> ModuleOptimizer {
    let undecayed = ParamGroup::from_ids(gradients::undecayed(model));
    ModuleOptimizer::from(FusedAdamW::new(config, config.weight_decay)).with_group(
        undecayed,
        FusedAdamW::new(config, 0.0),
        None,
    )
}

/// The gradient of `Σ loss / Σ weight` over all micro-batches, the sums, and the tokens read.
fn accumulate<M: Module, O: Objective<M>>(
    model: &M,
    objective: &O,
    micro_batches: Vec<MicroBatch<O::Batch>>,
    step: u64,
) -> Result<(GradientsParams, Sums, u64), Error> {
    let weigh = |examples: &[usize]| examples.iter().map(|&i| objective.weight(i)).sum();
    let weights: Vec<f64> = micro_batches.iter().map(|b| weigh(&b.examples)).collect();
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Err(Error::NoTargets);
    }
    let mut accumulator = GradientsAccumulator::new();
    let (mut sums, mut tokens) = (Sums::default(), 0);
    for (index, (MicroBatch { examples, batch }, weight)) in
        micro_batches.into_iter().zip(weights).enumerate()
    {
        // Steps of an epoch may differ in their number of micro-batches, but not by so much.
        let draw = (step << 20) + index as u64;
        let loss = objective.loss(model, &examples, batch, Some(draw));
        let value = f64::from(loss.sum.clone().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(Error::NonFinite {
                what: "loss",
                step: step + 1,
            });
        }
        let named = [("loss", value)].into_iter().chain(loss.metrics);
        sums.add(Sums::new(weight, named));
        tokens += examples.iter().map(|&i| objective.tokens(i)).sum::<u64>();
        let grads = loss.sum.div_scalar(total).backward();
        accumulator.accumulate(model, GradientsParams::from_grads(grads, model));
    }
    Ok((accumulator.grads(), sums, tokens))
}
