//! KTO: answers that are good or bad on their own, without a pair.

use afd_model::{CausalLm, Collator, Pretrained};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use burn::{Tensor, module::Module, tensor::activation::sigmoid};

use super::{
    answer::{Answer, AnswerBatch, log_ratios},
    fit::Lengths,
};

/// KTO of answers with these log-ratios `log π(y|x) − log ref(y|x)` in nats, per answer `[B]`.
///
/// Formula: `λ(1 − σ(β s (ratio − z)))`, `s` 1 for a desirable answer and −1 for another, `λ` the
/// weight of its kind, `z` the baseline `kl` in nats.
/// Source: Ethayarajh et al., arXiv 2402.01306, eq. 8, as in TRL's `KTOTrainer`.
/// Departures: none here; those of the baseline are [`Kto`]'s.
/// Sign: minimised; lower = desirable answers are above the baseline and others below it.
///
/// # Panics
/// Unless there is one verdict for each ratio.
pub fn kto_loss(
    ratios: Tensor<1>,
    desirable: &[bool],
    kl: f64,
    beta: f64,
    [desirable_weight, undesirable_weight]: [f64; 2],
) -> Tensor<1> {
    let device = ratios.device().inner();
    let by_kind = |yes: f64, no: f64| {
        let values = desirable
            .iter()
            .map(|&good| if good { yes } else { no } as f32);
        let values: Vec<f32> = values.collect();
        Tensor::<1>::from_data(values.as_slice(), &device)
    };
    // 1 − σ(x) = σ(−x).
    let behind = ratios.sub_scalar(kl) * by_kind(-beta, beta);
    sigmoid(behind) * by_kind(desirable_weight, undesirable_weight)
}

/// An answer and the verdict on it.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The answer.
    pub answer: Answer,
    /// Whether it is a good one.
    pub desirable: bool,
    /// Its prompt with another prompt's answer, for the baseline.
    pub mismatched: Answer,
}

/// [`kto_loss`] of stored answers, mean over the answers of a step.
///
/// The baseline is `z = max(0, mean(log π(y'|x) − log ref(y'|x)))` over the forward pass's prompts
/// with answers `y'` of other prompts, without gradient: a stand-in for the KL, as in the source.
/// Where training makes answers to other questions unlikely, as it soon does, it is 0.
/// Departures from TRL: which answers meet is drawn once, so that the reference's part of `z` is a
/// number too; adapters see everything in its pass, without dropout. Since `z` is one number for a
/// forward pass, the loss depends on how a step is divided into them, as TRL's does.
/// Metrics: TRL's. Those of one kind of answer are divided by the number of answers of that kind
/// expected among as many: their mean over an epoch is the mean of that kind.
#[derive(Debug)]
pub struct Kto {
    examples: Vec<Judged>,
    beta: f64,
    weights: [f64; 2],
    seed: u64,
}

impl Kto {
    /// Answers with verdicts. `weights` are those of desirable and undesirable ones; the dropout of
    /// adapters is drawn from `seed`.
    pub fn new(examples: Vec<Judged>, beta: f64, weights: [f64; 2], seed: u64) -> Self {
        Self {
            examples,
            beta,
            weights,
            seed,
        }
    }

    /// How many answers are desirable, and how many are not.
    pub fn counts(&self) -> [usize; 2] {
        let desirable = self.examples.iter().filter(|e| e.desirable).count();
        [desirable, self.examples.len() - desirable]
    }

    /// Some of each example's answers, put together.
    fn put_together(
        &self,
        collator: &Collator,
        examples: &[usize],
        of: fn(&Judged) -> &Answer,
    ) -> AnswerBatch {
        let answers: Vec<&Answer> = examples.iter().map(|&i| of(&self.examples[i])).collect();
        AnswerBatch::new(collator, &answers)
    }
}

/// The baseline `z` from mismatched answers, in nats.
fn baseline(model: &CausalLm, mismatched: AnswerBatch, training: bool) -> f64 {
    // Autodiff would keep what nobody asks the gradient of.
    let model = if training {
        model.valid()
    } else {
        model.clone()
    };
    let mean = log_ratios(&model, mismatched).mean().into_scalar::<f32>();
    f64::from(mean).max(0.0)
}

impl Lengths for Kto {
    fn lengths(&self) -> Vec<usize> {
        let examples = self.examples.iter();
        let longest = |e: &Judged| e.answer.row.ids.len().max(e.mismatched.row.ids.len());
        examples.map(longest).collect()
    }
}

impl Objective<CausalLm> for Kto {
    type Collator = Collator;
    /// The answers, and the mismatched ones.
    type Batch = [AnswerBatch; 2];

    fn weight(&self, _example: usize) -> f64 {
        1.0
    }

