//! Each stage of the pipeline: its key, its inputs and the library call that fills it.

use std::path::{Path, PathBuf};

use afd_backend::Placement;
use afd_data::{DialogueForm, Tokenizer};
use afd_policy::{Shard, best_of_n, sample};
use afd_reward::{
    Architecture, ClosedFormConfig, LoadOptions, NamedReference, PairSource, Reference,
    closed_form,
    diagnostics::{self, DiagnosticsInputs, Policies, Samples},
    embed,
    learn::{self, RewardInputs},
    pairs::{self, FOLDS, PairInputs, Part, Share},
    score,
};
use afd_sft::{MOVING_AVERAGE, SftConfig, SftInputs, snapshot_dir};
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
    /// Draw this part of the answers asked for, and no more.
    pub(crate) shard: Option<Shard>,
}

/// Artefacts by the name of their reward.
pub(crate) type Named = [(String, Artifact)];

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
        let demonstrations = data.file("sft.jsonl");
        self.fine_tuned("sft", &self.config.sft.0, initial, &demonstrations, &[data])
    }

    /// The demonstrations in two halves.
    pub(crate) fn folds(&self, data: &Artifact) -> Result<Artifact, Stopped> {
        self.steps.stage(self.run, "folds", &(), &[data], |ctx| {
            pairs::write_folds(&data.file("sft.jsonl"), ctx)
        })
    }

    /// A policy fine-tuned on the half of the demonstrations that is not this one.
    pub(crate) fn sft_without(
        &self,
        fold: usize,
        initial: &Artifact,
        data: &Artifact,
        folds: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let demonstrations = folds.file(FOLDS[1 - fold]);
        let name = format!("sft-without/fold-{fold}");
        // Nobody refers to it half-way.
        let sft = SftConfig {
            snapshots: Vec::new(),
            moving_average: None,
            ..self.config.sft.0.clone()
        };
        self.fine_tuned(&name, &sft, initial, &demonstrations, &[data, folds])
    }

    fn fine_tuned(
        &self,
        name: &str,
        sft: &SftConfig,
        initial: &Artifact,
        demonstrations: &Path,
        data: &[&Artifact],
    ) -> Result<Artifact, Stopped> {
        let train = &self.config.sft.1;
        // Training holds f32 weights whatever `precision.params` says, but for frozen ones.
        let model = &self.config.model;
        let saved = (model.save_dtype, &model.max_shard_size);
        let held = sft.lora.is_some().then_some(self.config.precision.params);
        let compute = (self.config.precision.compute, held);
        let which = demonstrations
            .file_name()
            .map(|name| name.to_string_lossy());
        let key = (sft, train, which, compute, saved, self.form());
        let inputs: Vec<&Artifact> = [initial].into_iter().chain(data.iter().copied()).collect();
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let inputs = SftInputs {
                model: initial.path(),
                model_name: initial.name(),
                form: self.form(),
                demonstrations,
                validation: &data[0].file("validation.jsonl"),
            };
            afd_sft::run(sft, train, &inputs, self.placement, model.save(), ctx)
        })
    }

    /// The pairs of `source`, drawn from the answers to the prompts of `examples`.
    pub(crate) fn pairs(
        &self,
        source: PairSource,
        data: &Artifact,
        examples: &str,
        init: &[&Artifact],
        sft: &[&Artifact],
    ) -> Result<Artifact, Stopped> {
        let files =
            |samples: &[&Artifact]| samples.iter().map(|s| s.file(sample::SAMPLES)).collect();
        let files = PairInputs {
            examples: data.file(examples),
            init_samples: files(init),
            sft_samples: files(sft),
        };
        let matched = self.config.pairs.matched;
        let name = format!("pairs/{}", source.name());
        let inputs: Vec<&Artifact> = [data].iter().chain(init).chain(sft).copied().collect();
        let key = (source, matched, examples);
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            pairs::run(source, matched, &files, ctx)
        })
    }

    /// Pairs of several sources in the shares of the mixture called `name`.
    pub(crate) fn mixture(&self, name: &str, sources: &Named) -> Result<Artifact, Stopped> {
        let shares = &self.config.pairs.mixtures[name];
        let of = |(source, weight): (&PairSource, &f64)| {
            let (_, pairs) = sources.iter().find(|(name, _)| name == source.name())?;
            Some((pairs, *weight))
        };
        let parts: Vec<(&Artifact, f64)> = shares.iter().filter_map(of).collect();
        let inputs: Vec<&Artifact> = parts.iter().map(|(pairs, _)| *pairs).collect();
        let name = format!("pairs/{name}");
        self.steps.stage(self.run, &name, shares, &inputs, |ctx| {
            let shares: Vec<Share> = parts
                .iter()
                .map(|(pairs, weight)| Share {
                    pairs: pairs.file(pairs::PAIRS),
                    weight: *weight,
                })
                .collect();
            pairs::mix(&shares, ctx)
        })
    }

    /// The pairs of some prompts.
    pub(crate) fn part_of_pairs(
        &self,
        name: &str,
        part: &Part,
        pairs: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let name = format!("pairs/{name}");
        self.steps.stage(self.run, &name, part, &[pairs], |ctx| {
            pairs::take(&pairs.file(pairs::PAIRS), part, ctx)
        })
    }

    /// Preferences of the split that nothing else sees.
    pub(crate) fn judge_pairs(&self, data: &Artifact) -> Result<Artifact, Stopped> {
        let files = PairInputs {
            examples: data.file("judge.jsonl"),
            init_samples: Vec::new(),
            sft_samples: Vec::new(),
        };
        self.steps
            .stage(self.run, "pairs/judge", &(), &[data], |ctx| {
                pairs::run(PairSource::Preference, true, &files, ctx)
            })
    }

    /// The initial policy's embeddings of all answers in some pairs.
    pub(crate) fn embeddings(
        &self,
        initial: &Artifact,
        pairs: &Named,
    ) -> Result<Artifact, Stopped> {
        let (batch, max_length) = (self.batch(), self.config.reward.0.max_length);
        let key = (batch, max_length, self.config.precision, self.form());
        let inputs: Vec<&Artifact> = [initial]
            .into_iter()
            .chain(pairs.iter().map(|p| &p.1))
            .collect();
        let files: Vec<PathBuf> = pairs.iter().map(|(_, p)| p.file(pairs::PAIRS)).collect();
        self.steps
            .stage(self.run, "embeddings", &key, &inputs, |ctx| {
                let model = initial.path();
                embed::run(
                    model,
                    &files,
                    max_length,
                    batch,
                    self.form(),
                    self.placement,
                    ctx,
                )
            })
    }

    /// A reward model, started from the initial policy's decoder (or from an earlier reward model), or on
    /// the initial policy's `embeddings`.
    pub(crate) fn reward(
        &self,
        name: &str,
        initial: &Artifact,
        pairs: &Artifact,
        embeddings: Option<&Artifact>,
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
        let inputs: Vec<&Artifact> = [initial, pairs].into_iter().chain(embeddings).collect();
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let embeddings = embeddings.map(|artifact| artifact.file(embed::EMBEDDINGS));
            let inputs = RewardInputs {
                model: initial.path(),
                model_name: initial.name(),
                form: self.form(),
                pairs: &pairs.file(pairs::PAIRS),
                embeddings: embeddings.as_deref(),
            };
            learn::run(reward, train, &inputs, self.placement, model.save(), ctx)
        })
    }

    /// What a reward model thinks of stored answers.
    pub(crate) fn scores(
        &self,
        name: &str,
        initial: &Artifact,
        reward_model: &Artifact,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let mut inputs = vec![reward_model, samples];
        if self.config.reward.0.architecture == Architecture::EmbeddingMlp {
            inputs.push(initial);
        }
        let key = (self.batch(), self.config.precision, self.form());
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let samples = samples.file(sample::SAMPLES);
            let options = self.reading(initial);
            score::run(reward_model.path(), &samples, &options, self.placement, ctx)
        })
    }

    /// What a closed form thinks of stored answers of the fine-tuned policy.
    pub(crate) fn closed_form(
        &self,
        name: &str,
        variant: &ClosedFormConfig,
        initial: &Artifact,
        sft: &Artifact,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let references = variant.references.iter().map(|&reference| match reference {
            Reference::INITIAL => initial.path().to_owned(),
            Reference::Share(share) => sft.file(snapshot_dir(share)),
            Reference::Named(NamedReference::MovingAverage) => sft.file(MOVING_AVERAGE),
        });
        let references: Vec<PathBuf> = references.collect();
        let mut inputs = vec![initial, samples];
        if variant
            .references
            .iter()
            .any(|reference| *reference != Reference::INITIAL)
        {
            inputs.push(sft);
        }
        let batch = self.batch();
        let key = (variant, batch, self.config.precision, self.form());
        self.steps.stage(self.run, name, &key, &inputs, |ctx| {
            let samples = samples.file(sample::SAMPLES);
            let references: Vec<&Path> = references.iter().map(PathBuf::as_path).collect();
            let form = self.form();
            closed_form::run(
                variant,
                &references,
                &samples,
                batch,
                form,
                self.placement,
                ctx,
            )
        })
    }

    /// What a reward model has learned, from what there is: its pairs, the policies, and its scores
    /// of the fine-tuned policy's answers.
    pub(crate) fn diagnostics(
        &self,
        name: &str,
        (pairs, reward_model): (&Artifact, &Artifact),
        policies: Option<(&Artifact, &Artifact)>,
        scored: Option<(&Artifact, &Artifact, &Artifact)>,
    ) -> Result<Artifact, Stopped> {
        let batch = self.batch();
        let key = (batch, self.config.precision, self.form());
        let name = format!("diagnostics/{name}");
        let mut inputs = vec![pairs, reward_model];
        inputs.extend(policies.iter().flat_map(|(initial, sft)| [*initial, *sft]));
        inputs.extend(
            scored
                .iter()
                .flat_map(|(samples, own, other)| [*samples, *own, *other]),
        );
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            let scored = scored.map(|(samples, scores, closed_form)| {
                [
                    samples.file(sample::SAMPLES),
                    scores.file(score::SCORES),
                    closed_form.file(score::SCORES),
                ]
            });
            let inputs = DiagnosticsInputs {
                pairs: &pairs.file(pairs::PAIRS),
                reward_model: reward_model.path(),
                policies: policies.map(|(initial, sft)| Policies {
                    initial: initial.path(),
                    sft: sft.path(),
                }),
                samples: scored
                    .as_ref()
                    .map(|[samples, scores, closed_form]| Samples {
                        samples,
                        scores,
                        closed_form,
                    }),
            };
            diagnostics::run(&inputs, batch, self.form(), self.placement, ctx)
        })
    }

    /// The best of N stored answers by each reward.
    pub(crate) fn best_of_n(
        &self,
        scores: &Named,
        samples: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let config = &self.config.best_of_n;
        let key = (config, names(scores));
        let inputs: Vec<&Artifact> = scores.iter().map(|(_, s)| s).chain([samples]).collect();
        self.steps
            .stage(self.run, "policy/best-of-n", &key, &inputs, |ctx| {
                let samples = samples.file(sample::SAMPLES);
                best_of_n::run(config, &samples, &files(scores, score::SCORES), ctx)
            })
    }

    /// How reward models are read; `base` is what they may stand on.
    pub(crate) fn reading<'a>(&self, base: &'a Artifact) -> LoadOptions<'a> {
        LoadOptions {
            batch_size: self.batch(),
            form: self.form(),
            base: Some(base.path()),
            truncation: None,
        }
    }

    /// How dialogues are written.
    pub(crate) fn form(&self) -> DialogueForm {
        self.config.data.dialogue_form
    }

    /// Answers scored at a time.
    pub(crate) fn batch(&self) -> usize {
        self.config.reward.1.per_device_eval_batch_size
    }
}

/// The names alone: they are the configuration's, and reports hold them.
pub(crate) fn names(artifacts: &Named) -> Vec<&str> {
    artifacts.iter().map(|(name, _)| name.as_str()).collect()
}

/// The file called `name` of each artefact.
pub(crate) fn files(artifacts: &Named, name: &str) -> Vec<(String, PathBuf)> {
    artifacts
        .iter()
        .map(|(reward, artifact)| (reward.clone(), artifact.file(name)))
        .collect()
}
