//! An answer with its log-probability by the reference, and the policy's log-ratio to it.

use afd_data::TokenRow;
use afd_model::{Batch, CausalLm, Collator, Sequence, Side};
use burn::{
    Tensor,
    tensor::{Int, TensorData},
};

use crate::Error;

/// A prompt with an answer, and what the reference makes of it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The ids, as they were drawn.
    pub row: TokenRow,
    /// The reference's log-probability of each of the answer's tokens, in nats.
    pub reference: Vec<f32>,
}

impl Answer {
    /// An answer that the reference has not seen yet.
    pub fn new(row: TokenRow) -> Self {
        Self {
            row,
            reference: Vec::new(),
        }
    }

    /// The answer's log-probability by the reference, in nats.
    pub fn reference_sum(&self) -> f64 {
        self.reference.iter().map(|token| f64::from(*token)).sum()
    }
}

/// A token row as the model crate reads it.
pub(crate) fn sequence(row: &TokenRow) -> Sequence<'_> {
    Sequence {
        ids: &row.ids,
        prompt_len: row.prompt_len,
    }
}

/// Has `reference` say what it makes of `answers`, `batch` of them at a time.
///
/// # Errors
/// When it cannot read one of them, or answers NaN.
pub(crate) fn refer(
    reference: &CausalLm,
    answers: &mut [&mut Answer],
    batch: usize,
) -> Result<(), Error> {
    let rows: Vec<_> = answers.iter().map(|answer| sequence(&answer.row)).collect();
    let log_probs = reference.score_log_probs(&rows, batch)?;
    for (answer, log_probs) in answers.iter_mut().zip(log_probs) {
        answer.reference = log_probs;
    }
    Ok(())
}

/// Answers put together for a pass of the policy.
#[derive(Debug, Clone)]
pub struct AnswerBatch {
    batch: Batch,
    /// The reference's log-probabilities, answer after answer.
    reference: Vec<f32>,
    /// Tokens of each answer.
    counts: Vec<usize>,
}

impl AnswerBatch {
    /// Puts answers together that the reference has seen.
    pub fn new(collator: &Collator, answers: &[&Answer]) -> Self {
        let rows: Vec<_> = answers.iter().map(|answer| sequence(&answer.row)).collect();
        let reference = answers.iter().flat_map(|answer| &answer.reference);
        Self {
            batch: collator.predictors(&rows, Side::Right),
            reference: reference.copied().collect(),
            counts: rows.iter().map(Sequence::targets).collect(),
        }
    }
}

/// `log π(y|x) − log ref(y|x)` of each answer in nats, summed over its tokens, end token included:
/// `[A]`.
///
/// The difference is taken token by token, where it is small, so that it loses no digits in the sum
/// and is 0 as long as the policy is the reference.
///
/// # Panics
/// When there is no answer, one is longer than the model's context, or the reference has not seen
/// one.
pub fn log_ratios(policy: &CausalLm, answers: AnswerBatch) -> Tensor<1> {
    let log_probs = policy.batch_log_probs(answers.batch);
    let device = log_probs.device().inner();
    let reference = Tensor::from_data(answers.reference.as_slice(), &device);
    sums(log_probs - reference, &answers.counts)
}

/// The sums of the first `counts[0]` values, of the next `counts[1]`, and so on: `[counts]`.
fn sums(values: Tensor<1>, counts: &[usize]) -> Tensor<1> {
    let device = values.device().inner();
    let (rows, width) = (counts.len(), counts.iter().copied().max().unwrap_or(0));
    let (mut places, mut present) = (vec![0i32; rows * width], vec![0f32; rows * width]);
    let mut start = 0;
    for (row, &count) in counts.iter().enumerate() {
        for column in 0..count {
            places[row * width + column] = (start + column) as i32;
            present[row * width + column] = 1.0;
        }
        start += count;
    }
    let places = TensorData::new(places, [rows * width]);
    let places = Tensor::<1, Int>::from_data(places, &device);
    let present = Tensor::<2>::from_data(TensorData::new(present, [rows, width]), &device);
    let table = values.select(0, places).reshape([rows, width]) * present;
    table.sum_dim(1).reshape([rows])
}

#[cfg(test)]
mod tests {
    use afd_backend::device::test_device;

    use super::*;

    #[test]
    fn sums_of_runs_and_their_gradient_on_paper() {
        let device = test_device().autodiff();
        let values = Tensor::<1>::from_data([1.0, 2.0, 4.0, 8.0], &device).require_grad();
        let found = sums(values.clone(), &[1, 3]);
        let weights = Tensor::<1>::from_data([10.0, 1.0], &test_device());
        let gradient = values.grad(&(found.clone() * weights).sum().backward());
        let list = |t: Tensor<1>| t.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(list(found), [1.0, 14.0]);
        assert_eq!(list(gradient.unwrap()), [10.0, 1.0, 1.0, 1.0]);
    }
}
