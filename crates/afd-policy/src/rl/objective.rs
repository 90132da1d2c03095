//! The surrogate whose gradient is the policy's, and the loss of its value model.

use afd_data::TokenRow;
use afd_model::{CausalLm, Collator, Pretrained, Sequence, SequenceClassifier, Side};
use afd_train::{Loss, Objective};
use burn::{Tensor, tensor::Device};

use super::{
    config::{ImportanceLevel, LossType, RlConfig},
    kl::{KlLevel, KlPlacement},
};

/// Answers with all that is known of their tokens when learning begins. Tokens are those of the answers,
/// in their order, the end token included.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Prompt and answer in ids.
    pub rows: Vec<TokenRow>,
    /// Log-probabilities by the policy that drew them, in nats.
    pub old: Vec<Vec<f32>>,
    /// Log-probabilities by the reference, in nats.
    pub reference: Vec<Vec<f32>>,
    /// Advantages: what each log-probability is weighted by, uphill.
    pub advantages: Vec<Vec<f64>>,
    /// What each answer counts for: 1, or 0 for one that is left out.
    pub weights: Vec<f64>,
    /// What values are fitted to, where there are any.
    pub returns: Vec<Vec<f64>>,
    /// What values were.
    pub values: Vec<Vec<f32>>,
}

impl Batch {
    fn sequence(&self, example: usize) -> Sequence<'_> {
        let row = &self.rows[example];
        Sequence {
            ids: &row.ids,
            prompt_len: row.prompt_len,
        }
    }

    fn tokens(&self, example: usize) -> usize {
        self.sequence(example).targets()
    }

    /// Some answers, put together to be read before each of their tokens.
    fn put_together(&self, collator: &Collator, examples: &[usize]) -> afd_model::Batch {
        let sequences: Vec<_> = examples.iter().map(|&i| self.sequence(i)).collect();
        collator.predictors(&sequences, Side::Right)
    }

    /// The values of some examples' tokens in a row.
    fn flat<'t, T: Copy + 't>(
        values: &'t [Vec<T>],
        examples: &'t [usize],
        narrow: impl Fn(T) -> f32,
    ) -> Vec<f32> {
        let tokens = examples.iter().flat_map(|&i| values[i].iter().copied());
        tokens.map(narrow).collect()
    }
}

/// Policy gradient of one batch of answers.
///
/// Formula, of each answer with ratio `ρ_t = π(a_t|s_t)/π_old(a_t|s_t)` and advantages `A_t`:
/// `−w Σ_t min(ρ_t A_t, clip(ρ_t, 1 − ε, 1 + ε') A_t) + β w Σ_t k(log π − log ref)`, the second term where
/// the KL term stands in the loss, `w` by [`LossType`]. With the ratio of the whole answer, and the KL
/// term of the whole answer, the sums are inside. Without `epsilon` nothing is clipped.
/// Source: PPO, Schulman et al., arXiv 1707.06347; and as named in [`LossType`].
/// Departures: none is a mean over prompts first. At the first step on a batch every `ρ` is 1, and the
/// gradient is that of `−w Σ_t A_t log π(a_t|s_t)`.
/// Sign: minimised; it falls as answers with advantages become likelier.
pub struct PolicyGradient<'a> {
    /// What is learned from.
    pub batch: &'a Batch,
    /// How.
    pub config: &'a RlConfig,
    /// The coefficient of the KL term, as it is now.
    pub beta: f64,
    /// The longest answer allowed, in tokens.
    pub max_completion_length: usize,
}

