//! What a reward model minimises, as functions of logits.
//!
//! Sign convention of all: `chosen` is label 1, the demonstration side; a higher logit is
//! more demonstration-like. `afd-tests` holds each against its population optimum, found by
//! `afd-exact`.

mod origin;
mod preference;
mod token;

use afd_data::TokenRow;
use afd_model::{Batch, Collator, Pretrained, Sequence, SequenceClassifier};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use burn::Tensor;
use serde::{Deserialize, Serialize};

pub use origin::{binary_cross_entropy, brier, hinge, kliep, lsif};
pub use preference::{bradley_terry, centering};
pub use token::{token_cross_entropy, token_rewards};

/// How two answers become a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// [`binary_cross_entropy`]: each answer on its own, did the chosen side write it?
    BinaryCrossEntropy,
    /// [`bradley_terry`]: the pair together, which of the two is the chosen one?
    BradleyTerry,
    /// [`brier`].
    Brier,
    /// [`hinge`].
    Hinge,
    /// [`kliep`].
    Kliep,
    /// [`lsif`].
    Lsif,
    /// [`token_cross_entropy`]: every prefix of each answer on its own.
    TokenCrossEntropy,
}

impl ObjectiveKind {
    /// Whether label smoothing means anything to it.
    pub fn smooths(self) -> bool {
        matches!(
            self,
            Self::BinaryCrossEntropy | Self::BradleyTerry | Self::TokenCrossEntropy
        )
    }
}

/// An objective with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// Which.
    pub kind: ObjectiveKind,
    /// `ε` of the objectives that have one.
    pub label_smoothing: f64,
    /// The margin of [`bradley_terry`].
    pub margin: f64,
    /// What [`centering`] is multiplied by.
    pub center_rewards_coefficient: f64,
    /// What the squared logits, `½(c² + r²)`, are multiplied by: it keeps a model that could tell
    /// the classes apart from growing sure beyond its data, and biases every logit towards 0.
    pub logit_penalty: f64,
}

impl PairLoss {
    /// An objective without any of its constants.
    pub fn plain(kind: ObjectiveKind) -> Self {
        Self {
            kind,
            label_smoothing: 0.0,
            margin: 0.0,
            center_rewards_coefficient: 0.0,
            logit_penalty: 0.0,
        }
    }

    /// The loss of pairs whose answers have these logits, `[B]` each, per pair `[B]`. To
    /// [`ObjectiveKind::TokenCrossEntropy`] an answer is a single token here.
    pub fn of(&self, chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
        let epsilon = self.label_smoothing;
        let (c, r) = (chosen.clone(), rejected.clone());
        let loss = match self.kind {
            ObjectiveKind::BinaryCrossEntropy | ObjectiveKind::TokenCrossEntropy => {
                binary_cross_entropy(c, r, epsilon)
            }
            ObjectiveKind::BradleyTerry => bradley_terry(c, r, self.margin, epsilon),
            ObjectiveKind::Brier => brier(c, r),
            ObjectiveKind::Hinge => hinge(c, r),
            ObjectiveKind::Kliep => kliep(c, r),
            ObjectiveKind::Lsif => lsif(c, r),
        };
        loss + self.penalty(chosen, rejected)
    }

    /// What is added to the objective proper.
    fn penalty(&self, chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
        let mut penalty = chosen.zeros_like();
        if self.logit_penalty > 0.0 {
            let squares = chosen.clone().square() + rejected.clone().square();
            penalty = penalty + squares.mul_scalar(0.5 * self.logit_penalty);
        }
        if self.center_rewards_coefficient > 0.0 {
            let centre = centering(chosen, rejected);
            penalty = penalty + centre.mul_scalar(self.center_rewards_coefficient);
        }
        penalty
    }
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
    pub loss: PairLoss,
    /// What the dropout of adapters is drawn from.
    pub seed: u64,
}

impl PairObjective {
    /// Logits of the chosen and the rejected side of some pairs, `[B]` each, from one pass.
    pub fn logits(&self, model: &SequenceClassifier, examples: &[usize]) -> (Tensor<1>, Tensor<1>) {
        halves(model.scores(&self.sequences(examples)))
    }

    /// The chosen answers of some pairs, then the rejected ones.
    fn sequences(&self, examples: &[usize]) -> Vec<Sequence<'_>> {
        let chosen = examples.iter().map(|&i| sequence(&self.pairs[i].chosen));
        let rejected = examples.iter().map(|&i| sequence(&self.pairs[i].rejected));
        chosen.chain(rejected).collect()
    }

    /// The summed loss of some pairs, from the logits of their answers, and those logits.
    fn answers(&self, logits: Tensor<1>) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let (chosen, rejected) = halves(logits);
        let loss = self.loss.of(chosen.clone(), rejected.clone()).sum();
        (loss, chosen, rejected)
    }

    /// The same from the logits of all their prefixes.
    fn prefixes(
        &self,
        logits: Tensor<1>,
        collator: &Collator,
        examples: &[usize],
    ) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let rows = self.sequences(examples);
        let device = logits.device().inner();
        let counts: Vec<usize> = rows.iter().map(Sequence::answer_len).collect();
        let b = examples.len();
        let is_chosen = counts.iter().enumerate().flat_map(|(row, &tokens)| {
            let label = if row < b { 1.0f32 } else { 0.0 };
            std::iter::repeat_n(label, tokens)
        });
        let is_chosen: Vec<f32> = is_chosen.collect();
        let is_chosen = Tensor::from_data(is_chosen.as_slice(), &device);
        let loss = token_cross_entropy(logits.clone(), is_chosen, self.loss.label_smoothing);
        let last = rows.iter().zip(&counts).scan(0, |end, (row, &tokens)| {
            let start = *end;
            *end += tokens;
            // Before an answer that is nothing but padding, there is only the prompt.
            let last = collator.last_of(row).saturating_sub(row.prompt_len);
            Some((start + last) as i32)
        });
        let last: Vec<i32> = last.collect();
        let last = logits.select(0, Tensor::from_data(last.as_slice(), &device));
        let (chosen, rejected) = halves(last);
        let penalty = self.loss.penalty(chosen.clone(), rejected.clone());
        (loss.sum().mul_scalar(0.5) + penalty.sum(), chosen, rejected)
    }
}

