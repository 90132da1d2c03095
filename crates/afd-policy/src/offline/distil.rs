//! Best-of-N into weights: the negative log-likelihood of its answers.

use afd_data::TokenRow;
use afd_model::{Batch, CausalLm, Collator, Pretrained, Side};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use burn::Tensor;

use super::{answer::sequence, fit::Lengths};

/// Weighted negative log-likelihood, of tokens or of whole answers, `[A]`.
///
/// Formula: `−w log π`.
/// Source: RAFT, Dong et al., arXiv 2304.06767, where `w` is 1 for the best of a prompt's answers
/// and 0 for the others; forward-KL BOND, Sessa et al., arXiv 2407.14622, eq. 7.
/// Departures: `w` is the probability that an answer is the best of N out of those stored
/// ([`afd_model::best_of_n_weights`]), which is RAFT's expectation over which N were drawn: the same
/// gradient on average, with less noise. BOND's backward KL is not in it.
/// Sign: minimised; lower = the policy finds Best-of-N's answers more likely. Over answers drawn
/// from a policy its optimum is that policy's Best-of-N.
pub fn weighted_nll(log_probs: Tensor<1>, weights: Tensor<1>) -> Tensor<1> {
    (log_probs * weights).neg()
}

/// [`weighted_nll`] of stored answers, end token included.
///
/// The sum over a step's answers is divided by the number of their tokens, as in fine-tuning, and
/// not by their weights: a step of unlikely winners is to count for less than one of likely ones.
#[derive(Debug)]
pub struct Distil {
    rows: Vec<(TokenRow, f64)>,
    seed: u64,
}

impl Distil {
    /// Answers with their weights, which are scaled so that an average token weighs 1. Answers that
    /// weigh nothing are left out. The dropout of adapters is drawn from `seed`.
    pub fn new(mut rows: Vec<(TokenRow, f64)>, seed: u64) -> Self {
        rows.retain(|(_, weight)| *weight > 0.0);
        let tokens = |row: &TokenRow| sequence(row).targets() as f64;
        let all: f64 = rows.iter().map(|(row, _)| tokens(row)).sum();
        let weighted: f64 = rows.iter().map(|(row, weight)| weight * tokens(row)).sum();
        for (_, weight) in &mut rows {
            *weight *= all / weighted;
        }
        Self { rows, seed }
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Lengths for Distil {
    fn lengths(&self) -> Vec<usize> {
        self.rows.iter().map(|(row, _)| row.ids.len()).collect()
    }
}

impl Objective<CausalLm> for Distil {
    type Collator = Collator;
    /// With what each log-probability weighs.
    type Batch = (Batch, Vec<f32>);

    fn weight(&self, example: usize) -> f64 {
        sequence(&self.rows[example].0).targets() as f64
    }

    fn tokens(&self, example: usize) -> u64 {
        self.rows[example].0.ids.len() as u64
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> Self::Batch {
        let rows = || examples.iter().map(|&i| &self.rows[i]);
        let sequences: Vec<_> = rows().map(|(row, _)| sequence(row)).collect();
        let weights = rows()
            .zip(&sequences)
            .flat_map(|((_, weight), row)| std::iter::repeat_n(*weight as f32, row.targets()));
        (
            collator.predictors(&sequences, Side::Right),
            weights.collect(),
        )
    }

    fn loss(
        &self,
        model: &CausalLm,
        _examples: &[usize],
        (batch, weights): Self::Batch,
        draw: Option<u64>,
    ) -> Loss {
        let draw = draw.map(|draw| derive(self.seed, "dropout", draw));
        let model = model.clone().with_dropout(draw);
        let log_probs = model.batch_log_probs(batch);
        let weights = Tensor::from_data(weights.as_slice(), &log_probs.device().inner());
        Loss {
            sum: weighted_nll(log_probs, weights).sum(),
            metrics: Vec::new(),
        }
    }
}
