//! Policies to be made from the fine-tuned one: `[policies.NAME]`, each laid over `[policy]`. A table
//! in it, such as `guards`, replaces the one of `[policy]` whole.

use afd_policy::{
    BlocksConfig, ExtrapolateConfig, OfflineConfig, RlConfig, offline,
    rl::{Guards, RewardTransform},
};
use afd_train::TrainConfig;
use serde::{Deserialize, Serialize};

use super::sections::Sections;

/// The table of the keys that policies have in common.
const COMMON: &str = "policy";

/// The table of the policies.
pub(crate) const POLICIES: &str = "policies";

/// A policy to be made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PolicyConfig {
    pub(crate) name: String,
    pub(crate) source: PolicySource,
    pub(crate) method: Method,
}

/// What a policy is made from. Methods that learn nothing, or not by rewards, leave out what they do not
/// need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PolicySource {
    /// How.
    method: MethodName,
    /// The policy that it goes on from: another of these; without it, the fine-tuned policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// What it is paid by: the name of a reward model, `closed-form` or one of its variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reward: Option<String>,
    /// A reward model that is watched and not learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_out_reward: Option<String>,
    /// What the KL term of `rl` holds it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<ReferencePolicy>,
}

/// The policies that one may be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReferencePolicy {
    /// The fine-tuned policy.
    Sft,
    /// The initial policy.
    Initial,
    /// The policy that learning begins with.
    Start,
}

/// How policies are made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MethodName {
    /// From its own answers, drawn as it learns.
    Rl,
    /// The same against a discriminator that learns to tell its answers from demonstrations, in turn.
    Adversarial,
    /// From stored answers of the policy it goes on from.
    Offline,
    /// By going on in weights along the way from the initial policy.
    Weights,
    /// The fine-tuned policy, drawn from otherwise.
    Sampler,
    /// The fine-tuned policy, a reward choosing as it draws.
    Blocks,
}

/// How a policy is made, with the keys of that method.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Method {
    Rl(Box<RlConfig>, TrainConfig),
    Adversarial(AdversarialConfig, Box<RlConfig>, TrainConfig),
    Offline(OfflineConfig, TrainConfig),
    Weights(ExtrapolateConfig),
    Sampler(SamplerConfig),
    Blocks(BlocksConfig),
}

/// How a discriminator and the policy take turns, next to the keys of [`RlConfig`], which say how the policy
/// takes its own: by `reward_transform` which divergence from the demonstrator it descends, by
/// `ptx_coef` how it is held to the demonstrations. Source: the adversarial form of inverse
/// reinforcement learning, Sun & van der Schaar, arXiv 2405.15624, stated there and not run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AdversarialConfig {
    /// How often each has its turn, at most.
    pub(crate) rounds: usize,
    /// Whether the discriminator learns from the answers of all rounds so far, or of its own alone. Over
    /// many rounds replay is fictitious play: the mean of the policies nears the demonstrator, and not
    /// the last of them.
    pub(crate) replay: bool,
    /// Where it begins.
    pub(crate) discriminator: DiscriminatorStart,
}

/// What a round's discriminator begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DiscriminatorStart {
    /// The initial policy's decoder, as other reward models do.
    Fresh,
    /// The discriminator of the round before.
    Continued,
}

/// How the fine-tuned policy is drawn from, where not as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SamplerConfig {
    /// Logits are divided by it; 1 leaves them. Below 1 the policy is sharpened, and nothing else.
    pub(crate) temperature: f64,
    /// How many times its log-ratio to the initial policy is added to its log-probabilities, token by
    /// token; 0 leaves them.
    pub(crate) strength: f64,
}

impl PolicyConfig {
    /// How it is trained, if it is.
    pub(crate) fn train(&self) -> Option<&TrainConfig> {
        match &self.method {
            Method::Rl(_, train) | Method::Adversarial(_, _, train) | Method::Offline(_, train) => {
                Some(train)
            }
            Method::Weights(_) | Method::Sampler(_) | Method::Blocks(_) => None,
        }
    }

