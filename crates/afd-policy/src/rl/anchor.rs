//! Demonstrations beside the answers a policy learns from, so that it does not leave them.

use std::path::Path;

use afd_data::{
    TokenRow, Tokenizer,
    records::{Example, read_jsonl},
};
use afd_model::{Batch, CausalLm, Collator, Sequence, Side};
use afd_stage::seed::derive;
use afd_train::{Loss, Objective};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::Error;

/// The mean negative log-likelihood of a step's demonstrations, in nats.
pub(super) const PTX: &str = "loss/ptx";

/// An objective with the negative log-likelihood of demonstrations beside it.
///
/// Formula: `L + c·mean over demonstrations of −log π(demonstration)`, in nats an answer, whatever `L`
/// weighs its examples by.
/// Source: PPO-ptx, Ouyang et al., arXiv 2203.02155, eq. 2, with demonstrations in the place of the
/// pretraining data. Departure: as many demonstrations in a step as answers.
/// Sign: minimised.
pub struct Anchored<'a, O> {
    /// What is learned otherwise.
    pub objective: &'a O,
    /// How many examples that has; demonstrations are the examples from there on.
    pub examples: usize,
    /// All demonstrations.
    pub demonstrations: &'a [TokenRow],
    /// What a mean weighs, `c`.
    pub coefficient: f64,
    /// The weight of the step's other examples over the number of its demonstrations.
    pub share: f64,
}

/// A micro-batch of answers or of demonstrations.
pub enum AnchoredBatch<B> {
    /// As the objective has it.
    Answers(B),
    /// To be read before each token.
    Demonstrations(Batch),
}

impl<O: Objective<CausalLm, Collator = Collator>> Objective<CausalLm> for Anchored<'_, O> {
    type Collator = Collator;
    type Batch = AnchoredBatch<O::Batch>;

    fn weight(&self, example: usize) -> f64 {
        match example < self.examples {
            true => self.objective.weight(example),
            false => 0.0,
        }
    }

    fn tokens(&self, example: usize) -> u64 {
        match example.checked_sub(self.examples) {
            None => self.objective.tokens(example),
            Some(number) => self.demonstrations[number].ids.len() as u64,
        }
    }

    fn collator(&self, model: &CausalLm) -> Collator {
        self.objective.collator(model)
    }

    /// Of a micro-batch that holds answers or demonstrations, not both.
    fn batch(&self, collator: &Collator, examples: &[usize]) -> Self::Batch {
        if examples.iter().all(|&example| example < self.examples) {
            return AnchoredBatch::Answers(self.objective.batch(collator, examples));
        }
        let rows = examples
            .iter()
            .map(|&i| &self.demonstrations[i - self.examples]);
        let sequences: Vec<Sequence<'_>> = rows
            .map(|row| Sequence {
                ids: &row.ids,
                prompt_len: row.prompt_len,
            })
            .collect();
        AnchoredBatch::Demonstrations(collator.predictors(&sequences, Side::Right))
    }

    fn loss(
        &self,
        model: &CausalLm,
        examples: &[usize],
        batch: Self::Batch,
        draw: Option<u64>,
    ) -> Loss {
        let demonstrations = match batch {
            AnchoredBatch::Answers(batch) => {
                return self.objective.loss(model, examples, batch, draw);
            }
            AnchoredBatch::Demonstrations(batch) => batch,
        };
        let nll = model.batch_log_probs(demonstrations).sum().neg();
        let told = f64::from(nll.clone().into_scalar::<f32>()) * self.share;
        Loss {
            sum: nll.mul_scalar(self.coefficient * self.share),
            metrics: vec![(PTX, told)],
        }
    }
}

/// The demonstrations in a file of [`Example`]s that fit `context` tokens.
///
/// # Errors
/// When it cannot be read or tokenised, and [`Error::NoDemonstrations`] when there are none.
pub(super) fn read(
    path: &Path,
    tokenizer: &Tokenizer,
    context: usize,
) -> Result<Vec<TokenRow>, Error> {
    let mut rows = Vec::new();
    for example in read_jsonl::<Example>(path)? {
        if let Some(completion) = &example.completion {
            rows.extend(TokenRow::example(
                tokenizer,
                &example.prompt,
                completion,
                context,
            )?);
        }
    }
    match rows.is_empty() {
        true => Err(Error::NoDemonstrations { path: path.into() }),
        false => Ok(rows),
    }
}

