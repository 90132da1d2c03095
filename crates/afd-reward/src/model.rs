//! Reward models of every kind, as their directories hold them: text in, a logit out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::{DialogueForm, TokenRow, Tokenizer, encode_all, features};
use afd_model::{CausalLm, DecoderConfig, Head, Mlp, Scorer, Sequence, SequenceClassifier};
use serde::{Deserialize, Serialize};

use crate::{
    EnsembleConfig, Error, embed,
    objective::{self, sequence},
    vectors,
};

/// What a directory holds that is no Hugging Face sequence classifier.
pub const DESCRIPTION: &str = "reward_model.json";

/// The content of [`DESCRIPTION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "snake_case")]
pub(crate) enum Description {
    /// A sequence classifier whose logit means something at every token of an answer.
    TokenClassifier,
    /// A network on a model's embeddings.
    EmbeddingMlp {
        base_model_name_or_path: PathBuf,
        /// [`embed::fingerprint`] of that model.
        base_fingerprint: String,
        dialogue_form: DialogueForm,
        max_length: usize,
    },
    /// A linear model on features of the answer.
    Linear {
        /// What a standard deviation of each adds to the logit: for people to read.
        weights: BTreeMap<String, f32>,
    },
    /// Members in directories of their own.
    Ensemble {
        #[serde(flatten)]
        ensemble: EnsembleConfig,
        /// What the logit that the members' become is divided by.
        temperature: f64,
    },
}

impl Description {
    /// That of a linear model on features.
    pub(crate) fn linear(mlp: &Mlp) -> Self {
        let weights = mlp.linear_weights().unwrap_or_default();
        let names = features::NAMES.iter().map(|name| (*name).to_owned());
        Self::Linear {
            weights: names.zip(weights).collect(),
        }
    }
}

/// Writes a description into `dir`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn describe(dir: &Path, description: &Description) -> Result<(), Error> {
    let path = dir.join(DESCRIPTION);
    let text = serde_json::to_string_pretty(description)
        .map_err(|error| afd_data::Error::json(&path, 1, &error))?;
    Ok(afd_stage::fs::write_atomic(
        &path,
        format!("{text}\n").as_bytes(),
    )?)
}

/// The directory of a member.
pub(crate) fn member_dir(number: usize) -> String {
    format!("member-{number}")
}

/// How a reward model is read from its directory.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Sequences run at a time.
    pub batch_size: usize,
    /// How dialogues are written, where the reward model does not say so itself.
    pub form: DialogueForm,
    /// The model whose embeddings it reads, where it is not where it was.
    pub base: Option<&'a Path>,
    /// Texts longer than this many tokens, the end token included, are cut; none: they are an error
    /// when they exceed the context.
    pub truncation: Option<Truncation>,
}

/// How texts are cut to a length in tokens.
///
/// So transformers cuts prompt, answer and end token where they are one text:
/// `tokenizer(prompt + completion + tokenizer.eos_token, truncation=True, max_length=…)`. The end
/// token is the text's last there, not the tokenizer's own, and goes like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Tokens kept.
    pub max_length: usize,
    /// Where tokens are taken away.
    pub side: TruncationSide,
}

/// Where tokens are taken away from a text that is too long; transformers' `truncation_side`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncationSide {
    /// At the end: the answer's last words, and the end token.
    Right,
    /// At the beginning: the prompt's first words, not a begin token that the tokenizer puts first.
    Left,
}

/// A reward model that reads text.
pub struct RewardModel {
    kind: Kind,
    /// How the members' logits become one, and the temperature it is divided by; none of a single
    /// model.
    ensemble: Option<(EnsembleConfig, f64)>,
}

/// The members, or the only model.
enum Kind {
    Classifiers {
        text: Text,
        models: Vec<SequenceClassifier>,
        token_level: bool,
    },
    /// All read the embeddings of one model.
    Embedding {
        text: Text,
        base: Box<CausalLm>,
        heads: Vec<Mlp>,
    },
    Linear(Vec<Mlp>),
}

/// How texts become ids.
struct Text {
    tokenizer: Tokenizer,
    context: usize,
    batch_size: usize,
    truncation: Option<Truncation>,
}

/// What a reward model says of some answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// One logit each.
    pub logits: Vec<f32>,
    /// Of an ensemble: how far its members are apart on each; empty otherwise.
    pub spread: Vec<f32>,
    /// Of a single token-level discriminator: what each token of each answer adds to its logit; empty
    /// otherwise.
    pub token_rewards: Vec<Vec<f32>>,
    /// Tokens that were read.
    pub tokens: u64,
}