    /// How it learns from its own answers, if it does.
    pub(crate) fn rl(&self) -> Option<&RlConfig> {
        match &self.method {
            Method::Rl(rl, _) | Method::Adversarial(_, rl, _) => Some(rl),
            Method::Offline(..) | Method::Weights(_) | Method::Sampler(_) | Method::Blocks(_) => {
                None
            }
        }
    }

    /// Whether it learns from stored answers.
    pub(crate) fn reads_stored_answers(&self) -> bool {
        let more = |config: &OfflineConfig| config.objective == offline::Method::Sft;
        match &self.method {
            Method::Offline(config, _) => !more(config),
            _ => self.reads_stored_scores(),
        }
    }

    /// Whether it learns from what a reward says of stored answers.
    pub(crate) fn reads_stored_scores(&self) -> bool {
        match &self.method {
            Method::Offline(config, _) => !matches!(
                config.objective,
                offline::Method::Spin { .. } | offline::Method::Sft
            ),
            Method::Rl(rl, _) => {
                matches!(rl.reward_transform, Some(RewardTransform::BestOfN { .. }))
            }
            _ => false,
        }
    }

    /// Whether it learns from a reward that it is given, or has it choose.
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.method, Method::Rl(..) | Method::Blocks(_)) || self.reads_stored_scores()
    }

    /// Whether there are weights, and not only another way to draw from the fine-tuned policy's.
    pub(crate) fn has_weights(&self) -> bool {
        !matches!(self.method, Method::Sampler(_) | Method::Blocks(_))
    }

    /// Every value out of range: the key, and what it must be.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let finite = |key, value: f64| (!value.is_finite()).then_some((key, "a number"));
        let own = match &self.method {
            Method::Rl(config, _) => config.problems(),
            Method::Adversarial(adversarial, config, _) => {
                let never = adversarial.rounds == 0;
                let never = never.then_some(("rounds", "1 or more"));
                let best = config.reward_transform;
                let best = matches!(best, Some(RewardTransform::BestOfN { .. }));
                let best = best.then_some((
                    "reward_transform.name",
                    "\"gail\" or \"ratio\": there are no stored scores of a discriminator yet to come",
                ));
                let own = config.problems().into_iter();
                own.chain(never).chain(best).collect()
            }
            Method::Offline(config, _) => config.problems(),
            Method::Blocks(config) => config.problems(),
            Method::Weights(config) => finite("strength", config.strength).into_iter().collect(),
            Method::Sampler(config) => {
                let cold = !(config.temperature > 0.0 && config.temperature.is_finite());
                let cold = cold.then_some(("temperature", "above 0"));
                cold.into_iter()
                    .chain(finite("strength", config.strength))
                    .collect()
            }
        };
        let train = self.train().into_iter().flat_map(TrainConfig::problems);
        let missing = (self.is_paid() && self.source.reward.is_none())
            .then_some(("reward", "given, for the method learns from one"));
        let held = self.rl().is_some() && self.source.reference.is_none();
        let unheld = held.then_some(("reference", "\"sft\", \"initial\" or \"start\""));
        let apart = self.reads_stored_scores() && self.rl().is_some() && !self.is_held_to_start();
        let apart = apart.then_some((
            "reference",
            "\"start\" for reward_transform.name = \"best_of_n\", or \"sft\" where it goes on from that: \
             its Best-of-N is what is aimed at",
        ));
        let lora = match &self.method {
            Method::Offline(config, _) => config.lora.as_ref(),
            _ => self.rl().and_then(|config| config.lora.as_ref()),
        };
        let lora = lora.is_some_and(|lora| !lora.problems().is_empty());
        let lora = lora.then_some(("lora", "adapters as `[sft.lora]` has them, with r above 0"));
        own.into_iter()
            .chain(train)
            .chain(missing)
            .chain(unheld)
            .chain(apart)
            .chain(lora)
            .chain(self.batch_problems())
            .collect()
    }

    /// Whether its KL term holds it to the policy that it goes on from.
    fn is_held_to_start(&self) -> bool {
        match self.source.reference {
            Some(ReferencePolicy::Start) => true,
            Some(ReferencePolicy::Sft) => self.source.from.is_none(),
            Some(ReferencePolicy::Initial) | None => false,
        }
    }

    /// What does not go together of batches of answers, steps and their schedule.
    fn batch_problems(&self) -> Vec<(&'static str, &'static str)> {
        let (Some(config), Some(train)) = (self.rl(), self.train()) else {
            return Vec::new();
        };
        let micro = train.per_device_train_batch_size * train.gradient_accumulation_steps;
        let answers = micro * config.steps_per_generation;
        let batches = train.max_steps.div_ceil(config.steps_per_batch().max(1));
        let warm = config
            .value
            .as_ref()
            .map_or(0, |value| value.warmup_batches);
        let guarded = Guards {
            warn_only: false,
            ..config.guards.clone()
        } != Guards::default();
        [
            (
                "num_generations",
                answers.is_multiple_of(config.num_generations.max(1)),
                "a divisor of per_device_train_batch_size × gradient_accumulation_steps × steps_per_generation",
            ),
            (
                "kl_horizon",
                config.kl_horizon.is_none_or(|horizon| horizon > answers as f64),
                "more than the answers of a batch",
            ),
            (
                "value.warmup_batches",
                train.max_steps == 0 || warm < batches || warm == 0,
                "fewer than the batches that max_steps allows",
            ),
            (
                "save_steps",
                train.save_steps > 0 || !guarded || config.guards.warn_only,
                "above 0 where a guard may stop: the last checkpoint is what is kept",
            ),
            (
                "load_best_model_at_end",
                !train.load_best_model_at_end && train.early_stopping_patience == 0,
                "false, and early_stopping_patience 0, for \"rl\": guards stop it",
            ),
        ]
        .into_iter()
        .filter(|rule| !rule.1)
        .map(|rule| (rule.0, rule.2))
        .collect()
    }
}