/// The first half of some logits, of chosen answers, and the second.
fn halves(logits: Tensor<1>) -> (Tensor<1>, Tensor<1>) {
    let half = logits.dims()[0] / 2;
    (
        logits.clone().narrow(0, 0, half),
        logits.narrow(0, half, half),
    )
}

/// A token row as the model crate reads it.
pub(crate) fn sequence(row: &TokenRow) -> Sequence<'_> {
    Sequence {
        ids: &row.ids,
        prompt_len: row.prompt_len,
    }
}

impl Objective<SequenceClassifier> for PairObjective {
    type Collator = Collator;
    type Batch = Batch;

    /// A pair, or half a token's worth of each of its answers' tokens.
    fn weight(&self, example: usize) -> f64 {
        let pair = &self.pairs[example];
        match self.loss.kind {
            ObjectiveKind::TokenCrossEntropy => {
                0.5 * (pair.chosen.answer().len() + pair.rejected.answer().len()) as f64
            }
            _ => 1.0,
        }
    }

    fn tokens(&self, example: usize) -> u64 {
        let pair = &self.pairs[example];
        (pair.chosen.ids.len() + pair.rejected.ids.len()) as u64
    }

    fn collator(&self, model: &SequenceClassifier) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> Batch {
        let sequences = self.sequences(examples);
        match self.loss.kind {
            ObjectiveKind::TokenCrossEntropy => collator.answers(&sequences),
            _ => collator.last(&sequences),
        }
    }

    fn loss(
        &self,
        model: &SequenceClassifier,
        examples: &[usize],
        batch: Batch,
        draw: Option<u64>,
    ) -> Loss {
        let draw = draw.map(|draw| derive(self.seed, "dropout", draw));
        let model = model.clone().with_dropout(draw);
        let logits = model.read(batch);
        let (sum, chosen, rejected) = match self.loss.kind {
            ObjectiveKind::TokenCrossEntropy => {
                self.prefixes(logits, &self.collator(&model), examples)
            }
            _ => self.answers(logits),
        };
        let weights: Vec<f64> = examples.iter().map(|&i| self.weight(i)).collect();
        Loss {
            sum,
            metrics: lead(chosen, rejected, &weights),
        }
    }
}

/// How often, and by how much, the chosen answer leads.
pub(crate) fn lead(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    weights: &[f64],
) -> Vec<(&'static str, f64)> {
    let margins = (chosen - rejected).into_data();
    let margins = margins.iter::<f32>().map(f64::from).zip(weights);
    let (mut right, mut sum) = (0.0, 0.0);
    for (margin, weight) in margins {
        right += weight * f64::from(u8::from(margin > 0.0));
        sum += weight * margin;
    }
    vec![("accuracy", right), ("margin", sum)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_backend::device::test_device;
    use afd_model::{CausalLm, DecoderConfig};

    pub(super) fn value(t: Tensor<1>) -> f32 {
        t.into_scalar::<f32>()
    }

    pub(super) fn logit(x: f32) -> Tensor<1> {
        Tensor::from_data([x], &test_device())
    }

    #[track_caller]
    pub(super) fn close(loss: Tensor<1>, expected: f32) {
        let found = value(loss);
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn the_lead_by_prefixes_is_that_by_whole_answers() {
        // The end token is none, something of its own, or the padding too.
        for pad_token_id in [None, Some(1), Some(0)] {
            let config = DecoderConfig {
                vocab_size: 24,
                hidden_size: 16,
                intermediate_size: 20,
                num_hidden_layers: 1,
                num_attention_heads: 4,
                num_key_value_heads: 2,
                max_position_embeddings: 32,
                tie_word_embeddings: true,
                initializer_range: 0.4,
                pad_token_id,
                ..DecoderConfig::llama(4)
            };
            let placement = test_device().into();
            let decoder = CausalLm::init(config, 3, &placement).unwrap().model;
            let model = SequenceClassifier::on(decoder, 4, &placement).unwrap();
            let row = |answer: &[u32]| TokenRow::from_sample(&[7, 9, 4], answer);
            let objective = PairObjective {
                pairs: vec![Pair {
                    chosen: row(&[5, 12, 0]),
                    rejected: row(&[20, 0]),
                }],
                loss: PairLoss::plain(ObjectiveKind::TokenCrossEntropy),
                seed: 0,
            };
            let (chosen, rejected) = objective.logits(&model, &[0]);
            let loss = objective.loss_on(&model, &[0], None);
            let (_, margin) = loss.metrics[1];
            let found = margin / objective.weight(0);
            let expected = f64::from(value(chosen - rejected));
            assert!((found - expected).abs() < 1e-5, "{pad_token_id:?}");
        }
    }

    #[test]
    fn penalties_on_paper() {
        let plain = PairLoss::plain(ObjectiveKind::Hinge);
        let (c, r) = (logit(2.0), logit(-1.5));
        close(plain.of(c.clone(), r.clone()), 0.0);
        let loss = PairLoss {
            logit_penalty: 0.1,
            center_rewards_coefficient: 0.01,
            ..plain
        };
        // 0.1·½·(4 + 2.25) + 0.01·0.5².
        close(loss.of(c, r), 0.3125 + 0.0025);
    }
}