/// The demonstrations of optimiser step number `step`: `count` of `of`, all in turn, in an order of its
/// own each time around.
pub(super) fn of_step(of: usize, count: usize, step: u64, seed: u64) -> Vec<usize> {
    let first = step as usize * count;
    let at = |place: usize| {
        let mut order: Vec<usize> = (0..of).collect();
        let seed = derive(seed, "demonstrations", (place / of) as u64);
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        (place, order)
    };
    let mut chosen = Vec::with_capacity(count);
    let (mut start, mut order) = at(first);
    for place in first..first + count {
        if place / of != start / of {
            (start, order) = at(place);
        }
        chosen.push(order[place % of]);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demonstration_has_its_turn_before_any_has_a_second() {
        let mut seen: Vec<usize> = (0..7).flat_map(|step| of_step(21, 9, step, 5)).collect();
        assert_eq!(seen.len(), 63);
        for round in seen.chunks_mut(21) {
            round.sort_unstable();
            assert_eq!(round, (0..21).collect::<Vec<_>>());
        }
        // More than there are: some twice in a step.
        assert_eq!(of_step(2, 5, 0, 0).len(), 5);
        assert_ne!(of_step(21, 21, 0, 5), of_step(21, 21, 1, 5));
    }

    /// Loses nothing, each example weighing what it is told to.
    struct Weighs(f64);

    impl Objective<CausalLm> for Weighs {
        type Collator = Collator;
        type Batch = ();

        fn weight(&self, _example: usize) -> f64 {
            self.0
        }

        fn tokens(&self, _example: usize) -> u64 {
            1
        }

        fn collator(&self, model: &CausalLm) -> Collator {
            model.config().collator()
        }

        fn batch(&self, _collator: &Collator, _examples: &[usize]) {}

        fn loss(&self, model: &CausalLm, _: &[usize], (): (), _: Option<u64>) -> Loss {
            let sequence = Sequence {
                ids: &[1, 2],
                prompt_len: 1,
            };
            Loss {
                sum: model
                    .log_probs(&[sequence], Side::Right)
                    .sum()
                    .mul_scalar(0.0),
                metrics: Vec::new(),
            }
        }
    }

    #[test]
    fn demonstrations_weigh_their_mean_whatever_the_answers_weigh() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base");
        let device = afd_backend::device::test_device().into();
        let model = CausalLm::load(&base, &device).unwrap();
        let rows: Vec<TokenRow> = [&[3u32, 4][..], &[5, 6, 7], &[8]]
            .into_iter()
            .map(|answer| TokenRow::from_sample(&[1, 2], answer))
            .collect();
        let sequences: Vec<Sequence<'_>> = rows
            .iter()
            .map(|row| Sequence {
                ids: &row.ids,
                prompt_len: row.prompt_len,
            })
            .collect();
        let scored = model.score_log_probs(&sequences, 3).unwrap();
        let nll: f64 = scored.iter().flatten().map(|l| -f64::from(*l)).sum();
        // Four answers of any weight; three demonstrations in micro-batches of two and one.
        for weight in [1.0, 96.0] {
            let objective = Weighs(weight);
            let anchored = Anchored {
                objective: &objective,
                examples: 4,
                demonstrations: &rows,
                coefficient: 0.5,
                share: 4.0 * weight / 3.0,
            };
            let plan = [vec![0, 1, 2, 3], vec![4, 5], vec![6]];
            let total: f64 = plan.iter().flatten().map(|&i| anchored.weight(i)).sum();
            assert_eq!(total, 4.0 * weight);
            let sums = plan.iter().map(|batch| {
                let loss = anchored.loss_on(&model, batch, None);
                (f64::from(loss.sum.into_scalar::<f32>()), loss.metrics)
            });
            let (mut loss, mut told) = (0.0, 0.0);
            for (sum, metrics) in sums {
                loss += sum / total;
                told += metrics.iter().map(|(_, value)| value / total).sum::<f64>();
            }
            assert!(
                (loss - 0.5 * nll / 3.0).abs() < 1e-4 * nll,
                "{weight}: {loss} {nll}"
            );
            assert!((told - nll / 3.0).abs() < 1e-4 * nll, "{weight}: {told}");
        }
    }
}
