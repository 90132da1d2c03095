//! A reward model: a decoder whose last token carries one score.

use std::{ops::Range, path::Path};

use afd_backend::Placement;
use burn::{Tensor, module::Module};

use crate::{
    Batch, Decoder, DecoderConfig, Error, Head, Pretrained, Sequence, Side,
    batch::answer,
    checkpoint::Checkpoint,
    hidden::on_host,
    layers::Linear,
    weights::{Source, Weights},
};

/// `…ForSequenceClassification` with one label: reads text, answers a logit.
#[derive(Module, Debug)]
pub struct SequenceClassifier {
    /// The decoder.
    pub model: Decoder,
    score: Linear,
}

impl SequenceClassifier {
    /// Reads a reward model, or the decoder of a language model with a fresh `score` head
    /// drawn from `seed` with standard deviation `1/√(D+1)`.
    ///
    /// # Errors
    /// When a file is missing or damaged, or a tensor does not have the shape
    /// `config.json` asks for; [`Error::ScoreHead`] when a reward model has no `score.weight`, or
    /// one of several labels.
    pub fn load(dir: &Path, seed: u64, placement: &Placement) -> Result<Self, Error> {
        let (config, head) = DecoderConfig::load(dir)?;
        let fallback = (head == Head::LanguageModel).then_some(("score.weight", seed));
        let weights = Weights {
            source: Source::Checkpoint {
                checkpoint: Box::new(Checkpoint::open(dir)?),
                fallback,
            },
            config: &config,
            placement,
        };
        let score = Linear::score_head(&weights, config.hidden_size).map_err(no_head)?;
        let model = Decoder::new(config.clone(), &weights)?;
        weights.finish()?;
        Ok(Self { model, score })
    }

    /// A fresh head, drawn from `seed` as by [`Self::load`], on the decoder of another model, whose
    /// memory it shares.
    ///
    /// # Errors
    /// None: the decoder's shape was checked when it was built.
    pub fn on(decoder: Decoder, seed: u64, placement: &Placement) -> Result<Self, Error> {
        let config = decoder.config().clone();
        let weights = Weights {
            source: Source::Seed(seed),
            config: &config,
            placement,
        };
        let score = Linear::score_head(&weights, config.hidden_size)?;
        Ok(Self {
            model: decoder,
            score,
        })
    }

    /// The same model, which names `id` as its padding if the checkpoint named none: without
    /// it transformers scores no batch of more than one.
    pub fn with_pad_token(mut self, id: u32) -> Self {
        self.model.set_pad_token(id);
        self
    }

    /// One logit per sequence, `[B]`, read at [`Collator::last_of`](crate::Collator::last_of).
    ///
    /// # Panics
    /// When a sequence is empty or longer than the model's context.
    pub fn scores(&self, sequences: &[Sequence<'_>]) -> Tensor<1> {
        self.read(self.config().collator().last(sequences))
    }

    /// One logit per answer token, `[Σ answer tokens]`, row after row: each read at that token,
    /// which sees the prompt and the answer up to it. The one at [`Collator::last_of`](crate::Collator::last_of) is the row's
    /// [`Self::scores`].
    ///
    /// # Panics
    /// When a sequence is longer than the model's context.
    pub fn token_scores(&self, sequences: &[Sequence<'_>]) -> Tensor<1> {
        self.read(self.config().collator().answers(sequences))
    }

    /// One number per answer token, `[Σ answer tokens]`, row after row: each read at the token before
    /// it, at the state in which it is drawn. What a value model says.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context.
    pub fn state_values(&self, sequences: &[Sequence<'_>]) -> Tensor<1> {
        let collator = self.config().collator();
        self.read(collator.predictors(sequences, Side::Right))
    }

    /// The score head at the positions that `batch` reads, `[positions]`.
    ///
    /// # Panics
    /// When a sequence is longer than the model's context.
    pub fn read(&self, batch: Batch) -> Tensor<1> {
        self.scores_of(self.model.hidden_of(batch))
    }

    /// The score head on hidden states `[N, D]`, `[N]`.
    fn scores_of(&self, hidden: Tensor<2>) -> Tensor<1> {
        let count = hidden.dims()[0];
        self.score
            .forward(hidden.unsqueeze_dim::<3>(1))
            .reshape([count])
    }

    /// The same on the host.
    fn read_all(
        &self,
        sequences: &[Sequence<'_>],
        batch: usize,
        positions: impl Fn(&Sequence<'_>) -> Range<usize> + Sync,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let scores = |model: &Self, hidden: Tensor<2>, _: &[Sequence<'_>]| model.scores_of(hidden);
        on_host((self, &self.model), sequences, batch, positions, scores)
    }

    /// The same model, whose scores are divided by `temperature`.
    ///
    /// # Panics
    /// When `temperature` is not above 0.
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        assert!(temperature > 0.0, "a temperature above 0");
        let scaled = |weight: Tensor<2>| weight.div_scalar(temperature);
        self.score.weight = self.score.weight.map(scaled);
        self
    }

    /// [`Self::scores`] on the host, without gradients. At most `batch` sequences are run at a time; a
    /// prompt of several is read once where that pays.
    ///
    /// # Errors
    /// [`Error::ContextLength`], [`Error::TokenId`] on sequences this model cannot read,
    /// [`Error::NonFinite`] when the model answers NaN.
    pub fn score_all(&self, sequences: &[Sequence<'_>], batch: usize) -> Result<Vec<f32>, Error> {
        let collator = self.config().collator();
        let scores = self.read_all(sequences, batch, |sequence| {
            let last = collator.last_of(sequence);
            last..last + 1
        })?;
        Ok(scores.into_iter().flatten().collect())
    }

    /// [`Self::token_scores`] on the host, those of each sequence.
    ///
    /// # Errors
    /// Those of [`Self::score_all`].
    pub fn score_tokens(
        &self,
        sequences: &[Sequence<'_>],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.read_all(sequences, batch, answer)
    }

    /// [`Self::state_values`] on the host, those of each sequence.
    ///
    /// # Errors
    /// Those of [`Self::score_all`].
    pub fn value_tokens(
        &self,
        sequences: &[Sequence<'_>],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.read_all(sequences, batch, |sequence| sequence.predictors())
    }
}

/// What is missing, and not merely that the file is another than expected.
fn no_head(error: Error) -> Error {
    match error {
        Error::MissingTensor { path, name } => Error::ScoreHead {
            path,
            problem: format!(
                "`{name}` is missing, though config.json promises a reward model; save it again with its head, or take the one it was copied from"
            ),
        },
        Error::Shape {
            path, name, found, ..
        } if found.first().is_some_and(|&labels| labels != 1) => Error::ScoreHead {
            path,
            problem: format!(
                "`{name}` answers every text with {} numbers (`num_labels`), and a reward model with one; take a classifier trained with num_labels = 1",
                found[0]
            ),
        },
        error => error,
    }
}

impl Pretrained for SequenceClassifier {
    const HEAD: Head = Head::Score;

    fn read(dir: &Path, placement: &Placement) -> Result<Self, Error> {
        // A classifier's file holds its head, so nothing is drawn.
        Self::load(dir, 0, placement)
    }

    fn decoder(&self) -> &Decoder {
        &self.model
    }

    fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.model
    }
}