/// Reads all of them, by name, those that others go on from before these.
pub(super) fn read(sections: &mut Sections<'_>) -> Option<Vec<PolicyConfig>> {
    let tables = sections.named(POLICIES, Some(COMMON));
    sections.know::<PolicySource>(COMMON);
    sections.know::<AdversarialConfig>(COMMON);
    sections.know::<RlConfig>(COMMON);
    sections.know::<OfflineConfig>(COMMON);
    sections.know::<TrainConfig>(COMMON);
    let each: Vec<_> = tables
        .into_iter()
        .map(|(name, table)| {
            let section = format!("{POLICIES}.{name}");
            let source = sections.read_from::<PolicySource>(&section, &table)?;
            let method = match source.method {
                MethodName::Rl => {
                    let config = sections.read_from(&section, &table);
                    let train = sections.read_from(&section, &table);
                    Method::Rl(Box::new(config?), train?)
                }
                MethodName::Adversarial => {
                    let turns = sections.read_from(&section, &table);
                    let config = sections.read_from(&section, &table);
                    let train = sections.read_from(&section, &table);
                    Method::Adversarial(turns?, Box::new(config?), train?)
                }
                MethodName::Offline => {
                    let config = sections.read_from(&section, &table);
                    let train = sections.read_from(&section, &table);
                    Method::Offline(config?, train?)
                }
                MethodName::Weights => Method::Weights(sections.read_from(&section, &table)?),
                MethodName::Sampler => Method::Sampler(sections.read_from(&section, &table)?),
                MethodName::Blocks => Method::Blocks(sections.read_from(&section, &table)?),
            };
            Some(PolicyConfig {
                name,
                source,
                method,
            })
        })
        .collect();
    let each: Option<Vec<PolicyConfig>> = each.into_iter().collect();
    Some(sources_first(each?))
}

/// The policies, each after the one that it goes on from; those that go in a circle, or on from nothing
/// known, last.
fn sources_first(mut left: Vec<PolicyConfig>) -> Vec<PolicyConfig> {
    let mut sorted: Vec<PolicyConfig> = Vec::new();
    loop {
        let ready = left.iter().position(|policy| {
            let from = policy.source.from.as_ref();
            from.is_none_or(|from| sorted.iter().any(|earlier| earlier.name == *from))
        });
        match ready {
            Some(place) => sorted.push(left.remove(place)),
            None => break,
        }
    }
    sorted.extend(left);
    sorted
}
