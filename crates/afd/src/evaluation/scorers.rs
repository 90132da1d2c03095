//! What answers are rewarded by: the golden scorer of the evaluation, and further ones in stages of their own.

use std::env;

use afd_eval::{EvalInputs, PolicyInput, RunRecord};
use afd_judge::{RewardServer, RewardServerConfig};
use afd_model::Scorer;
use afd_policy::sample;
use afd_reward::RewardModel;
use afd_stage::Artifact;

use super::Evaluated;
use crate::{
    config::{Config, ScorerConfig},
    error::Error,
    models::Models,
    policies::Made,
    rows,
    stages::Stages,
    steps::Stopped,
};

/// The stages `golden/NAME`, in their order.
pub(crate) fn scorer_names(config: &Config) -> Vec<String> {
    let scorers = config.scorers.iter();
    scorers.map(|scorer| stage_name(&scorer.name)).collect()
}

fn stage_name(scorer: &str) -> String {
    format!("golden/{scorer}")
}

/// A server of rewards as a golden scorer.
struct ServerScorer(RewardServer);

impl Scorer for ServerScorer {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.score(pairs)?)
    }
}

impl Stages<'_> {
    /// Opens a scorer: a `classifier`, beside the policy whose embeddings it may read, a `server`, or without
    /// either the world.
    pub(super) fn scorer(
        &self,
        classifier: Option<(&Artifact, &Artifact)>,
        server: Option<&RewardServerConfig>,
    ) -> Result<Box<dyn Scorer>, Error> {
        Ok(match (classifier, server) {
            (None, None) => Box::new(rows::WorldScorer),
            (None, Some(server)) => {
                let variable = |name: &str| env::var(name).ok();
                Box::new(ServerScorer(RewardServer::new(server, &variable)?))
            }
            (Some((model, base)), _) => {
                let options = self.reading(base);
                Box::new(RewardModel::load(model.path(), &options, self.placement)?)
            }
        })
    }

    /// The rewards of every further scorer, by its name.
    pub(crate) fn scorers(
        &self,
        of: &Evaluated<'_>,
        models: &Models,
        initial: &Artifact,
    ) -> Result<Vec<(String, Artifact)>, Stopped> {
        let scorers = self.config.scorers.iter();
        let one = |scorer: &ScorerConfig| {
            let classifier = models.classifier(&scorer.key())?;
            let scored = self.scored(of, scorer, classifier.as_ref(), initial)?;
            Ok((scorer.name.clone(), scored))
        };
        scorers.map(one).collect()
    }

    fn scored(
        &self,
        of: &Evaluated<'_>,
        scorer: &ScorerConfig,
        classifier: Option<&Artifact>,
        initial: &Artifact,
    ) -> Result<Artifact, Stopped> {
        let mut inputs = vec![of.data, of.init, of.sft];
        inputs.extend(of.policies.iter().map(Made::samples));
        inputs.extend(classifier);
        // Where it is read; what it reads is among the inputs.
        let scoring = classifier.map(|_| (self.batch(), self.config.precision, self.form()));
        let url = scorer.from.server.as_ref().map(|server| &server.url);
        let names: Vec<&str> = of.policies.iter().map(Made::name).collect();
        let key = (scorer.from.kind, scoring, url, names);
        let name = stage_name(&scorer.name);
        self.steps.stage(self.run, &name, &key, &inputs, |ctx| {
            let own = |made: &Made| PolicyInput {
                log_ratio: None,
                proxy: None,
                ..made.input()
            };
            let policies: Vec<PolicyInput> = of.policies.iter().map(own).collect();
            let inputs = EvalInputs {
                test: &of.data.file("test.jsonl"),
                init_samples: &of.init.file(sample::SAMPLES),
                sft_samples: &of.sft.file(sample::SAMPLES),
                rankers: &[],
                policies: &policies,
                reward_summaries: &[],
                judged: &[],
                scorers: &[],
                spread: None,
                golden_name: &scorer.name,
                record: &RunRecord::default(),
            };
            let classifier = classifier.map(|model| (model, initial));
            let opened = self.scorer(classifier, scorer.from.server.as_ref())?;
            Ok::<(), Error>(afd_eval::score_golden(&inputs, opened.as_ref(), ctx)?)
        })
    }
}