impl PolicyGradient<'_> {
    /// The loss of some answers, whose tokens have these log-probabilities now: `[Σ tokens]`, in nats,
    /// with gradients.
    pub fn of(&self, new: Tensor<1>, examples: &[usize]) -> Loss {
        let batch = self.batch;
        let device = new.device().inner();
        let constant = |values: Vec<f32>| Tensor::<1>::from_data(values.as_slice(), &device);
        let same = |value: f32| value;
        let old = constant(Batch::flat(&batch.old, examples, same));
        let advantages = constant(Batch::flat(&batch.advantages, examples, |a| a as f32));
        let weights = |by_answer: bool| {
            let each = examples.iter().flat_map(|&i| {
                let count = if by_answer { 1 } else { batch.tokens(i) };
                std::iter::repeat_n(self.token_weight(i), count)
            });
            constant(each.collect())
        };
        let lengths: Vec<usize> = examples.iter().map(|&i| batch.tokens(i)).collect();
        let answers = Answers::new(&lengths, &device);

        let log_ratio = new.clone() - old;
        let (terms, clipped) = match self.config.importance_sampling_level {
            ImportanceLevel::Token => {
                let (terms, clipped) = self.clipped(log_ratio.clone(), advantages);
                (terms * weights(false), clipped)
            }
            ImportanceLevel::Sequence => {
                let first = examples.iter().map(|&i| batch.advantages[i].first());
                let first = first.map(|a| a.copied().unwrap_or(0.0) as f32).collect();
                let ratio = answers.sum(log_ratio.clone());
                let (terms, clipped) = self.clipped(ratio, constant(first));
                // Of the tokens, so that shares are of them here as there.
                (terms * weights(true), clipped * answers.mean_length)
            }
        };
        let mut loss = terms.sum().neg();
        if self.beta > 0.0 && self.config.kl_placement == KlPlacement::Loss {
            let l = new - constant(Batch::flat(&batch.reference, examples, same));
            let estimator = self.config.kl_estimator;
            let kl = match self.config.kl_level {
                KlLevel::Token => estimator.of_tensor(l) * weights(false),
                KlLevel::Sequence => estimator.of_tensor(answers.sum(l)) * weights(true),
            };
            loss = loss + kl.sum().mul_scalar(self.beta);
        }
        let log_ratio: Vec<f64> = log_ratio.inner().into_data().iter::<f64>().collect();
        let weight = examples.iter().map(|&i| self.answer_weight(i)).sum();
        Loss {
            sum: loss,
            metrics: movement(&log_ratio, clipped, weight),
        }
    }

    /// What an answer counts for in the mean over a step.
    pub fn answer_weight(&self, example: usize) -> f64 {
        let unit = match self.config.loss_type {
            LossType::Sum | LossType::Grpo => 1.0,
            LossType::DrGrpo => self.max_completion_length as f64,
            LossType::Dapo => self.batch.tokens(example) as f64,
        };
        unit * self.batch.weights[example]
    }

    /// What each token's term counts for.
    fn token_weight(&self, example: usize) -> f32 {
        let weight = self.batch.weights[example] as f32;
        match self.config.loss_type {
            LossType::Sum | LossType::DrGrpo | LossType::Dapo => weight,
            LossType::Grpo => weight / self.batch.tokens(example).max(1) as f32,
        }
    }

    /// The terms of the policy gradient by token `[Σ tokens]`, or by answer `[B]`.
    fn clipped(&self, log_ratio: Tensor<1>, advantages: Tensor<1>) -> (Tensor<1>, f64) {
        let ratio = log_ratio.exp();
        let plain = ratio.clone() * advantages.clone();
        let Some(epsilon) = self.config.epsilon else {
            return (plain, 0.0);
        };
        let high = self.config.epsilon_high.unwrap_or(epsilon);
        let clipped = ratio.clamp(1.0 - epsilon, 1.0 + high) * advantages;
        let is_clipped = clipped.clone().inner().lower(plain.clone().inner());
        let count = is_clipped.float().sum().into_scalar::<f32>();
        (plain.min_pair(clipped), f64::from(count))
    }
}

impl Objective<CausalLm> for PolicyGradient<'_> {
    type Collator = Collator;
    type Batch = afd_model::Batch;

    fn weight(&self, example: usize) -> f64 {
        self.answer_weight(example)
    }

    fn tokens(&self, example: usize) -> u64 {
        self.batch.rows[example].ids.len() as u64
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> afd_model::Batch {
        self.batch.put_together(collator, examples)
    }

    fn loss(
        &self,
        model: &CausalLm,
        examples: &[usize],
        batch: afd_model::Batch,
        _draw: Option<u64>,
    ) -> Loss {
        self.of(model.batch_log_probs(batch), examples)
    }
}