    fn tokens(&self, example: usize) -> u64 {
        let example = &self.examples[example];
        (example.answer.row.ids.len() + example.mismatched.row.ids.len()) as u64
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> Self::Batch {
        [
            self.put_together(collator, examples, |judged| &judged.answer),
            self.put_together(collator, examples, |judged| &judged.mismatched),
        ]
    }

    fn loss(
        &self,
        model: &CausalLm,
        examples: &[usize],
        [answers, mismatched]: Self::Batch,
        draw: Option<u64>,
    ) -> Loss {
        let kl = baseline(model, mismatched, draw.is_some());
        let draw = draw.map(|draw| derive(self.seed, "dropout", draw));
        let model = model.clone().with_dropout(draw);
        let judged: Vec<&Judged> = examples.iter().map(|&i| &self.examples[i]).collect();
        let desirable: Vec<bool> = judged.iter().map(|judged| judged.desirable).collect();
        let ratios = log_ratios(&model, answers);
        let loss = kto_loss(ratios.clone(), &desirable, kl, self.beta, self.weights);
        let ratios: Vec<f64> = ratios.into_data().iter::<f32>().map(f64::from).collect();
        Loss {
            sum: loss.sum(),
            metrics: self.metrics(&judged, &ratios, kl),
        }
    }
}

impl Kto {
    /// Sums over answers, under TRL's names.
    fn metrics(&self, judged: &[&Judged], ratios: &[f64], kl: f64) -> Vec<(&'static str, f64)> {
        let counts = self.counts();
        let sum = |kind: bool, of: &dyn Fn(usize) -> f64| {
            let places = (0..ratios.len()).filter(|&place| judged[place].desirable == kind);
            let share = counts[usize::from(!kind)].max(1) as f64 / self.examples.len() as f64;
            places.map(of).sum::<f64>() / share
        };
        let reward = |place: usize| self.beta * ratios[place];
        let log_prob = |place: usize| ratios[place] + judged[place].answer.reference_sum();
        let (chosen, rejected) = (sum(true, &reward), sum(false, &reward));
        vec![
            ("rewards/chosen", chosen),
            ("rewards/rejected", rejected),
            ("rewards/margins", chosen - rejected),
            ("logps/chosen", sum(true, &log_prob)),
            ("logps/rejected", sum(false, &log_prob)),
            ("kl", kl * ratios.len() as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use afd_backend::device::test_device;

    use super::*;

    fn losses(ratios: [f32; 2], kl: f64, beta: f64, weights: [f64; 2]) -> Vec<f32> {
        let ratios = Tensor::<1>::from_data(ratios, &test_device());
        let losses = kto_loss(ratios, &[true, false], kl, beta, weights);
        losses.into_data().iter::<f32>().collect()
    }

    fn close(found: &[f32], expected: [f32; 2]) {
        let apart = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{found:?}");
    }

    #[test]
    fn kto_on_paper() {
        let three = 3f32.ln();
        // 1 − σ(ln 3) = ¼ of a desirable answer that far above, ¾ of another.
        close(&losses([three, three], 0.0, 1.0, [1.0, 1.0]), [0.25, 0.75]);
        // Above by ½·(ln 9 + 1 − 1), with weights.
        let ratios = [2.0 * three + 1.0; 2];
        close(&losses(ratios, 1.0, 0.5, [2.0, 4.0]), [0.5, 3.0]);
        // At the baseline both lose half.
        close(
            &losses([0.7, 0.7], f64::from(0.7f32), 3.0, [1.0, 1.0]),
            [0.5; 2],
        );
    }

    #[test]
    fn the_other_verdict_is_the_other_sign() {
        for ratio in [-2.0, 0.3, 1.1] {
            let found = losses([ratio, ratio], 0.4, 0.6, [1.0, 1.0]);
            assert!((found[0] + found[1] - 1.0).abs() < 1e-6);
            // β scales distances to the baseline.
            let further = losses([2.0 * ratio, 2.0 * ratio], 0.8, 0.3, [1.0, 1.0]);
            close(&further, [found[0], found[1]]);
        }
    }

    #[test]
    fn descending_raises_the_desirable_and_lowers_the_other() {
        let device = test_device().autodiff();
        let ratios = Tensor::<1>::from_data([0.0, 0.0], &device).require_grad();
        let loss = kto_loss(ratios.clone(), &[true, false], 0.0, 0.2, [1.0, 2.0]);
        let slopes = ratios.grad(&loss.sum().backward()).unwrap().into_data();
        // ∓λβ σ(0)σ(0).
        close(&slopes.iter::<f32>().collect::<Vec<_>>(), [-0.05, 0.1]);
    }
}
