//! Negative log-likelihood of answers.

use afd_data::TokenRow;
use afd_model::{Batch, CausalLm, Collator, Pretrained, Sequence, Side};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};

/// Forward KL to the demonstrator, up to its entropy.
///
/// Formula: `−Σ_t log π(a_t | s_t)` over the answer's tokens, end token included; the sum
/// over a step's answers is divided by the number of their tokens.
/// Source: Sun & van der Schaar, arXiv 2405.15624, the forward-KL objective.
/// With several answers in a dialogue ([`TokenRow::trained`]) the sums run over all of them.
/// Departure: the division. It is one constant for the whole step, so within a step every
/// token counts the same and long answers are not re-weighted as a mean per answer would.
/// Sign: minimised; lower = the policy finds demonstrations more likely.
#[derive(Debug)]
pub struct NegativeLogLikelihood {
    /// The demonstrations.
    pub rows: Vec<TokenRow>,
    /// What the dropout of adapters is drawn from.
    pub seed: u64,
}

impl NegativeLogLikelihood {
    /// Whether each target of an example is trained on.
    fn trained(&self, example: usize) -> impl Iterator<Item = bool> {
        let first = self.sequence(example).first_target();
        self.rows[example].mask().into_iter().skip(first)
    }

    fn sequence(&self, example: usize) -> Sequence<'_> {
        let row = &self.rows[example];
        Sequence {
            ids: &row.ids,
            prompt_len: row.prompt_len,
        }
    }
}

impl Objective<CausalLm> for NegativeLogLikelihood {
    type Collator = Collator;
    /// With what each log-probability weighs in the loss.
    type Batch = (Batch, Vec<f32>);

    fn weight(&self, example: usize) -> f64 {
        self.trained(example).filter(|trained| *trained).count() as f64
    }

    fn tokens(&self, example: usize) -> u64 {
        self.rows[example].ids.len() as u64
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> Self::Batch {
        let sequences: Vec<_> = examples.iter().map(|&i| self.sequence(i)).collect();
        let trained = examples.iter().flat_map(|&i| self.trained(i));
        let weights = trained.map(|trained| if trained { -1.0 } else { 0.0 });
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
        Loss {
            sum: model.weighted_log_probs(batch, &weights),
            metrics: Vec::new(),
        }
    }
}
