//! The last stages: what a language model says of the answers, and the evaluation with its report.

mod scorers;

use std::{env, path::PathBuf};

use afd_eval::{EvalInputs, GOLDEN, PolicyCost, PolicyInput, RunRecord, StageRecord};
use afd_judge::{JudgeConfig, JudgeInputs, RewardServer, cache_file};
use afd_policy::sample;
use afd_reward::{
    score,
    spread::{self, SpreadInputs},
};
use afd_stage::{Artifact, Manifest, RunDir, StageContext, source_artifact};

use crate::{
    config::Config,
    costs,
    error::Error,
    policies::Made,
    stages::{Named, Stages, files, names},
    steps::{self, Stopped, covers},
};

pub(crate) use scorers::scorer_names;

/// What is evaluated.
pub(crate) struct Evaluated<'a> {
    pub(crate) data: &'a Artifact,
    /// Answers of the initial and of the fine-tuned policy to the test prompts.
    pub(crate) init: &'a Artifact,
    pub(crate) sft: &'a Artifact,
    pub(crate) scores: &'a Named,
    pub(crate) diagnostics: &'a Named,
    /// The winners of Best-of-N by each of the rankers that have scores.
    pub(crate) best_of_n: &'a Artifact,
    pub(crate) policies: &'a [Made],
}

/// The stages `judged/NAME`, in their order.
pub(crate) fn judged_names(config: &Config) -> Vec<String> {
    if config.llm_judge.is_none() {
        return Vec::new();
    }
    let policies = config.policies.iter().map(|policy| policy.name.clone());
    let rewards = config.pairs.names().into_iter().map(best_of);
    policies
        .chain(rewards)
        .map(|name| format!("judged/{name}"))
        .collect()
}

/// Checks that the keys are there which the servers of stages still to be run ask for: of those that have not
/// run, or are to run again. That one is out of date because of another is seen when its turn comes.
///
/// # Errors
/// When one is not.
pub(crate) fn check_keys(config: &Config, run: &RunDir, until: Option<&str>) -> Result<(), Error> {
    let names = steps::names(config);
    let last = until.and_then(|until| names.iter().rposition(|name| covers(until, name)));
    let ahead = &names[..last.map_or(names.len(), |last| last + 1)];
    let left = |name: &str| {
        let manifest = Manifest::read(&run.path().join(name));
        let current = manifest.is_ok_and(|found| found.format == steps::FORMAT);
        let done = current && !run.is_forced(name);
        !done && ahead.iter().any(|other| other == name)
    };
    let variable = |name: &str| env::var(name).ok();
    if let Some(judge) = &config.llm_judge
        && judged_names(config).iter().any(|name| left(name))
    {
        afd_judge::check_key(judge, &variable)?;
    }
    let golden = config.golden.golden_server.iter();
    let further = config.scorers.iter().zip(scorer_names(config));
    let servers = golden.map(|server| (server, "eval".to_owned()));
    let servers = servers
        .chain(further.filter_map(|(scorer, stage)| Some((scorer.from.server.as_ref()?, stage))));
    for (server, stage) in servers {
        if left(&stage) {
            RewardServer::new(server, &variable)?;
        }
    }
    Ok(())
}

/// What the winners by a reward are called.
fn best_of(reward: &str) -> String {
    format!("best-of-n-{reward}")
}

