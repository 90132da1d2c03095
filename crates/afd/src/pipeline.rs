//! The whole method on a page, one call per stage: the first file to read.
//!
//! What each call needs and leaves behind is in `stages.rs`, next door.

use afd_backend::Placement;
use afd_policy::Shard;
use afd_reward::{Architecture, ClosedFormConfig, PairSource, Prompts, pairs::FOLDS};
use afd_stage::{Artifact, RunDir};

use crate::{
    config::{Config, Golden},
    error::Error,
    evaluation::Evaluated,
    models::{GOLDEN, Models},
    policies::Ingredients,
    rows,
    stages::Stages,
    steps::{Steps, Stopped},
};

/// Runs every stage that has something to do, in order; of answers asked for only the `shard`.
///
/// # Errors
/// The first stage that fails; what is finished stays, what was begun is resumed next time.
pub(crate) fn run(
    config: &Config,
    models: &Models,
    placement: &Placement,
    run: &RunDir,
    steps: &Steps,
    shard: Option<Shard>,
) -> Result<(), Error> {
    let stages = Stages {
        config,
        run,
        steps,
        placement,
        shard,
    };
    match all(&stages, models) {
        Ok(()) => steps.finish(),
        Err(Stopped::AsAsked) => Ok(()),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn all(stages: &Stages<'_>, models: &Models) -> Result<(), Stopped> {
    let config = stages.config;
    let initial = models.initial.artifact()?;

    let data = stages.data(&initial)?;
    let test_prompts = data.file("test.jsonl");
    let sft = stages.sft(&initial, &data)?;

    let answers = Answers::draw(stages, &initial, &sft, &data)?;
    let (few, many) = (
        config.generations.init_num_generations,
        config.generations.test_num_generations,
    );
    let test_init = stages.answers("samples/init", &initial, &data, &test_prompts, few)?;
    let test_sft = stages.answers("samples/sft", &sft, &data, &test_prompts, many)?;

    let pairs = answers.pairs(stages, &data)?;
    let judge_pairs = match config.golden.golden {
        Golden::Judge => Some(stages.judge_pairs(&data)?),
        Golden::World | Golden::Classifier | Golden::Http => None,
    };
    let read: Vec<_> = pairs
        .iter()
        .cloned()
        .chain(judge_pairs.clone().map(|p| ("judge".into(), p)))
        .collect();
    let embeddings = match config.reward.0.architecture {
        Architecture::EmbeddingMlp => Some(stages.embeddings(&initial, &read)?),
        Architecture::Classifier | Architecture::Linear => None,
    };
    let learn = |name: &str, pairs: &Artifact| {
        let name = format!("reward/{name}");
        stages.reward(&name, &initial, pairs, embeddings.as_ref())
    };
    let reward_models = pairs
        .iter()
        .map(|(name, pairs)| Ok((name.clone(), learn(name, pairs)?)))
        .collect::<Result<Vec<_>, Stopped>>()?;
    let judge = judge_pairs
        .map(|pairs| learn("judge", &pairs))
        .transpose()?;

    let mut scores = reward_models
        .iter()
        .map(|(name, model)| {
            Ok((
                name.clone(),
                stages.scores(&format!("scores/{name}"), &initial, model, &test_sft)?,
            ))
        })
        .collect::<Result<Vec<_>, Stopped>>()?;
    let plain = (afd_eval::CLOSED_FORM.to_owned(), ClosedFormConfig::plain());
    for (name, variant) in std::iter::once(plain).chain(config.closed_form.variants.clone()) {
        let stage = format!("scores/{name}");
        let closed_form = stages.closed_form(&stage, &variant, &initial, &sft, &test_sft)?;
        scores.push((name, closed_form));
    }
    let mut diagnostics = Vec::new();
    for ((name, model), (_, pairs)) in reward_models.iter().zip(&pairs) {
        let by = |name: &str| {
            scores
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, scores)| scores)
        };
        if let (Some(own), Some(closed_form)) = (by(name), by(afd_eval::CLOSED_FORM)) {
            let (learned, policies) = ((pairs, model), Some((&initial, &sft)));
            let scored = Some((&test_sft, own, closed_form));
            let found = stages.diagnostics(name, learned, policies, scored)?;
            diagnostics.push((name.clone(), found));
        }
    }
    let best_of_n = stages.best_of_n(&scores, &test_sft)?;

    let from = Ingredients {
        initial: &initial,
        sft: &sft,
        data: &data,
        rewards: &reward_models,
    };
    let policies = stages.policies(&from, &test_prompts)?;

    let golden = match config.golden.golden {
        Golden::World | Golden::Http => None,
        Golden::Judge => judge,
        Golden::Classifier => models.classifier(GOLDEN)?,
    };
    let golden = golden.map(|model| (model, &initial));
    let evaluated = Evaluated {
        data: &data,
        init: &test_init,
        sft: &test_sft,
        scores: &scores,
        diagnostics: &diagnostics,
        best_of_n: &best_of_n,
        policies: &policies,
    };
    let judged = stages.judged(&evaluated)?;
    let scorers = stages.scorers(&evaluated, models, &initial)?;
    let spread = stages.spread(&evaluated, &initial)?;
    stages.eval(&evaluated, &judged, &scorers, spread.as_ref(), golden)
}

