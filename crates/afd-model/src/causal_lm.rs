//! A language model: a decoder with next-token logits on top.

use std::path::Path;

use afd_backend::{
    Placement,
    ops::{PackedWeight, cap, matmul, token_log_probs, weighted_log_probs},
};
use burn::{
    Tensor,
    module::Module,
    tensor::{FloatDType, Int, TensorData},
};

use crate::{
    Batch, Decoder, DecoderConfig, Error, Head, Pretrained, Sequence, Side,
    checkpoint::Checkpoint,
    hidden::{on_host, on_host_in},
    layers::Linear,
    sequences::index_tensor,
    weights::{Source, Weights},
};

/// `…ForCausalLM`: writes text.
#[derive(Module, Debug)]
pub struct CausalLm {
    /// The decoder.
    pub model: Decoder,
    lm_head: Option<Linear>,
    /// The head as drawing takes it, while it does not change.
    #[module(skip)]
    packed_head: Option<OutputHead>,
}

/// The output head as products take it.
#[derive(Debug, Clone)]
pub(crate) struct OutputHead {
    /// In the compute type, unless it is packed.
    weight: Tensor<2>,
    packed: Option<PackedWeight>,
}

impl CausalLm {
    /// A model with fresh weights; each parameter depends on `seed` and its name alone.
    ///
    /// # Errors
    /// [`Error::Key`] on a shape no model can have.
    pub fn init(config: DecoderConfig, seed: u64, placement: &Placement) -> Result<Self, Error> {
        config.check(Path::new("the model's configuration"))?;
        Self::new(config, Source::Seed(seed), placement)
    }

    /// Reads a Hugging Face directory: `config.json`, and `model.safetensors` or its shards.
    ///
    /// # Errors
    /// When a file is missing or damaged, or a tensor does not have the shape
    /// `config.json` asks for.
    pub fn load(dir: &Path, placement: &Placement) -> Result<Self, Error> {
        let (config, head) = DecoderConfig::load(dir)?;
        if head != Head::LanguageModel {
            return Err(Error::Key {
                path: dir.join("config.json"),
                key: "architectures",
                problem: "names a reward model; a policy needs …ForCausalLM".into(),
            });
        }
        let source = Source::Checkpoint {
            checkpoint: Box::new(Checkpoint::open(dir)?),
            fallback: None,
        };
        Self::new(config, source, placement)
    }

    fn new(config: DecoderConfig, source: Source, placement: &Placement) -> Result<Self, Error> {
        let weights = Weights {
            source,
            config: &config,
            placement,
        };
        let (shape, std) = (
            [config.hidden_size, config.vocab_size],
            config.initializer_range,
        );
        let lm_head = (!config.tie_word_embeddings)
            .then(|| Linear::new(&weights, "lm_head", shape, false, std))
            .transpose()?;
        if config.tie_word_embeddings {
            weights.check_tied_head()?;
        }
        let model = Decoder::new(config.clone(), &weights)?;
        weights.finish()?;
        Ok(Self {
            model,
            lm_head,
            packed_head: None,
        })
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &DecoderConfig {
        self.model.config()
    }

    /// The output head, `[D, V]`, in the type its weights are held in.
    fn head(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.base(),
            None => self.model.embed_tokens.weight.base().transpose(),
        }
    }

    /// The same model to draw answers from, its weights laid out for that where the device wants it: once for all
    /// threads that hold a copy, and for all calls of [`generate`](crate::generate()). For drawing and scoring alone:
    /// it is not to be trained, nor are weights to be put into it, since it would go on with the old ones.
    pub fn for_drawing(&self) -> Self {
        Self {
            model: self.model.packed(),
            packed_head: Some(self.head_for_reading()),
            ..self.clone()
        }
    }

    /// The head for many products without gradients.
    pub(crate) fn head_for_reading(&self) -> OutputHead {
        if let Some(head) = &self.packed_head {
            return head.clone();
        }
        let (weight, compute) = (self.head(), self.model.compute());
        match PackedWeight::new(weight.clone(), compute) {
            None => OutputHead {
                weight: weight.cast(compute),
                packed: None,
            },
            packed => OutputHead { weight, packed },
        }
    }

