//! DPO: which of two answers is preferred, told from the policy's log-ratios alone.

use afd_model::{CausalLm, Collator, Pretrained};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use burn::{
    Tensor,
    tensor::{Int, TensorData, activation::log_sigmoid},
};

use super::{
    answer::{Answer, AnswerBatch, log_ratios},
    fit::Lengths,
};

/// Sigmoid DPO of pairs with these log-ratios `log π(y|x) − log ref(y|x)` in nats, per pair `[B]`.
///
/// Formula: `−(1−ε) log σ(m) − ε log σ(−m)`, `m = β(chosen − rejected)`, label smoothing `ε`.
/// Source: Rafailov et al., arXiv 2305.18290, eq. 7; the smoothing as in cDPO and TRL's
/// `DPOTrainer`. With demonstrations chosen and the last iterate both as reference and as writer of
/// the rejected answers it is SPIN: Chen et al., arXiv 2401.01335, eq. 4.7.
/// Departures: none.
/// Sign: minimised; lower = the policy leans further from the reference towards chosen answers.
/// Optimum: `ref·exp(r/β)` over all pairs with labels drawn as `σ(r₁ − r₂)`. With labels that are
/// certain and `ε = 0` there is none: the margin grows for ever.
pub fn dpo_loss(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    beta: f64,
    label_smoothing: f64,
) -> Tensor<1> {
    let margin = (chosen - rejected).mul_scalar(beta);
    let right = log_sigmoid(margin.clone()).mul_scalar(label_smoothing - 1.0);
    if label_smoothing == 0.0 {
        return right;
    }
    right - log_sigmoid(margin.neg()).mul_scalar(label_smoothing)
}

/// Answers to one prompt, and which of them are preferred to which.
#[derive(Debug, Clone, Default)]
pub struct Contest {
    /// The answers, each once.
    pub answers: Vec<Answer>,
    /// Preferred and other, as places in `answers`.
    pub pairs: Vec<(usize, usize)>,
}

impl Contest {
    /// The contest of `pairs` among `answers`. Equal answers become one, pairs of them go, and so
    /// do answers that are in no pair.
    pub fn new(answers: Vec<Answer>, pairs: &[(usize, usize)]) -> Self {
        let first = |place: usize| {
            let same = |other: &Answer| other.row.ids == answers[place].row.ids;
            answers.iter().position(same).unwrap_or(place)
        };
        let pairs: Vec<_> = pairs
            .iter()
            .map(|&(chosen, rejected)| (first(chosen), first(rejected)))
            .filter(|(chosen, rejected)| chosen != rejected)
            .collect();
        let used = |place: usize| pairs.iter().any(|pair| pair.0 == place || pair.1 == place);
        let used: Vec<usize> = (0..answers.len()).filter(|&place| used(place)).collect();
        let renumbered = |place| used.binary_search(&place).unwrap_or_default();
        Self {
            pairs: pairs
                .iter()
                .map(|&(chosen, rejected)| (renumbered(chosen), renumbered(rejected)))
                .collect(),
            answers: used.iter().map(|&place| answers[place].clone()).collect(),
        }
    }
}

/// [`dpo_loss`] of pairs, mean over the pairs of a step.
///
/// Departure from TRL: an example is a prompt with all its pairs, so that an answer in many pairs
/// is run once.
/// Metrics: `rewards/chosen` is `β(log π − log ref)` of preferred answers, `logps/chosen` their
/// `log π`, mean over pairs; the rest as in TRL.
#[derive(Debug)]
pub struct Dpo {
    /// The prompts.
    pub contests: Vec<Contest>,
    /// Strength of the KL to the reference.
    pub beta: f64,
    /// Share of each label given to the other side.
    pub label_smoothing: f64,
    /// What the dropout of adapters is drawn from.
    pub seed: u64,
}

impl Lengths for Dpo {
    fn lengths(&self) -> Vec<usize> {
        let longest = |contest: &Contest| {
            let lengths = contest.answers.iter().map(|answer| answer.row.ids.len());
            lengths.max().unwrap_or(0)
        };
        self.contests.iter().map(longest).collect()
    }
}

impl Objective<CausalLm> for Dpo {
    type Collator = Collator;
    type Batch = AnswerBatch;

    fn weight(&self, example: usize) -> f64 {
        self.contests[example].pairs.len() as f64
    }

    fn tokens(&self, example: usize) -> u64 {
        let answers = self.contests[example].answers.iter();
        answers.map(|answer| answer.row.ids.len() as u64).sum()
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> AnswerBatch {
        AnswerBatch::new(collator, &self.union(examples).0)
    }

    fn loss(
        &self,
        model: &CausalLm,
        examples: &[usize],
        batch: AnswerBatch,
        draw: Option<u64>,
    ) -> Loss {
        let draw = draw.map(|draw| derive(self.seed, "dropout", draw));
        let model = model.clone().with_dropout(draw);
        let (answers, pairs) = self.union(examples);
        let ratios = log_ratios(&model, batch);
        let device = ratios.device().inner();
        let side = |of: fn(&(usize, usize)) -> usize| {
            let places: Vec<i32> = pairs.iter().map(|pair| of(pair) as i32).collect();
            let places = TensorData::new(places, [pairs.len()]);
            let places = Tensor::<1, Int>::from_data(places, &device);
            ratios.clone().select(0, places)
        };
        let loss = dpo_loss(
            side(|pair| pair.0),
            side(|pair| pair.1),
            self.beta,
            self.label_smoothing,
        );
        let ratios: Vec<f64> = ratios.into_data().iter::<f32>().map(f64::from).collect();
        Loss {
            sum: loss.sum(),
            metrics: self.metrics(&answers, &ratios, &pairs),
        }
    }
}

impl Dpo {
    /// The answers of some prompts, and the pairs among them.
    fn union(&self, examples: &[usize]) -> (Vec<&Answer>, Vec<(usize, usize)>) {
        let (mut answers, mut pairs) = (Vec::new(), Vec::new());
        for &example in examples {
            let (contest, start) = (&self.contests[example], answers.len());
            answers.extend(&contest.answers);
            let moved = |&(c, r): &(usize, usize)| (start + c, start + r);
            pairs.extend(contest.pairs.iter().map(moved));
        }
        (answers, pairs)
    }

