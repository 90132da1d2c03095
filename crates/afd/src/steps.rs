//! Which stages of a pipeline run: all, up to one, from one on.

use std::cell::{Cell, RefCell};

use afd_reward::{Architecture, Prompts, pairs::FOLDS};
use afd_stage::{Artifact, RunDir, StageContext};
use serde::Serialize;

use crate::{
    config::{Config, Golden},
    error::Error,
    evaluation, faults, memory, policies,
};

/// Raised when the code of a stage changes what it writes, so that older results are made anew.
pub(crate) const FORMAT: u32 = 11;

/// All stages that a configuration asks for, in the order of the pipeline.
pub(crate) fn names(config: &Config) -> Vec<String> {
    let rewards = config.pairs.names();
    let judge = (config.golden.golden == Golden::Judge).then_some("judge");
    let group = |group: &str, names: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        names.map(|name| format!("{group}/{name}")).collect()
    };
    let learned = || rewards.iter().copied().chain(judge);
    let closed_forms = config.closed_form.variants.keys().map(String::as_str);
    let ranked = rewards.iter().copied().chain([afd_eval::CLOSED_FORM]);
    let mut names = vec!["data".to_owned(), "sft".to_owned()];
    let mut samples = vec!["init-reward".to_owned()];
    match config.pairs.prompts {
        Prompts::Unseen | Prompts::Sft => samples.push("sft-reward".to_owned()),
        Prompts::CrossFitted => {
            let folds = 0..FOLDS.len();
            names.push("folds".to_owned());
            names.extend(folds.clone().map(|fold| format!("sft-without/fold-{fold}")));
            samples.extend(folds.map(|fold| format!("sft-reward-fold-{fold}")));
        }
    }
    samples.extend(["init", "sft"].map(str::to_owned));
    names.extend(group("samples", &mut samples.iter().map(String::as_str)));
    names.extend(group("pairs", &mut learned()));
    if config.reward.0.architecture == Architecture::EmbeddingMlp {
        names.push("embeddings".to_owned());
    }
    names.extend(group("reward", &mut learned()));
    names.extend(group("scores", &mut ranked.chain(closed_forms)));
    names.extend(group("diagnostics", &mut rewards.iter().copied()));
    names.push("policy/best-of-n".to_owned());
    names.extend(policies::stage_names(config));
    names.extend(evaluation::judged_names(config));
    names.extend(evaluation::scorer_names(config));
    names.extend((config.eval.spread_answers > 0).then(|| "spread".to_owned()));
    names.push("eval".to_owned());
    names
}

/// Where to stop, and what to say when a stage fails.
#[derive(Debug)]
pub(crate) struct Steps {
    until: Option<String>,
    reached: Cell<bool>,
    finished: RefCell<Vec<Artifact>>,
    config: Config,
}

/// Why a pipeline ended before its last stage.
pub(crate) enum Stopped {
    /// Because of `--until`.
    AsAsked,
    /// Because a stage failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Steps {
    /// All stages up to `until`, a name or a leading part of names; all when there is none.
    pub(crate) fn until(until: Option<&str>, config: &Config) -> Self {
        Self {
            until: until.map(str::to_owned),
            reached: Cell::new(false),
            finished: RefCell::default(),
            config: config.clone(),
        }
    }

    /// To be called when all stages are behind.
    ///
    /// # Errors
    /// When the stage to stop at was never met: this data gives it nothing to do.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match &self.until {
            Some(until) if !self.reached.get() && until.starts_with("rounds/") => {
                Err(Error::Usage(format!(
                    "this run has no stage `{until}`: the policy's rounds ended before, as its summary.json says"
                )))
            }
            Some(until) if !self.reached.get() => Err(Error::Usage(format!(
                "this run has no stage `{until}`: its data hold no preferences"
            ))),
            _ => Ok(()),
        }
    }

    /// The stages behind, in their order.
    pub(crate) fn finished(&self) -> Vec<Artifact> {
        self.finished.borrow().clone()
    }

    /// Says that the stage `name` is next: whether it is one of those to stop at.
    ///
    /// # Errors
    /// [`Stopped::AsAsked`] when the last wanted stage lies behind.
    pub(crate) fn reach(&self, name: &str) -> Result<bool, Stopped> {
        let wanted = self
            .until
            .as_deref()
            .is_some_and(|until| covers(until, name));
        if self.reached.get() && !wanted && !self.has_wanted_after(name) {
            return Err(Stopped::AsAsked);
        }
        self.reached.set(self.reached.get() || wanted);
        Ok(wanted)
    }

    /// Whether one of the stages to stop at comes after `name`: the stages of a group need not follow
    /// each other.
    fn has_wanted_after(&self, name: &str) -> bool {
        let names = names(&self.config);
        let later = names.iter().skip_while(|known| *known != name);
        self.until
            .as_deref()
            .is_some_and(|until| later.into_iter().any(|later| covers(until, later)))
    }

    /// [`RunDir::stage`], unless the last wanted stage lies behind.
    pub(crate) fn stage<C: Serialize, E>(
        &self,
        run: &RunDir,
        name: &str,
        config: &C,
        inputs: &[&Artifact],
        body: impl FnOnce(&StageContext) -> Result<(), E>,
    ) -> Result<Artifact, Stopped>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.reach(name)?;
        self.make(run, name, config, inputs, body)
    }

    /// [`RunDir::stage`]. A panic within is an error like others: what the stage wrote stays for
    /// the next attempt.
    pub(crate) fn make<C: Serialize, E>(
        &self,
        run: &RunDir,
        name: &str,
        config: &C,
        inputs: &[&Artifact],
        body: impl FnOnce(&StageContext) -> Result<(), E>,
    ) -> Result<Artifact, Stopped>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let task = format!("stage {name} on `{}`", self.config.device);
        let lower = faults::lower(name, &self.config);
        memory::set_last_word(format!("{task} ran out of memory: {lower}"));
        match faults::watch(|| run.stage(name, FORMAT, config, inputs, body)) {
            Ok(result) => {
                let artifact = result?;
                self.finished.borrow_mut().push(artifact.clone());
                Ok(artifact)
            }
            Err(fault) => Err(Stopped::Failed(fault.error(task, lower))),
        }
    }
}

/// Whether `part` is `name` or names a group it belongs to.
pub(crate) fn covers(part: &str, name: &str) -> bool {
    name == part
        || name
            .strip_prefix(part)
            .is_some_and(|rest| rest.starts_with('/'))
}