impl Stages<'_> {
    /// The judge's word on each policy, and on the winners by each reward model, against the fine-tuned
    /// policy; nothing without a judge.
    pub(crate) fn judged(&self, of: &Evaluated<'_>) -> Result<Vec<(String, Artifact)>, Stopped> {
        let Some(judge) = &self.config.llm_judge else {
            return Ok(Vec::new());
        };
        let mut judged = Vec::new();
        for policy in of.policies {
            let answers = policy.samples();
            let ours = (answers, answers.file(sample::SAMPLES), 0);
            judged.push((
                policy.name().to_owned(),
                self.judged_one(policy.name(), judge, ours, of.sft)?,
            ));
        }
        let n = self.config.best_of_n.n as u32;
        for reward in self.config.pairs.names() {
            if of.scores.iter().any(|(name, _)| name == reward) {
                let file = of.best_of_n.file(format!("{reward}.jsonl"));
                // Against an answer that the winner was not chosen from.
                let ours = (of.best_of_n, file, n);
                let name = best_of(reward);
                let found = self.judged_one(&name, judge, ours, of.sft)?;
                judged.push((name, found));
            }
        }
        Ok(judged)
    }

    fn judged_one(
        &self,
        name: &str,
        judge: &JudgeConfig,
        (answers, ours, their_index): (&Artifact, PathBuf, u32),
        sft: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let prompt = source_artifact(&judge.prompt).map_err(Error::from)?;
        // What may change a verdict; not how fast or at what price it is had.
        let key = (
            (&judge.base_url, &judge.model, judge.on_failure),
            (judge.temperature, judge.max_tokens, judge.max_prompts),
            (name, their_index, self.config.eval.bootstrap_resamples),
        );
        let inputs = [answers, sft, &prompt];
        let name = format!("judged/{name}");
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            let inputs = JudgeInputs {
                ours: &ours,
                theirs: &sft.file(sample::SAMPLES),
                their_index,
                cache: &cache_file(self.run.path()),
                resamples: self.config.eval.bootstrap_resamples,
            };
            let variable = |name: &str| env::var(name).ok();
            afd_judge::run(judge, &inputs, &variable, ctx)
        })
    }

    /// How far apart every policy's answers lie, as the initial policy embeds them; nothing if that is not asked for.
    pub(crate) fn spread(
        &self,
        of: &Evaluated<'_>,
        initial: &Artifact,
    ) -> Result<Option<Artifact>, Stopped> {
        let answers = self.config.eval.spread_answers;
        if answers == 0 {
            return Ok(None);
        }
        let plain = [("init".to_owned(), of.init), ("sft".to_owned(), of.sft)];
        let made = of.policies.iter();
        let made = made.map(|policy| (policy.name().to_owned(), policy.samples()));
        let policies: Vec<(String, &Artifact)> = plain.into_iter().chain(made).collect();
        let max_length =
            self.config.data.max_prompt_length + self.config.sample.max_completion_length + 1;
        let named: Vec<&String> = policies.iter().map(|(name, _)| name).collect();
        let key = (
            answers,
            max_length,
            self.batch(),
            self.config.precision,
            self.form(),
            named,
        );
        let samples = policies.iter().map(|(_, samples)| *samples);
        let inputs: Vec<&Artifact> = [initial].into_iter().chain(samples).collect();
        let files: Vec<(String, PathBuf)> = policies
            .iter()
            .map(|(name, samples)| (name.clone(), samples.file(sample::SAMPLES)))
            .collect();
        let made = self.steps.stage(self.run, "spread", &key, &inputs, |ctx| {
            let inputs = SpreadInputs {
                model: initial.path(),
                policies: &files,
                answers,
                max_length,
                batch_size: self.batch(),
                form: self.form(),
            };
            spread::run(&inputs, self.placement, ctx)
        })?;
        Ok(Some(made))
    }

    /// The evaluation and its report; without a `golden` model the world is the judge. Beside it stands
    /// the policy whose embeddings it may read.
    pub(crate) fn eval(
        &self,
        of: &Evaluated<'_>,
        judged: &Named,
        scorers: &Named,
        spread: Option<&Artifact>,
        golden: Option<(Artifact, &Artifact)>,
    ) -> Result<(), Stopped> {
        let config = self.config;
        let (name, batch) = (config.golden.golden.name(), self.batch());
        let mut inputs: Vec<&Artifact> = of.scores.iter().map(|(_, scores)| scores).collect();
        inputs.extend([of.sft, of.data, of.init]);
        inputs.extend(of.diagnostics.iter().map(|(_, found)| found));
        inputs.extend(of.policies.iter().flat_map(Made::artifacts));
        inputs.extend(judged.iter().map(|(_, found)| found));
        inputs.extend(scorers.iter().map(|(_, found)| found));
        inputs.extend(spread);
        inputs.extend(golden.iter().map(|(model, _)| model));
        let policies: Vec<PolicyInput> = of.policies.iter().map(Made::input).collect();
        let scoring = golden
            .as_ref()
            .map(|_| (batch, config.precision, self.form()));
        let made: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let rankers = (names(of.scores), names(of.diagnostics), made);
        let others = (names(judged), names(scorers));
        let asked = config
            .golden
            .golden_server
            .as_ref()
            .map(|server| &server.url);
        let key = (&config.eval, name, scoring, rankers, others, asked);
        self.steps.stage(self.run, "eval", &key, &inputs, |ctx| {
            let record = self.run_record(ctx)?;
            let spread_file = spread.map(|spread| spread.file("summary.json"));
            let inputs = EvalInputs {
                test: &of.data.file("test.jsonl"),
                init_samples: &of.init.file(sample::SAMPLES),
                sft_samples: &of.sft.file(sample::SAMPLES),
                rankers: &files(of.scores, score::SCORES),
                policies: &policies,
                reward_summaries: &files(of.diagnostics, "summary.json"),
                judged: &files(judged, "summary.json"),
                scorers: &files(scorers, GOLDEN),
                spread: spread_file.as_deref(),
                golden_name: name,
                record: &record,
            };
            let classifier = golden.as_ref().map(|(model, base)| (model, *base));
            let server = config.golden.golden_server.as_ref();
            let scorer = self.scorer(classifier, server)?;
            Ok::<(), Error>(afd_eval::run(&config.eval, &inputs, scorer.as_ref(), ctx)?)
        })?;
        Ok(())
    }

    /// What the run was, up to the stage that is in work.
    fn run_record(&self, ctx: &StageContext) -> Result<RunRecord, Error> {
        let (mut manifests, mut stages) = (Vec::new(), Vec::new());
        for artifact in self.steps.finished() {
            let manifest = Manifest::read(artifact.path())?;
            let metrics = artifact.file("metrics.jsonl");
            stages.push(StageRecord {
                name: artifact.name().to_owned(),
                environment: artifact.environment().map(str::to_owned),
                cost: Some(manifest.cost),
                metrics: metrics.is_file().then_some(metrics),
            });
            manifests.push(manifest);
        }
        stages.push(StageRecord {
            name: "eval".to_owned(),
            environment: ctx.environment().map(str::to_owned),
            ..StageRecord::default()
        });
        let cost = |policy: &String| {
            let (tokens, seconds) = costs::of_policy(policy, &manifests);
            PolicyCost {
                policy: policy.clone(),
                tokens,
                seconds,
            }
        };
        Ok(RunRecord {
            policies: self
                .config
                .policies
                .iter()
                .map(|policy| cost(&policy.name))
                .collect(),
            stages,
            command: "afd pipeline --config config.toml --run-dir again".to_owned(),
            config: self.config.resolved.clone(),
            about: afd_stage::fs::read_to_string(&self.run.path().join("run.json"))?,
        })
    }
}