/// Answers of both policies that the reward models learn from.
struct Answers {
    /// The file of prompts, and of demonstrations and preferences if there are any.
    examples: &'static str,
    init: Artifact,
    sft: Vec<Artifact>,
}

impl Answers {
    fn draw(
        stages: &Stages<'_>,
        initial: &Artifact,
        sft: &Artifact,
        data: &Artifact,
    ) -> Result<Self, Stopped> {
        let config = stages.config;
        let each = config.generations.reward_num_generations;
        let examples = match config.pairs.prompts {
            Prompts::Unseen => "reward.jsonl",
            Prompts::Sft | Prompts::CrossFitted => "sft.jsonl",
        };
        let prompts = data.file(examples);
        let mut cross_fitted = Vec::new();
        if config.pairs.prompts == Prompts::CrossFitted {
            let folds = stages.folds(data)?;
            for fold in 0..FOLDS.len() {
                let policy = stages.sft_without(fold, initial, data, &folds)?;
                cross_fitted.push((policy, folds.clone()));
            }
        }
        let init = stages.answers("samples/init-reward", initial, data, &prompts, each)?;
        let sft = match cross_fitted.is_empty() {
            true => vec![stages.answers("samples/sft-reward", sft, data, &prompts, each)?],
            false => {
                let each_fold = cross_fitted.iter().zip(FOLDS).enumerate();
                let answers = each_fold.map(|(fold, ((policy, folds), file))| {
                    let name = format!("samples/sft-reward-fold-{fold}");
                    stages.answers(&name, policy, folds, &folds.file(file), each)
                });
                answers.collect::<Result<_, Stopped>>()?
            }
        };
        Ok(Self {
            examples,
            init,
            sft,
        })
    }

    /// Pairs by the name of the reward model they are for. Demonstrations are all the method needs;
    /// preferences are for comparison.
    fn pairs(
        &self,
        stages: &Stages<'_>,
        data: &Artifact,
    ) -> Result<Vec<(String, Artifact)>, Stopped> {
        let config = &stages.config.pairs;
        let preferences = rows::hold_preferences(&data.file(self.examples))?;
        let sft: Vec<&Artifact> = self.sft.iter().collect();
        let mut pairs = Vec::new();
        for &source in &config.sources {
            if preferences || source != PairSource::Preference {
                let made = stages.pairs(source, data, self.examples, &[&self.init], &sft)?;
                pairs.push((source.name().to_owned(), made));
            }
        }
        for (name, shares) in &config.mixtures {
            if preferences || !shares.contains_key(&PairSource::Preference) {
                pairs.push((name.clone(), stages.mixture(name, &pairs)?));
            }
        }
        for (name, part) in &config.parts {
            let source = pairs.iter().find(|(name, _)| name == part.of.name());
            if let Some((_, source)) = source {
                let made = stages.part_of_pairs(name, part, source)?;
                pairs.push((name.clone(), made));
            }
        }
        Ok(pairs)
    }
}
