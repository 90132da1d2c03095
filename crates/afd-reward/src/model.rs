//! Reward models of every kind, as their directories hold them: text in, a logit out.

use std::path::{Path, PathBuf};

use afd_backend::Placement;
use afd_data::{DialogueForm, TokenRow, Tokenizer, features};
use afd_model::{CausalLm, DecoderConfig, Head, Mlp, Scorer, SequenceClassifier};
use serde::{Deserialize, Serialize};

use crate::{EnsembleConfig, Error, embed, objective::sequence, vectors};

/// What a directory holds that is no Hugging Face sequence classifier.
pub const DESCRIPTION: &str = "reward_model.json";

/// The content of [`DESCRIPTION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "snake_case")]
pub(crate) enum Description {
    /// A network on a model's embeddings.
    EmbeddingMlp {
        base_model_name_or_path: PathBuf,
        /// [`embed::fingerprint`] of that model.
        base_fingerprint: String,
        max_length: usize,
    },
    /// A linear model on features of the answer.
    Linear {
        /// What a standard deviation of each adds to the logit: for people to read.
        weights: Vec<(String, f32)>,
    },
    /// Members in directories of their own.
    Ensemble(EnsembleConfig),
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
    /// How dialogues are written.
    pub form: DialogueForm,
    /// The model whose embeddings it reads, where it is not where it was.
    pub base: Option<&'a Path>,
    /// Texts longer than this many tokens, the end token included, are cut; none: they are an error
    /// when they exceed the context.
    pub truncation: Option<Truncation>,
}

/// How texts are cut to a length in tokens.
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
    /// At the beginning: the prompt's first words.
    Left,
}

/// A reward model that reads text.
pub struct RewardModel {
    kind: Kind,
}

enum Kind {
    Classifier(Text, Box<SequenceClassifier>),
    Embedding(Text, Box<CausalLm>, Mlp),
    Linear(Mlp),
    Ensemble(EnsembleConfig, Vec<RewardModel>),
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
        let path = dir.join(DESCRIPTION);
        let kind = match path.exists() {
            false => Self::classifier(dir, options, placement)?,
            true => match description(&path)? {
                Description::EmbeddingMlp {
                    base_model_name_or_path,
                    base_fingerprint,
                    max_length,
                } => {
                    let base = options.base.unwrap_or(&base_model_name_or_path);
                    if embed::fingerprint(base).ok().as_ref() != Some(&base_fingerprint) {
                        return Err(Error::OtherBase {
                            path,
                            base: base.into(),
                            expected: base_model_name_or_path.display().to_string(),
                        });
                    }
                    let lm = CausalLm::load(base, placement)?;
                    let text = Text::open(base, lm.config(), options)?.at_most(max_length);
                    let mlp = Mlp::load(dir, placement)?;
                    if mlp.width() != lm.config().hidden_size {
                        return Err(Error::RewardModelFile {
                            path,
                            problem: format!(
                                "the network reads {} numbers, and its base has {}; train it again",
                                mlp.width(),
                                lm.config().hidden_size
                            ),
                        });
                    }
                    Kind::Embedding(text, Box::new(lm), mlp)
                }
                Description::Linear { .. } => {
                    let mlp = Mlp::load(dir, placement)?;
                    if mlp.width() != features::NAMES.len() {
                        return Err(Error::RewardModelFile {
                            path,
                            problem: format!(
                                "the model reads {} features, and there are {}; train it again",
                                mlp.width(),
                                features::NAMES.len()
                            ),
                        });
                    }
                    Kind::Linear(mlp)
                }
                Description::Ensemble(config) => {
                    let members = (0..config.num_members)
                        .map(|number| Self::load(&dir.join(member_dir(number)), options, placement))
                        .collect::<Result<_, _>>()?;
                    Kind::Ensemble(config, members)
                }
            },
        };
        Ok(Self { kind })
    }

    fn classifier(
        dir: &Path,
        options: &LoadOptions<'_>,
        placement: &Placement,
    ) -> Result<Kind, Error> {
        if let (_, Head::LanguageModel) = DecoderConfig::load(dir)? {
            // It would load, with a score head drawn at random.
            return Err(Error::NoRewardModel { path: dir.into() });
        }
        let model = SequenceClassifier::load(dir, 0, placement)?;
        let text = Text::open(dir, model.model.config(), options)?;
        Ok(Kind::Classifier(text, Box::new(model)))
    }

    /// One logit per `(prompt, completion)`.
    ///
    /// The end token is appended to every completion.
    ///
    /// # Errors
    /// When a text cannot be tokenised or exceeds the model's context, or the model answers
    /// NaN.
    pub fn score(&self, pairs: &[(&str, &str)]) -> Result<Scored, Error> {
        let (logits, tokens) = match &self.kind {
            Kind::Classifier(text, model) => {
                let rows = text.rows(pairs)?;
                let sequences: Vec<_> = rows.iter().map(sequence).collect();
                (model.score_all(&sequences, text.batch_size)?, tokens(&rows))
            }
            Kind::Embedding(text, lm, mlp) => {
                let rows = text.rows(pairs)?;
                let sequences: Vec<_> = rows.iter().map(sequence).collect();
                let embeddings = lm.model.embed_all(&sequences, text.batch_size)?;
                let vectors: Vec<&[f32]> = embeddings.iter().map(Vec::as_slice).collect();
                (mlp.score_all(&vectors, pairs.len())?, tokens(&rows))
            }
            Kind::Linear(mlp) => {
                let vectors: Vec<Vec<f32>> = pairs
                    .iter()
                    .map(|(_, answer)| vectors::features(answer))
                    .collect();
                let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
                (mlp.score_all(&vectors, pairs.len())?, 0)
            }
            Kind::Ensemble(config, members) => return together(config, members, pairs),
        };
        Ok(Scored {
            logits,
            spread: Vec::new(),
            tokens,
        })
    }
}