    /// Sums over pairs, under TRL's names.
    fn metrics(
        &self,
        answers: &[&Answer],
        ratios: &[f64],
        pairs: &[(usize, usize)],
    ) -> Vec<(&'static str, f64)> {
        let sum = |of: &dyn Fn(&(usize, usize)) -> f64| pairs.iter().map(of).sum::<f64>();
        let log_prob = |place: usize| ratios[place] + answers[place].reference_sum();
        let margin = |pair: &(usize, usize)| self.beta * (ratios[pair.0] - ratios[pair.1]);
        vec![
            ("rewards/chosen", sum(&|pair| self.beta * ratios[pair.0])),
            ("rewards/rejected", sum(&|pair| self.beta * ratios[pair.1])),
            (
                "rewards/accuracies",
                sum(&|pair| f64::from(u8::from(margin(pair) > 0.0))),
            ),
            ("rewards/margins", sum(&margin)),
            ("logps/chosen", sum(&|pair| log_prob(pair.0))),
            ("logps/rejected", sum(&|pair| log_prob(pair.1))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use afd_backend::device::test_device;
    use afd_data::TokenRow;

    use super::*;

    fn loss(chosen: f32, rejected: f32, beta: f64, smoothing: f64) -> f32 {
        let of = |x: f32| Tensor::<1>::from_data([x], &test_device());
        dpo_loss(of(chosen), of(rejected), beta, smoothing).into_scalar::<f32>()
    }

    #[test]
    fn dpo_on_paper() {
        // A margin of ½·(ln 9 − 0) = ln 3, and σ(ln 3) = ¾.
        let lead = 9f32.ln();
        assert!((loss(lead, 0.0, 0.5, 0.0) - (4f32 / 3.0).ln()).abs() < 1e-6);
        // Smoothed: −0.9 ln ¾ − 0.1 ln ¼.
        let expected = 0.9 * (4f32 / 3.0).ln() + 0.1 * 4f32.ln();
        assert!((loss(lead, 0.0, 0.5, 0.1) - expected).abs() < 1e-6);
        assert!((loss(1.0, 1.0, 0.5, 0.3) - 2f32.ln()).abs() < 1e-6);
        // A lead that no exponential can hold.
        assert!(loss(1000.0, 0.0, 1.0, 0.0).abs() < 1e-6);
        assert!((loss(-1000.0, 0.0, 1.0, 0.0) - 1000.0).abs() < 1e-3);
    }

    #[test]
    fn it_knows_the_margin_alone_and_beta_scales_it() {
        for (c, r, beta) in [(0.3, -0.8, 0.1), (-2.0, 1.5, 0.7), (0.0, 0.0, 2.0)] {
            for smoothing in [0.0, 0.2] {
                let same = loss(c, r, beta, smoothing);
                assert!((same - loss(c + 1.0, r + 1.0, beta, smoothing)).abs() < 1e-6);
                let doubled = loss(2.0 * c, 2.0 * r, 0.5 * beta, smoothing);
                assert!((same - doubled).abs() < 1e-6);
            }
            // Swapped, the margin changes sign: log σ(−m) − log σ(m) = −m.
            let swapped = loss(r, c, beta, 0.0) - loss(c, r, beta, 0.0);
            assert!((swapped - beta as f32 * (c - r)).abs() < 1e-5);
            assert!((loss(r, c, beta, 0.5) - loss(c, r, beta, 0.5)).abs() < 1e-6);
        }
    }

    #[test]
    fn descending_raises_the_chosen_and_lowers_the_rejected() {
        let device = test_device().autodiff();
        let of = |x: f32| Tensor::<1>::from_data([x], &device).require_grad();
        let (chosen, rejected) = (of(0.4), of(0.4));
        let grads = dpo_loss(chosen.clone(), rejected.clone(), 0.2, 0.0).backward();
        let slope = |side: &Tensor<1>| side.grad(&grads).unwrap().into_scalar::<f32>();
        // −β σ(−m) at m = 0.
        assert!((slope(&chosen) + 0.1).abs() < 1e-6);
        assert!((slope(&rejected) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_contest_holds_each_answer_once_and_only_those_it_needs() {
        let answer = |id: u32| Answer::new(TokenRow::from_sample(&[7], &[id, 0]));
        // Answers 0 and 2 are the same; 3 is in no pair.
        let answers = [5, 6, 5, 8, 9].map(answer).to_vec();
        let contest = Contest::new(answers, &[(0, 1), (2, 1), (2, 0), (4, 2)]);
        let ids: Vec<u32> = contest.answers.iter().map(|a| a.row.answer()[0]).collect();
        assert_eq!(ids, [5, 6, 9]);
        assert_eq!(contest.pairs, [(0, 1), (0, 1), (2, 0)]);
        let equal = Contest::new([5, 5].map(answer).to_vec(), &[(0, 1)]);
        assert!(equal.pairs.is_empty() && equal.answers.is_empty());
    }
}