/// How far the policy has moved from the one that drew the answers: means over tokens, times `weight`,
/// which they will be divided by.
fn movement(log_ratio: &[f64], clipped: f64, weight: f64) -> Vec<(&'static str, f64)> {
    let share = weight / log_ratio.len().max(1) as f64;
    let square: f64 = log_ratio.iter().map(|l| 0.5 * l * l).sum();
    let ratio: f64 = log_ratio.iter().map(|l| l.exp()).sum();
    vec![
        (super::account::APPROX_KL, square * share),
        (super::account::CLIP_FRAC, clipped * share),
        (super::account::RATIO, ratio * share),
    ]
}

/// Which tokens in a row belong to which answer.
struct Answers {
    /// `[B, Σ tokens]`, 1 where a token is an answer's.
    belongs: Tensor<2>,
    mean_length: f64,
}

impl Answers {
    /// Answers of these lengths in tokens, one after the other.
    fn new(lengths: &[usize], device: &Device) -> Self {
        let total: usize = lengths.iter().sum();
        let mut belongs = vec![0.0f32; lengths.len() * total];
        let mut start = 0;
        for (answer, length) in lengths.iter().enumerate() {
            belongs[answer * total + start..][..*length].fill(1.0);
            start += length;
        }
        let flat = Tensor::<1>::from_data(belongs.as_slice(), device);
        Self {
            belongs: flat.reshape([lengths.len(), total]),
            mean_length: total as f64 / lengths.len().max(1) as f64,
        }
    }

    /// The sum over each answer's tokens, `[B]` of `[Σ tokens]`.
    fn sum(&self, tokens: Tensor<1>) -> Tensor<1> {
        let [answers, total] = self.belongs.dims();
        self.belongs
            .clone()
            .matmul(tokens.reshape([total, 1]))
            .reshape([answers])
    }
}

/// Fits values to returns.
///
/// Formula: `½ Σ_t max((V − R)², (clip(V, V_old ± c) − R)²)`, over the number of tokens.
/// Source: PPO as OpenAI's baselines have it. Departure: without `cliprange_value` the plain square.
/// Sign: minimised.
pub struct ValueFit<'a> {
    /// What is learned from.
    pub batch: &'a Batch,
    /// How far values may move in one batch's steps and be thanked for it.
    pub cliprange: Option<f64>,
}

impl Objective<SequenceClassifier> for ValueFit<'_> {
    type Collator = Collator;
    type Batch = afd_model::Batch;

    fn weight(&self, example: usize) -> f64 {
        self.batch.tokens(example) as f64 * self.batch.weights[example]
    }

    fn tokens(&self, example: usize) -> u64 {
        self.batch.rows[example].ids.len() as u64
    }

    fn collator(&self, model: &SequenceClassifier) -> Collator {
        model.config().collator()
    }

    fn batch(&self, collator: &Collator, examples: &[usize]) -> afd_model::Batch {
        self.batch.put_together(collator, examples)
    }

    fn loss(
        &self,
        model: &SequenceClassifier,
        examples: &[usize],
        read: afd_model::Batch,
        _draw: Option<u64>,
    ) -> Loss {
        let batch = self.batch;
        let values = model.read(read);
        let device = values.device().inner();
        let constant = |values: Vec<f32>| Tensor::<1>::from_data(values.as_slice(), &device);
        let returns = constant(Batch::flat(&batch.returns, examples, |r| r as f32));
        let square = (values.clone() - returns.clone()).square();
        let square = match self.cliprange {
            None => square,
            Some(range) => {
                let old = constant(Batch::flat(&batch.values, examples, |v| v));
                let near = (values - old.clone()).clamp(-range, range) + old;
                square.max_pair((near - returns).square())
            }
        };
        let weights = examples
            .iter()
            .flat_map(|&i| std::iter::repeat_n(batch.weights[i] as f32, batch.tokens(i)));
        Loss {
            sum: (square * constant(weights.collect())).sum().mul_scalar(0.5),
            metrics: Vec::new(),
        }
    }
}