fn together(
    config: &EnsembleConfig,
    members: &[RewardModel],
    pairs: &[(&str, &str)],
) -> Result<Scored, Error> {
    let all = members.iter().map(|member| member.score(pairs));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let each = (0..pairs.len()).map(|pair| {
        let logits: Vec<f32> = all.iter().map(|scored| scored.logits[pair]).collect();
        config.aggregate(&logits)
    });
    let (logits, spread) = each.unzip();
    Ok(Scored {
        logits,
        spread,
        tokens: all.iter().map(|scored| scored.tokens).sum(),
    })
}

fn description(path: &Path) -> Result<Description, Error> {
    let text = afd_stage::fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|error| Error::RewardModelFile {
        path: path.into(),
        problem: format!("no description of a reward model: {error}"),
    })
}

fn tokens(rows: &[TokenRow]) -> u64 {
    rows.iter().map(|row| row.ids.len() as u64).sum()
}

impl Text {
    fn open(dir: &Path, shape: &DecoderConfig, options: &LoadOptions<'_>) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open(dir, options.form)?;
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
        let row = |(index, (prompt, completion)): (usize, &(&str, &str))| {
            let limit = match self.truncation {
                Some(_) => usize::MAX,
                None => self.context,
            };
            let too_long = || Error::TooLong {
                number: index + 1,
                context: self.context,
            };
            let row = TokenRow::example(&self.tokenizer, prompt, completion, limit)?;
            let mut row = row.ok_or_else(too_long)?;
            if let Some(truncation) = self.truncation {
                truncation.cut(&mut row);
            }
            if row.ids.len() > self.context {
                return Err(too_long());
            }
            Ok(row)
        };
        pairs.iter().enumerate().map(row).collect()
    }
}

impl Truncation {
    fn cut(self, row: &mut TokenRow) {
        let over = row.ids.len().saturating_sub(self.max_length);
        match self.side {
            TruncationSide::Right => row.ids.truncate(self.max_length),
            TruncationSide::Left => drop(row.ids.drain(..over)),
        }
        row.prompt_len = match self.side {
            TruncationSide::Right => row.prompt_len.min(row.ids.len()),
            TruncationSide::Left => row.prompt_len.saturating_sub(over),
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