impl RewardModel {
    /// Loads a Hugging Face sequence classifier with its tokenizer, or what [`DESCRIPTION`] says.
    ///
    /// # Errors
    /// [`Error::NoRewardModel`] for a language model; [`Error::OtherBase`] when the model whose
    /// embeddings it reads is another now; when a file is missing or damaged, or the tokenizer does
    /// not fit the model.
    pub fn load(
        dir: &Path,
        options: &LoadOptions<'_>,
        placement: &Placement,
    ) -> Result<Self, Error> {
        let (dirs, ensemble) = match description(dir)? {
            Some(Description::Ensemble {
                ensemble,
                temperature,
            }) => {
                let members = (0..ensemble.num_members).map(|number| dir.join(member_dir(number)));
                (members.collect(), Some((ensemble, temperature)))
            }
            _ => (vec![dir.to_owned()], None),
        };
        let heads = || {
            dirs.iter()
                .map(|dir| Mlp::load(dir, placement))
                .collect::<Result<Vec<_>, _>>()
        };
        let kind = match description(&dirs[0])? {
            described @ (None | Some(Description::TokenClassifier)) => {
                let models = dirs.iter().map(|dir| classifier(dir, placement));
                let models = models.collect::<Result<Vec<_>, _>>()?;
                let shape = models[0].model.config();
                Kind::Classifiers {
                    text: Text::open(&dirs[0], shape, options.form, options)?,
                    models,
                    token_level: described.is_some(),
                }
            }
            Some(Description::EmbeddingMlp {
                base_model_name_or_path: named,
                base_fingerprint,
                dialogue_form,
                max_length,
            }) => {
                let base = options.base.unwrap_or(&named);
                if embed::fingerprint(base).ok() != Some(base_fingerprint) {
                    return Err(Error::OtherBase {
                        path: dir.join(DESCRIPTION),
                        base: base.into(),
                        expected: named.display().to_string(),
                    });
                }
                let lm = CausalLm::load(base, placement)?;
                let text = Text::open(base, lm.config(), dialogue_form, options)?;
                let (heads, width) = (heads()?, lm.config().hidden_size);
                fits(dir, &heads, width, "numbers of its base's embeddings")?;
                Kind::Embedding {
                    text: text.at_most(max_length),
                    base: Box::new(lm),
                    heads,
                }
            }
            Some(Description::Linear { .. }) => {
                let heads = heads()?;
                fits(dir, &heads, features::NAMES.len(), "features")?;
                Kind::Linear(heads)
            }
            Some(Description::Ensemble { .. }) => {
                return Err(Error::RewardModelFile {
                    path: dirs[0].join(DESCRIPTION),
                    problem: "is an ensemble within an ensemble, which nothing writes".into(),
                });
            }
        };
        Ok(Self { kind, ensemble })
    }

    /// One logit per `(prompt, completion)`.
    ///
    /// Prompt and completion are one text, to which the end token is appended: of a Hugging Face
    /// directory, the score is that of `AutoModelForSequenceClassification` for `AutoTokenizer`'s
    /// ids of `prompt + completion + eos_token`, alone or in a batch padded on either side with the
    /// token that `config.json` names. The one departure: a begin token that the prompt itself spells
    /// out at its start is not put before it again.
    ///
    /// # Errors
    /// When a text cannot be tokenised or exceeds the model's context, or the model answers
    /// NaN.
    pub fn score(&self, pairs: &[(&str, &str)]) -> Result<Scored, Error> {
        let mut token_rewards = Vec::new();
        let (members, tokens): (Vec<Vec<f32>>, u64) = match &self.kind {
            Kind::Classifiers {
                text,
                models,
                token_level,
            } => {
                let rows = text.rows(pairs)?;
                let sequences: Vec<_> = rows.iter().map(sequence).collect();
                let count = models.len() as u64 * tokens(&rows);
                if let (true, [only]) = (*token_level, &models[..]) {
                    let by_token = only.score_tokens(&sequences, text.batch_size)?;
                    let mut logits = Vec::new();
                    for (row, by_token) in sequences.iter().zip(by_token) {
                        let (logit, rewards) = paid_out(only, row, by_token);
                        logits.push(logit);
                        token_rewards.push(rewards);
                    }
                    (vec![logits], count)
                } else {
                    let each = models
                        .iter()
                        .map(|model| model.score_all(&sequences, text.batch_size));
                    (each.collect::<Result<_, _>>()?, count)
                }
            }
            Kind::Embedding { text, base, heads } => {
                let rows = text.rows(pairs)?;
                let sequences: Vec<_> = rows.iter().map(sequence).collect();
                let embeddings = base.model.embed_all(&sequences, text.batch_size)?;
                (by_heads(heads, &embeddings)?, tokens(&rows))
            }
            Kind::Linear(heads) => {
                let vectors: Vec<Vec<f32>> = pairs
                    .iter()
                    .map(|(_, answer)| vectors::features(answer))
                    .collect();
                (by_heads(heads, &vectors)?, 0)
            }
        };
        let (logits, spread) = self.together(members, pairs.len());
        Ok(Scored {
            logits,
            spread,
            token_rewards,
            tokens,
        })
    }

    /// The members' logits of `count` answers as one, and how far they are apart.
    fn together(&self, mut members: Vec<Vec<f32>>, count: usize) -> (Vec<f32>, Vec<f32>) {
        let Some((ensemble, temperature)) = &self.ensemble else {
            return (members.pop().unwrap_or_default(), Vec::new());
        };
        let each = (0..count).map(|pair| {
            let logits: Vec<f32> = members.iter().map(|logits| logits[pair]).collect();
            let (one, apart) = ensemble.aggregate(&logits);
            let cooled = |value: f32| (f64::from(value) / temperature) as f32;
            (cooled(one), cooled(apart))
        });
        each.unzip()
    }
}

