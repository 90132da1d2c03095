//! What is minimised.

use burn::Tensor;

/// A loss over a fixed list of examples.
///
/// The loop minimises `Σ loss(example) / Σ weight(example)` over the examples of an
/// optimiser step. Because both are sums, one batch of eight and eight batches of one
/// give the same gradient, whatever the lengths of the examples.
///
/// A forward pass has two halves: a batch is put together on the host, by another thread while the step
/// before is under way, and the model reads it.
pub trait Objective<M>: Sync {
    /// What batches are made with: how a model reads, and nothing that a step changes. It is asked of the
    /// model once.
    type Collator: Sync;

    /// Examples put together for a forward pass.
    type Batch: Send;

    /// What an example counts for: its target tokens, or 1.
    fn weight(&self, example: usize) -> f64;

    /// How many tokens a forward pass reads for an example, for the throughput metric.
    fn tokens(&self, example: usize) -> u64;

    /// What batches for `model` are made with.
    fn collator(&self, model: &M) -> Self::Collator;

    /// Puts some examples together.
    fn batch(&self, collator: &Self::Collator, examples: &[usize]) -> Self::Batch;

    /// The summed loss of some examples, put together in `batch`.
    ///
    /// In training `draw` is the number of this call over the whole training, for an objective
    /// that draws (dropout) to draw from; in evaluation it is none, and nothing is to be drawn.
    fn loss(&self, model: &M, examples: &[usize], batch: Self::Batch, draw: Option<u64>) -> Loss;

    /// [`Self::loss`] of some examples, which are put together first.
    fn loss_on(&self, model: &M, examples: &[usize], draw: Option<u64>) -> Loss {
        let batch = self.batch(&self.collator(model), examples);
        self.loss(model, examples, batch, draw)
    }
}

/// A summed loss, and whatever else the forward pass tells.
#[derive(Debug)]
pub struct Loss {
    /// Sum over the examples, one element.
    pub sum: Tensor<1>,
    /// Sums over the examples of further quantities; reported divided by the weights.
    pub metrics: Vec<(&'static str, f64)>,
}

/// Examples that share a pass, put together for it.
#[derive(Debug)]
pub(crate) struct MicroBatch<B> {
    pub(crate) examples: Vec<usize>,
    pub(crate) batch: B,
}

/// Puts each list of examples together.
pub(crate) fn collate<M, O: Objective<M>>(
    objective: &O,
    collator: &O::Collator,
    lists: Vec<Vec<usize>>,
) -> Vec<MicroBatch<O::Batch>> {
    let put_together = |examples: Vec<usize>| MicroBatch {
        batch: objective.batch(collator, &examples),
        examples,
    };
    lists.into_iter().map(put_together).collect()
}