    /// Log-probabilities in nats of every answer token of every sequence, one after the
    /// other, `[Σ targets]`; [`Sequence::targets`] tells how many belong to each.
    ///
    /// The result does not depend on the padding `side`; [`Side::Right`] is cheaper.
    ///
    /// # Panics
    /// When no sequence has a target, or one is longer than the model's context.
    pub fn log_probs(&self, sequences: &[Sequence<'_>], side: Side) -> Tensor<1> {
        self.batch_log_probs(self.config().collator().predictors(sequences, side))
    }

    /// [`log_probs`](Self::log_probs) of sequences that [`Collator::predictors`](crate::Collator::predictors) put together.
    ///
    /// # Panics
    /// As there.
    pub fn batch_log_probs(&self, batch: Batch) -> Tensor<1> {
        let targets = self.index(batch.next_tokens());
        let hidden = self.model.hidden_of(batch);
        self.log_probs_of(hidden, targets)
    }

    /// `Σ weights · log-probabilities` in nats, `[1]`, with a weight for each of what
    /// [`batch_log_probs`](Self::batch_log_probs) gives: the same, in training faster, because the gradient
    /// is computed with the value.
    ///
    /// # Panics
    /// As there, and when the number of weights is another.
    pub fn weighted_log_probs(&self, batch: Batch, weights: &[f32]) -> Tensor<1> {
        let targets = self.index(batch.next_tokens());
        let hidden = self.model.hidden_of(batch);
        let weights = Tensor::from_data(weights, &self.model.device().inner());
        let softcap = self.config().final_logit_softcapping;
        let hidden = hidden.cast(self.model.compute());
        weighted_log_probs(hidden, self.head(), targets, weights, softcap)
    }

    /// Log-probabilities of the targets of `sequences` after the `hidden` states that predict them,
    /// `[Σ targets, D]`.
    fn log_probs_after(&self, hidden: Tensor<2>, sequences: &[Sequence<'_>]) -> Tensor<1> {
        let targets = sequences.iter().flat_map(|s| &s.ids[s.first_target()..]);
        let targets = self.index(targets.map(|id| *id as usize));
        self.log_probs_of(hidden, targets)
    }

    /// Log-probabilities of the `targets` after the `hidden` states that predict them, `[targets, D]`.
    fn log_probs_of(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let softcap = self.config().final_logit_softcapping;
        let hidden = hidden.cast(self.model.compute());
        token_log_probs(hidden, self.head(), targets, softcap)
    }

    fn index(&self, ids: impl Iterator<Item = usize>) -> Tensor<1, Int> {
        index_tensor(ids, &self.model.device().inner())
    }

    /// [`Self::log_probs`] on the host, split by sequence, without gradients.
    ///
    /// At most `batch` sequences are run at a time. A prompt of several is read once where that
    /// pays; the others are run by length, so little is spent on padding.
    ///
    /// # Errors
    /// [`Error::ContextLength`], [`Error::TokenId`] on sequences this model cannot read,
    /// [`Error::NonFinite`] when the model answers NaN.
    pub fn score_log_probs(
        &self,
        sequences: &[Sequence<'_>],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        on_host(
            (self, &self.model),
            sequences,
            batch,
            |row| row.predictors(),
            Self::log_probs_after,
        )
    }

    /// [`Self::score_log_probs`] of sequences that are run together as `batches` says, which holds their
    /// indices: to the last bit what a training step sees that has the same micro-batches, where the
    /// device repeats itself.
    ///
    /// # Errors
    /// Those of [`Self::score_log_probs`].
    pub fn score_log_probs_in(
        &self,
        sequences: &[Sequence<'_>],
        batches: &[Vec<usize>],
    ) -> Result<Vec<Vec<f32>>, Error> {
        on_host_in(
            (self, &self.model),
            sequences,
            batches,
            |row| row.predictors(),
            Self::log_probs_after,
        )
    }

    /// Next-token logits after each of `rows` (all of one length), `[B, V]`, by one full
    /// forward pass without a cache. For tests and inspection.
    pub fn next_logits(&self, rows: &[&[u32]]) -> Tensor<2> {
        let length = rows.first().map_or(0, |row| row.len());
        let ids: Vec<i32> = rows.concat().iter().map(|id| *id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(ids, [rows.len(), length]),
            &self.model.device().inner(),
        );
        let hidden = self.model.forward(ids).narrow(1, length - 1, 1);
        self.logits(hidden.squeeze_dim::<2>(1), &self.head_for_reading())
    }

    /// Logits `[N, V]` of hidden states `[N, D]`, both f32, by the model's
    /// [`head_for_reading`](Self::head_for_reading).
    pub(crate) fn logits(&self, hidden: Tensor<2>, head: &OutputHead) -> Tensor<2> {
        let logits = match &head.packed {
            Some(packed) => packed.multiply(hidden),
            None => matmul(hidden, head.weight.clone(), self.model.compute()),
        };
        let softcap = self.config().final_logit_softcapping;
        cap(logits.cast(FloatDType::F32), softcap)
    }
}

impl Pretrained for CausalLm {
    const HEAD: Head = Head::LanguageModel;

    fn read(dir: &Path, placement: &Placement) -> Result<Self, Error> {
        Self::load(dir, placement)
    }

    fn decoder(&self) -> &Decoder {
        &self.model
    }

    fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.model
    }
}

impl DecoderConfig {
    /// Refuses sequences longer than the context or with ids outside the vocabulary.
    pub(crate) fn check_sequences(&self, sequences: &[Sequence<'_>]) -> Result<(), Error> {
        for sequence in sequences {
            if sequence.ids.len() > self.context() {
                return Err(Error::ContextLength {
                    prompt: sequence.prompt_len,
                    new: sequence.ids.len() - sequence.prompt_len,
                    context: self.context(),
                });
            }
            if let Some(id) = sequence
                .ids
                .iter()
                .find(|id| **id as usize >= self.vocab_size)
            {
                return Err(Error::TokenId {
                    id: *id,
                    vocab_size: self.vocab_size,
                });
            }
        }
        Ok(())
    }
}
