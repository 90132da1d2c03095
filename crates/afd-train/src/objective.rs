//! What is minimised.

use burn::Tensor;

/// A loss over a fixed list of examples.
///
/// The loop minimises `Σ loss(example) / Σ weight(example)` over the examples of an
/// optimiser step. Because both are sums, one batch of eight and eight batches of one
/// give the same gradient, whatever the lengths of the examples.
pub trait Objective<M> {
    /// What an example counts for: its target tokens, or 1.
    fn weight(&self, example: usize) -> f64;

    /// How many tokens a forward pass reads for an example, for the throughput metric.
    fn tokens(&self, example: usize) -> u64;

    /// The summed loss of some examples.
    ///
    /// In training `draw` is the number of this call over the whole training, for an objective
    /// that draws (dropout) to draw from; in evaluation it is none, and nothing is to be drawn.
    fn loss(&self, model: &M, examples: &[usize], draw: Option<u64>) -> Loss;
}

/// A summed loss, and whatever else the forward pass tells.
#[derive(Debug)]
pub struct Loss {
    /// Sum over the examples, one element.
    pub sum: Tensor<1>,
    /// Sums over the examples of further quantities; reported divided by the weights.
    pub metrics: Vec<(&'static str, f64)>,
}
