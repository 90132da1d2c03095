//! A discriminator and the policy in turn: inverse reinforcement learning as the method states it.
//!
//! Each round the policy answers, a discriminator learns to tell these answers from demonstrations, and
//! the policy learns from what it says. The demonstrations and the prompts are those that fine-tuning did
//! not see.

use std::{fs, path::Path};

use afd_policy::{RlConfig, sample};
use afd_reward::{
    PairSource, diagnostics,
    pairs::{self, PairInputs},
};
use afd_stage::{Artifact, StageContext};
use afd_train::TrainConfig;
use serde_json::{Value, json};

use super::{Ingredients, PROMPTS, making::Paid, names_of};
use crate::{
    config::{AdversarialConfig, DiscriminatorStart, Method, PolicyConfig},
    error::Error,
    stages::Stages,
    steps::Stopped,
};

/// The stages of a policy's rounds, in their order.
pub(super) fn stage_names(policy: &PolicyConfig) -> Vec<String> {
    let Method::Adversarial(turns, ..) = &policy.method else {
        return Vec::new();
    };
    let of_round = |round: usize| {
        let replays = turns.replay && round > 1;
        ["samples", "pairs", "fresh"]
            .into_iter()
            .chain(replays.then_some("replayed"))
            .chain(has_own_discriminator(turns, round).then_some("discriminator"))
            .chain(["policy"])
            .map(move |turn| stage_name(policy, round, turn))
    };
    (1..=turns.rounds).flat_map(of_round).collect()
}

fn stage_name(policy: &PolicyConfig, round: usize, turn: &str) -> String {
    format!("rounds/{}/{round}/{turn}", policy.name)
}

/// Whether what the policy learns from is not the discriminator that is fresh each round and sees that
/// round's answers alone, by which the game is judged.
fn has_own_discriminator(turns: &AdversarialConfig, round: usize) -> bool {
    round > 1 && (turns.replay || turns.discriminator == DiscriminatorStart::Continued)
}

impl Stages<'_> {
    /// Takes turns until there are no more, or a discriminator trained afresh cannot tell the policy's
    /// answers from demonstrations on prompts held out, or a guard stops the policy.
    pub(super) fn adversarial(
        &self,
        policy: &PolicyConfig,
        (turns, rl, train): (&AdversarialConfig, &RlConfig, &TrainConfig),
        start: &Artifact,
        from: &Ingredients<'_>,
    ) -> Result<Artifact, Stopped> {
        let mut current = start.clone();
        let mut answers: Vec<Artifact> = Vec::new();
        let mut discriminator: Option<Artifact> = None;
        let mut told: Vec<Value> = Vec::new();
        let mut ended = "the rounds asked for".to_owned();
        let each = self.config.generations.reward_num_generations;
        let held_out = from.reward(policy.source.held_out_reward.as_deref());
        for round in 1..=turns.rounds {
            let name = |turn: &str| stage_name(policy, round, turn);
            let prompts = from.data.file(PROMPTS);
            answers.push(self.answers(&name("samples"), &current, from.data, &prompts, each)?);
            let latest = &answers[round - 1..];
            let own = self.against_demonstrations(&name("pairs"), from.data, latest)?;
            let fresh = self.reward(&name("fresh"), from.initial, &own, None)?;
            let found = diagnostics::held_out_auc(&own.file(pairs::PAIRS), fresh.path())
                .map_err(Error::from)?;
            told.push(json!({ "round": round, "auc": found.auc, "auc_se": found.standard_error }));
            // Its interval reaches down to chance; where there is none, nothing says so.
            if found.interval().is_some_and(|[low, _]| low <= 0.5) {
                ended = format!("round {round}: the discriminator is at chance");
                break;
            }
            let latest = match has_own_discriminator(turns, round) {
                false => fresh,
                true => {
                    let pairs = match turns.replay {
                        true => {
                            let name = name("replayed");
                            self.against_demonstrations(&name, from.data, &answers)?
                        }
                        false => own,
                    };
                    let base = match (turns.discriminator, &discriminator) {
                        (DiscriminatorStart::Continued, Some(before)) => before,
                        _ => from.initial,
                    };
                    self.reward(&name("discriminator"), base, &pairs, None)?
                }
            };
            let paid = Paid {
                reward: Some(&latest),
                closed_form: None,
                held_out,
                pool: None,
            };
            let how = (rl, train);
            let made = (&current, &paid);
            current = self.reinforced(&name("policy"), &policy.source, how, made, from)?;
            let stopped = stopped(current.path()).map_err(Stopped::Failed)?;
            discriminator = Some(latest);
            if let Some(stopped) = stopped {
                ended = format!("round {round}: {stopped}");
                break;
            }
        }
        let [making, ..] = names_of(policy);
        let key = (&told, &ended);
        self.steps
            .stage(self.run, &making, &key, &[&current], |ctx| {
                kept(current.path(), ctx)?;
                let summary = json!({ "rounds": told, "ended": ended });
                Ok::<(), Error>(ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?)
            })
    }

    /// Pairs of a demonstration and one of the policies' answers to the same prompt.
    fn against_demonstrations(
        &self,
        name: &str,
        data: &Artifact,
        answers: &[Artifact],
    ) -> Result<Artifact, Stopped> {
        let inputs: Vec<&Artifact> = [data].into_iter().chain(answers).collect();
        self.steps.stage(self.run, name, &(), &inputs, |ctx| {
            let files = answers.iter().map(|answers| answers.file(sample::SAMPLES));
            let files = PairInputs {
                examples: data.file(PROMPTS),
                init_samples: Vec::new(),
                sft_samples: files.collect(),
            };
            pairs::run(PairSource::SftDemo, true, &files, ctx)
        })
    }
}

/// What a guard said when it stopped a policy, if one did.
fn stopped(policy: &Path) -> Result<Option<String>, Error> {
    let path = policy.join("summary.json");
    let io = |source| Error::Io {
        action: "read",
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(&path).map_err(io)?;
    let summary: Value = serde_json::from_str(&text).map_err(|source| Error::Io {
        action: "understand",
        path: path.clone(),
        source: source.into(),
    })?;
    Ok(summary["stopped"].as_str().map(str::to_owned))
}

/// Brings what a policy consists of into the stage's directory, on the same disk space where that can be.
fn kept(policy: &Path, ctx: &StageContext) -> Result<(), Error> {
    let own = ["manifest.json", "summary.json", "metrics.jsonl"];
    linked(policy, ctx.dir(), &own)?;
    let adapter = policy.join("adapter");
    match adapter.is_dir() {
        true => linked(&adapter, &ctx.dir().join("adapter"), &[]),
        false => Ok(()),
    }
}

/// Links, or copies, the files of a directory but for those called as in `but`.
fn linked(from: &Path, to: &Path, but: &[&str]) -> Result<(), Error> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io {
            action: "keep",
            path,
            source,
        }
    };
    fs::create_dir_all(to).map_err(io(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let path = entry.map_err(io(from))?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() || but.iter().any(|other| name == *other) {
            continue;
        }
        let to = to.join(name);
        // A copy into what an attempt before linked would write over the original.
        let _ = fs::remove_file(&to);
        if fs::hard_link(&path, &to).is_err() {
            fs::copy(&path, &to).map_err(io(&path))?;
        }
    }
    Ok(())
}