/// The logit of an answer whose prefixes have these, and what each token adds to it: nothing after the
/// one that the logit is read at.
fn paid_out(
    model: &SequenceClassifier,
    row: &Sequence<'_>,
    mut by_token: Vec<f32>,
) -> (f32, Vec<f32>) {
    let tokens = by_token.len();
    by_token.truncate(
        (model.model.config().collator().last_of(row) + 1).saturating_sub(row.prompt_len),
    );
    let logit = by_token.last().copied().unwrap_or(0.0);
    let mut rewards = objective::token_rewards(&by_token);
    rewards.resize(tokens, 0.0);
    (logit, rewards)
}

/// A sequence classifier of one label.
fn classifier(dir: &Path, placement: &Placement) -> Result<SequenceClassifier, Error> {
    if let (_, Head::LanguageModel) = DecoderConfig::load(dir)? {
        // It would load, with a score head drawn at random.
        return Err(Error::NoRewardModel { path: dir.into() });
    }
    Ok(SequenceClassifier::load(dir, 0, placement)?)
}

/// Refuses heads that read another number of inputs than there are.
fn fits(dir: &Path, heads: &[Mlp], width: usize, what: &str) -> Result<(), Error> {
    match heads.iter().find(|head| head.width() != width) {
        None => Ok(()),
        Some(head) => Err(Error::RewardModelFile {
            path: dir.join(DESCRIPTION),
            problem: format!(
                "the model reads {} {what}, and there are {width}; train it again",
                head.width()
            ),
        }),
    }
}

/// Each head's logits of some vectors.
fn by_heads(heads: &[Mlp], vectors: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Error> {
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let each = heads
        .iter()
        .map(|head| head.score_all(&vectors, vectors.len()));
    Ok(each.collect::<Result<_, _>>()?)
}

/// The description in a directory; none of a plain sequence classifier.
fn description(dir: &Path) -> Result<Option<Description>, Error> {
    let path = dir.join(DESCRIPTION);
    if !path.exists() {
        return Ok(None);
    }
    let text = afd_stage::fs::read_to_string(&path)?;
    let described = serde_json::from_str(&text).map_err(|error| Error::RewardModelFile {
        path,
        problem: format!("no description of a reward model: {error}"),
    })?;
    Ok(Some(described))
}

fn tokens(rows: &[TokenRow]) -> u64 {
    rows.iter().map(|row| row.ids.len() as u64).sum()
}

impl Text {
    fn open(
        dir: &Path,
        shape: &DecoderConfig,
        form: DialogueForm,
        options: &LoadOptions<'_>,
    ) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open(dir, form)?;
        shape.check_vocabulary(tokenizer.vocab_size())?;
        Ok(Self {
            tokenizer,
            context: shape.context(),
            batch_size: options.batch_size,
            truncation: options.truncation,
        })
    }

    /// Embeddings of longer texts were never seen in training.
    fn at_most(mut self, max_length: usize) -> Self {
        self.context = self.context.min(max_length);
        self
    }

    fn rows(&self, pairs: &[(&str, &str)]) -> Result<Vec<TokenRow>, Error> {
        let row = |&(index, (prompt, completion)): &(usize, &(&str, &str))| {
            let limit = match self.truncation {
                Some(_) => usize::MAX,
                None => self.context,
            };
            let too_long = || Error::TooLong {
                number: index + 1,
                context: self.context,
            };
            let row = TokenRow::joined(&self.tokenizer, prompt, completion, limit)?;
            let mut row = row.ok_or_else(too_long)?;
            if let Some(truncation) = self.truncation {
                truncation.cut(&mut row, self.tokenizer.prefix());
            }
            if row.ids.len() > self.context {
                return Err(too_long());
            }
            Ok(row)
        };
        let pairs: Vec<_> = pairs.iter().enumerate().collect();
        encode_all(&pairs, row)
    }
}

impl Truncation {
    /// `begin` is what the tokenizer puts before every text.
    fn cut(self, row: &mut TokenRow, begin: &[u32]) {
        let over = row.ids.len().saturating_sub(self.max_length);
        let kept = match row.ids.starts_with(begin) {
            true => begin.len(),
            false => 0,
        };
        match self.side {
            TruncationSide::Right => row.ids.truncate(self.max_length),
            TruncationSide::Left => drop(row.ids.drain(kept..row.ids.len().min(kept + over))),
        }
        row.prompt_len = match self.side {
            TruncationSide::Right => row.prompt_len.min(row.ids.len()),
            TruncationSide::Left => row.prompt_len.saturating_sub(over).max(kept),
        };
    }
}

impl Scorer for RewardModel {
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        let scored = self.score(pairs)?;
        Ok(scored.logits.into_iter().map(f64::from).collect())
    }
}
