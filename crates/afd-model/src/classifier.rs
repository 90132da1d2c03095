//! A reward model: a decoder whose last token carries one score.

use std::path::Path;

use afd_backend::{Placement, device::workers, workers::for_each};
use burn::{Tensor, module::Module};

use crate::{
    Decoder, DecoderConfig, Error, Head, Padded, Pretrained, Sequence, Side,
    causal_lm::{chunks_by_length, to_host},
    checkpoint::Checkpoint,
    layers::Linear,
    sequences::index_tensor,
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
    /// `config.json` asks for. A reward model without `score.weight` is an error too.
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
        let score = Linear::score_head(&weights, config.hidden_size)?;
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

    /// One logit per sequence, `[B]`, read at its last real token.
    ///
    /// # Panics
    /// When a sequence is empty or longer than the model's context.
    pub fn scores(&self, sequences: &[Sequence<'_>]) -> Tensor<1> {
        let device = self.model.device().inner();
        let rows: Vec<&[u32]> = sequences.iter().map(|s| s.ids).collect();
        let padded = Padded::new(&rows, Side::Right, &device);
        let [batch, length] = padded.ids.dims();
        let last = rows.iter().zip(&padded.starts).map(|(row, start)| {
            assert!(!row.is_empty(), "an empty sequence has no last token");
            start + row.len() - 1
        });
        let last = index_tensor(last, &device);
        let hidden = self.model.forward(padded.ids);
        let width = self.model.config().hidden_size;
        let hidden = hidden.reshape([batch * length, width]).select(0, last);
        self.score
            .forward(hidden.unsqueeze_dim::<3>(1))
            .reshape([batch])
    }

    /// [`Self::scores`] on the host, `batch` sequences at a time, without gradients.
    ///
    /// # Errors
    /// [`Error::ContextLength`], [`Error::TokenId`] on sequences this model cannot read,
    /// [`Error::NonFinite`] when the model answers NaN.
    pub fn score_all(&self, sequences: &[Sequence<'_>], batch: usize) -> Result<Vec<f32>, Error> {
        self.model.config().check_sequences(sequences)?;
        let chunks = chunks_by_length(sequences, batch);
        let mut out = vec![0.0; sequences.len()];
        let states = vec![self.clone(); workers(&self.model.device())];
        let work = |model: &Self, index: usize| {
            let rows: Vec<Sequence<'_>> = chunks[index].iter().map(|&i| sequences[i]).collect();
            to_host(model.scores(&rows))
        };
        for_each(states, chunks.len(), work, |index, scores: Vec<f32>| {
            for (score, &i) in scores.into_iter().zip(&chunks[index]) {
                out[i] = score;
            }
            Ok(())
        })?;
        Ok(out)
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
