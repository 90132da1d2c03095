//! What a reward model minimises, as functions of logits.
//!
//! Sign convention of all: `chosen` is label 1, the demonstration side; a higher logit is
//! more demonstration-like.

use afd_data::TokenRow;
use afd_model::{Pretrained, Sequence, SequenceClassifier};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use burn::{Tensor, tensor::activation::log_sigmoid};

use crate::ObjectiveKind;

/// Binary cross-entropy on the origin of each answer, per pair `[B]`.
///
/// Formula: `½[−(1−ε) log σ(c) − ε log σ(−c) − (1−ε) log σ(−r) − ε log σ(r)]` with the
/// chosen logit `c`, the rejected `r` and label smoothing `ε`.
/// Source: Sun & van der Schaar, arXiv 2405.15624, the reward-modelling loss.
/// Departures: label smoothing (0 in the source); the ½, so that a pair weighs as much as
/// in [`bradley_terry`].
/// With balanced classes, enough capacity and `ε = 0` the optimum is `log p₊/p₋`.
pub fn binary_cross_entropy(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    label_smoothing: f64,
) -> Tensor<1> {
    let one = smoothed(chosen, label_smoothing);
    let zero = smoothed(rejected.neg(), label_smoothing);
    (one + zero).mul_scalar(0.5)
}

/// Bradley–Terry negative log-likelihood of the pair's order, per pair `[B]`.
///
/// Formula: `−(1−ε) log σ(c − r) − ε log σ(r − c)`.
/// Source: Bradley & Terry 1952; as in Ouyang et al., arXiv 2203.02155, eq. 1.
/// Departure: label smoothing (0 in the source). Shifting all logits changes nothing.
pub fn bradley_terry(chosen: Tensor<1>, rejected: Tensor<1>, label_smoothing: f64) -> Tensor<1> {
    smoothed(chosen - rejected, label_smoothing)
}

/// `−(1−ε) log σ(x) − ε log σ(−x)`, elementwise.
fn smoothed(logit: Tensor<1>, label_smoothing: f64) -> Tensor<1> {
    let right = log_sigmoid(logit.clone()).mul_scalar(label_smoothing - 1.0);
    if label_smoothing == 0.0 {
        return right;
    }
    right - log_sigmoid(logit.neg()).mul_scalar(label_smoothing)
}

/// A tokenised pair.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Prompt and the answer of the demonstration side.
    pub chosen: TokenRow,
    /// Prompt and the other answer.
    pub rejected: TokenRow,
}

/// Pairs with the objective to fit them by.
#[derive(Debug)]
pub struct PairObjective {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Which loss.
    pub kind: ObjectiveKind,
    /// Its `ε`.
    pub label_smoothing: f64,
    /// What the dropout of adapters is drawn from.
    pub seed: u64,
}

impl PairObjective {
    /// Logits of the chosen and the rejected side of some pairs, `[B]` each, from one pass.
    pub fn logits(&self, model: &SequenceClassifier, examples: &[usize]) -> (Tensor<1>, Tensor<1>) {
        let chosen = examples.iter().map(|&i| sequence(&self.pairs[i].chosen));
        let rejected = examples.iter().map(|&i| sequence(&self.pairs[i].rejected));
        let rows: Vec<Sequence<'_>> = chosen.chain(rejected).collect();
        let logits = model.scores(&rows);
        let b = examples.len();
        (logits.clone().narrow(0, 0, b), logits.narrow(0, b, b))
    }
}

/// A token row as the model crate reads it.
pub(crate) fn sequence(row: &TokenRow) -> Sequence<'_> {
    Sequence {
        ids: &row.ids,
        prompt_len: row.prompt_len,
    }
}

impl Objective<SequenceClassifier> for PairObjective {
    fn weight(&self, _example: usize) -> f64 {
        1.0
    }

    fn tokens(&self, example: usize) -> u64 {
        let pair = &self.pairs[example];
        (pair.chosen.ids.len() + pair.rejected.ids.len()) as u64
    }

    fn loss(&self, model: &SequenceClassifier, examples: &[usize], draw: Option<u64>) -> Loss {
        let draw = draw.map(|draw| derive(self.seed, "dropout", draw));
        let model = model.clone().with_dropout(draw);
        let (chosen, rejected) = self.logits(&model, examples);
        let margin = chosen.clone() - rejected.clone();
        let right = margin.clone().greater_scalar(0.0).int().sum();
        let loss = match self.kind {
            ObjectiveKind::BinaryCrossEntropy => {
                binary_cross_entropy(chosen, rejected, self.label_smoothing)
            }
            ObjectiveKind::BradleyTerry => bradley_terry(chosen, rejected, self.label_smoothing),
        };
        Loss {
            sum: loss.sum(),
            metrics: vec![
                ("accuracy", f64::from(right.into_scalar::<i32>())),
                ("margin", f64::from(margin.sum().into_scalar::<f32>())),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_backend::device::test_device;

    fn value(t: Tensor<1>) -> f32 {
        t.into_scalar::<f32>()
    }

    fn logit(x: f32) -> Tensor<1> {
        Tensor::from_data([x], &test_device())
    }

    #[test]
    fn binary_cross_entropy_on_paper() {
        // σ(ln 3) = ¾ and σ(−0) = ½: ½(−ln ¾ − ln ½) = ½ ln(8/3).
        let loss = value(binary_cross_entropy(logit(3f32.ln()), logit(0.0), 0.0));
        assert!((loss - 0.5 * (8.0f32 / 3.0).ln()).abs() < 1e-6);
        // With ε = ¼ the chosen side costs ¾·ln(4/3) + ¼·ln 4, the other still ln 2.
        let loss = value(binary_cross_entropy(logit(3f32.ln()), logit(0.0), 0.25));
        let chosen = 0.75 * (4.0f32 / 3.0).ln() + 0.25 * 4f32.ln();
        assert!((loss - 0.5 * (chosen + 2f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn bradley_terry_on_paper_and_blind_to_shifts() {
        // σ(ln 3) = ¾.
        let loss = value(bradley_terry(logit(3f32.ln()), logit(0.0), 0.0));
        assert!((loss - (4.0f32 / 3.0).ln()).abs() < 1e-6);
        let shifted = value(bradley_terry(logit(3f32.ln() + 5.0), logit(5.0), 0.0));
        assert!((loss - shifted).abs() < 1e-5);
    }

    #[test]
    fn swapping_the_sides_of_unordered_logits_changes_nothing_at_half_smoothing_only() {
        let loss = |c, r, e| value(bradley_terry(logit(c), logit(r), e));
        assert!((loss(1.0, 0.0, 0.5) - loss(0.0, 1.0, 0.5)).abs() < 1e-6);
        assert!(loss(1.0, 0.0, 0.1) < loss(0.0, 1.0, 0.1));
    }
}
