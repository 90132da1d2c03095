//! Each stage of the pipeline: its key, its inputs and the library call that fills it.

use std::path::{Path, PathBuf};

use afd_backend::Placement;
use afd_data::{DialogueForm, Tokenizer};
use afd_eval::EvalInputs;
use afd_model::Scorer;
use afd_policy::{best_of_n, sample};
use afd_reward::{
    ClassifierScorer, closed_form,
    learn::{self, RewardInputs},
    pairs::{self, PairInputs, PairSource},
    score,
};
use afd_sft::SftInputs;
use afd_stage::{Artifact, RunDir, StageContext, source_artifact};

use crate::{
    config::{Config, DataSource},
    error::Error,
    rows,
    steps::{Steps, Stopped},
};

/// What all stages have in common.
pub(crate) struct Stages<'a> {
    pub(crate) config: &'a Config,
    pub(crate) run: &'a RunDir,
    pub(crate) steps: &'a Steps,
    pub(crate) placement: &'a Placement,
}

/// Artefacts by the name of their reward.
type Named = [(&'static str, Artifact)];

impl Stages<'_> {
    /// Rows from the world or a file, de-duplicated, filtered and split by prompt.
    pub(crate) fn data(&self, initial: &Artifact) -> Result<Artifact, Stopped> {
        let (config, data) = (self.config, &self.config.data);
        let mut inputs = vec![initial];
        let file;
        if data.source == DataSource::File {
            file = source_artifact(&data.path).map_err(Error::from)?;
            inputs.push(&file);
        }
        let key = (
            (data.source, &data.split, &data.max_rows),
            (data.max_prompt_length, data.max_completion_length),
            (data.min_completion_length, &config.read),
            (data.source == DataSource::World).then_some(&config.world),
            data.dialogue_form,
            // Rows are told by the file's name, and its ending may pick the reader.
            data.path.file_name().map(|name| name.to_string_lossy()),
        );
        let body = |ctx: &StageContext| {
            let tokenizer = Tokenizer::open(initial.path(), data.dialogue_form)?;
            let prepare = data.prepare(ctx.seed());
            match data.source {
                DataSource::World => {
                    let rows = rows::world(&config.world, ctx.seed()).map(Ok);
                    afd_data::prepare(rows, &prepare, &tokenizer, ctx.dir())?;
                }
                DataSource::File => {
                    let rows = afd_data::open_with(&data.path, &config.read, tokenizer.chat())?;
                    afd_data::prepare(rows, &prepare, &tokenizer, ctx.dir())?;
                }
            }
            Ok::<(), Error>(())
        };
        self.steps.stage(self.run, "data", &key, &inputs, body)
    }

    /// The fine-tuned policy.
    pub(crate) fn sft(&self, initial: &Artifact, data: &Artifact) -> Result<Artifact, Stopped> {
        let (sft, train) = &self.config.sft;
        // Training holds f32 weights whatever `precision.params` says, but for frozen ones.
        let model = &self.config.model;
        let saved = (model.save_dtype, &model.max_shard_size);
        let held = sft.lora.is_some().then_some(self.config.precision.params);
        let compute = (self.config.precision.compute, held);
        let key = (sft, train, compute, saved, self.form());
        self.steps
            .stage(self.run, "sft", &key, &[initial, data], |ctx| {
                let inputs = SftInputs {
                    model: initial.path(),
                    model_name: initial.name(),
                    form: self.form(),
                    demonstrations: &data.file("sft.jsonl"),
                    validation: &data.file("validation.jsonl"),
                };
                afd_sft::run(sft, train, &inputs, self.placement, model.save(), ctx)
            })
    }

    /// `count` answers of `policy` to each of `prompts`, a file of `data`.
    pub(crate) fn answers(
        &self,
        name: &str,
        policy: &Artifact,
        data: &Artifact,
        prompts: &Path,
        count: usize,
    ) -> Result<Artifact, Stopped> {
        let sample = &self.config.sample;
        let key = (sample, count, self.config.precision, self.form());
        self.steps
            .stage(self.run, name, &key, &[policy, data], |ctx| {
                let policy = policy.path();
                sample::run(
                    sample,
                    count,
                    policy,
                    prompts,
                    self.form(),
                    self.placement,
                    ctx,
                )
            })
    }

    /// The pairs of `source`, and the name of the reward model they are for.
    pub(crate) fn pairs(
        &self,
        source: PairSource,
        data: &Artifact,
        init: &Artifact,
        sft: &Artifact,
    ) -> Result<(&'static str, Artifact), Stopped> {
        let files = PairInputs {
            examples: data.file("reward.jsonl"),
            init_samples: Some(init.file(sample::SAMPLES)),
            sft_samples: Some(sft.file(sample::SAMPLES)),
        };
        let name = format!("pairs/{}", source.name());
        let inputs = [data, init, sft];
        let pairs = self.steps.stage(self.run, &name, &source, &inputs, |ctx| {
            pairs::run(source, &files, ctx)
        })?;
        Ok((source.name(), pairs))
    }

    /// Preferences of the split that nothing else sees.
    pub(crate) fn judge_pairs(&self, data: &Artifact) -> Result<Artifact, Stopped> {
        let files = PairInputs {
            examples: data.file("judge.jsonl"),
            init_samples: None,
            sft_samples: None,
        };
        self.steps
            .stage(self.run, "pairs/judge", &(), &[data], |ctx| {
                pairs::run(PairSource::Preference, &files, ctx)
            })
    }

    /// A reward model, started from the initial policy's decoder.
    pub(crate) fn reward(
        &self,
        name: &str,
        initial: &Artifact,
        pairs: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let (reward, train) = &self.config.reward;
        let model = &self.config.model;
        let saved = (model.save_dtype, &model.max_shard_size);
        let held = reward
            .lora
            .is_some()
            .then_some(self.config.precision.params);
        let compute = (self.config.precision.compute, held);
        let key = (reward, train, compute, saved, self.form());
        let (name, inputs) = (format!("reward/{name}"), [initial, pairs]);
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            let inputs = RewardInputs {
                model: initial.path(),
                model_name: initial.name(),
                form: self.form(),
                pairs: &pairs.file(pairs::PAIRS),
            };
            learn::run(reward, train, &inputs, self.placement, model.save(), ctx)
        })
    }

    /// What a reward model thinks of stored answers.
    pub(crate) fn scores(
        &self,
        name: &str,
        reward_model: &Artifact,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let (name, inputs) = (format!("scores/{name}"), [reward_model, samples]);
        let batch = self.batch();
        let key = (batch, self.config.precision, self.form());
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            let samples = samples.file(sample::SAMPLES);
            let model = reward_model.path();
            score::run(model, &samples, batch, self.form(), self.placement, ctx)
        })
    }

    /// What the closed form thinks of stored answers of the fine-tuned policy.
    pub(crate) fn closed_form(
        &self,
        initial: &Artifact,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let (name, inputs) = ("scores/closed-form", [initial, samples]);
        let batch = self.batch();
        let key = (batch, self.config.precision, self.form());
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let samples = samples.file(sample::SAMPLES);
            let initial = initial.path();
            closed_form::run(initial, &samples, batch, self.form(), self.placement, ctx)
        })
    }

    /// The best of N stored answers by each reward.
    pub(crate) fn best_of_n(
        &self,
        scores: &Named,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let key = &self.config.best_of_n;
        let inputs: Vec<&Artifact> = scores.iter().map(|(_, s)| s).chain([samples]).collect();
        self.steps
            .stage(self.run, "policy/best-of-n", key, &inputs, |ctx| {
                let samples = samples.file(sample::SAMPLES);
                best_of_n::run(key, &samples, &files(scores, score::SCORES), ctx)
            })
    }

    /// The evaluation and its report; without a `golden` model the world is the judge.
    pub(crate) fn eval(
        &self,
        data: &Artifact,
        init: &Artifact,
        sft: &Artifact,
        scores: &Named,
        reward_models: &Named,
        golden: Option<Artifact>,
    ) -> Result<(), Stopped> {
        let config = self.config;
        let (name, batch) = (config.golden.golden.name(), self.batch());
        let mut inputs: Vec<&Artifact> = scores.iter().map(|(_, scores)| scores).collect();
        inputs.extend([sft, data, init]);
        inputs.extend(reward_models.iter().map(|(_, model)| model));
        inputs.extend(&golden);
        let scoring = golden
            .as_ref()
            .map(|_| (batch, config.precision, self.form()));
        let key = (&config.eval, name, scoring);
        self.steps.stage(self.run, "eval", &key, &inputs, |ctx| {
            let mut environments = self.steps.environments();
            environments.push(("eval".to_owned(), ctx.environment().map(str::to_owned)));
            let inputs = EvalInputs {
                test: &data.file("test.jsonl"),
                init_samples: &init.file(sample::SAMPLES),
                sft_samples: &sft.file(sample::SAMPLES),
                rankers: &files(scores, score::SCORES),
                reward_summaries: &files(reward_models, "summary.json"),
                golden_name: name,
                environments: &environments,
            };
            let scorer: Box<dyn Scorer> = match &golden {
                None => Box::new(rows::WorldScorer),
                Some(model) => {
                    let form = self.form();
                    Box::new(ClassifierScorer::load(
                        model.path(),
                        batch,
                        form,
                        self.placement,
                    )?)
                }
            };
            Ok::<(), Error>(afd_eval::run(&config.eval, &inputs, scorer.as_ref(), ctx)?)
        })?;
        Ok(())
    }

    /// How dialogues are written.
    fn form(&self) -> DialogueForm {
        self.config.data.dialogue_form
    }

    /// Answers scored at a time.
    fn batch(&self) -> usize {
        self.config.reward.1.per_device_eval_batch_size
    }
}

/// The file called `name` of each artefact.
fn files(artifacts: &Named, name: &str) -> Vec<(String, PathBuf)> {
    artifacts
        .iter()
        .map(|(reward, artifact)| ((*reward).to_owned(), artifact.file(name)))
        .collect()
}
