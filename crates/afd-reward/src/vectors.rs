//! Reward models on vectors: frozen embeddings, or readable features of the answer.

use afd_backend::Placement;
use afd_data::features;
use afd_model::Mlp;
use afd_stage::{StageContext, seed::derive};
use afd_train::{Loss, Objective, TrainConfig};
use burn::Tensor;

use crate::{
    Error, RewardConfig,
    fit::{Files, Fitted, Member, PairLogits, fit},
    objective::{PairLoss, lead},
    split::{Pair, Split},
};

/// What a model on features reads of an answer.
pub(crate) fn features(answer: &str) -> Vec<f32> {
    let values = features::readable(answer);
    values.iter().map(|&value| value as f32).collect()
}

/// Pairs of vectors with the loss to fit them by.
pub(crate) struct VectorObjective<'a> {
    pairs: &'a [Pair<Vec<f32>>],
    loss: PairLoss,
}

impl Objective<Mlp> for VectorObjective<'_> {
    type Collator = ();
    /// Vectors need no putting together.
    type Batch = ();

    fn weight(&self, _example: usize) -> f64 {
        1.0
    }

    fn tokens(&self, _example: usize) -> u64 {
        0
    }

    fn collator(&self, _model: &Mlp) {}

    fn batch(&self, (): &(), _examples: &[usize]) {}

    fn loss(&self, model: &Mlp, examples: &[usize], (): (), _draw: Option<u64>) -> Loss {
        let (chosen, rejected) = self.logits(model, examples);
        let loss = self.loss.of(chosen.clone(), rejected.clone());
        Loss {
            sum: loss.sum(),
            metrics: lead(chosen, rejected, &vec![1.0; examples.len()]),
        }
    }
}

impl PairLogits<Mlp> for VectorObjective<'_> {
    fn logits(&self, model: &Mlp, pairs: &[usize]) -> (Tensor<1>, Tensor<1>) {
        let chosen = pairs.iter().map(|&pair| &self.pairs[pair].chosen[..]);
        let rejected = pairs.iter().map(|&pair| &self.pairs[pair].rejected[..]);
        let rows: Vec<&[f32]> = chosen.chain(rejected).collect();
        let (logits, count) = (model.scores(&rows), pairs.len());
        (
            logits.clone().narrow(0, 0, count),
            logits.narrow(0, count, count),
        )
    }

    fn lengths(&self) -> Option<Vec<usize>> {
        None
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }
}

/// Trains a network on the pairs of a member.
///
/// # Errors
/// Those of [`fit`].
pub(crate) fn train_member(
    config: &RewardConfig,
    train: &TrainConfig,
    pairs: &Split<Vec<f32>>,
    member: &Member,
    placement: &Placement,
    ctx: &StageContext,
) -> Result<(Mlp, Fitted), Error> {
    let objective = |pairs| VectorObjective {
        pairs,
        loss: config.loss(),
    };
    let sides = pairs
        .training
        .iter()
        .flat_map(|pair| [&pair.chosen[..], &pair.rejected[..]]);
    let rows: Vec<&[f32]> = sides.collect();
    let hidden = config.hidden_sizes.as_deref().unwrap_or_default();
    let master = placement.for_training();
    let model = Mlp::init(&rows, hidden, derive(member.seed, "mlp", 0), &master);
    let files = Files {
        save: &|model: &Mlp, dir| model.save(dir),
        load: &|dir| Mlp::load(dir, &master),
    };
    let (training, held_out) = (objective(&pairs.training), objective(&pairs.held_out));
    fit(model, &training, &held_out, member, train, &files, ctx)
}
