//! Which rows go into which step: shuffled, grouped by length, each exactly once.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The micro-batches of one optimiser step, as row indices.
pub type Step = Vec<Vec<usize>>;

/// Effective batches in one window of length grouping.
const WINDOW: usize = 16;

/// Plans an epoch: every index of `lengths` exactly once, the last step may be smaller.
///
/// A step holds `per_device_train_batch_size · gradient_accumulation_steps` rows. Which ones
/// depends on that product only, so (1 × 8) and (8 × 1) train on the same steps. Within a step
/// rows stand longest first. With `group_by_length` the shuffled rows are sorted within windows
/// of 16 steps, the steps are shuffled, and the one with the longest row comes first, so that
/// memory peaks at step 0.
///
/// # Panics
/// If a batch size is zero.
pub fn epoch_plan(
    lengths: &[usize],
    per_device_train_batch_size: usize,
    gradient_accumulation_steps: usize,
    seed: u64,
    epoch: u64,
    group_by_length: bool,
) -> Vec<Step> {
    let effective = per_device_train_batch_size.saturating_mul(gradient_accumulation_steps);
    assert!(
        effective > 0,
        "batch size and accumulation steps must be at least 1"
    );
    let mut rng = ChaCha8Rng::seed_from_u64(afd_stage::seed::derive(seed, "epoch", epoch));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(&mut rng);
    if group_by_length {
        for window in order.chunks_mut(effective.saturating_mul(WINDOW)) {
            sort_longest_first(window, lengths);
        }
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(effective).map(<[usize]>::to_vec).collect();
    if group_by_length {
        batches.shuffle(&mut rng);
        let size = |batch: &Vec<usize>| {
            let lengths = batch.iter().map(|&i| lengths[i]);
            (lengths.clone().max(), lengths.sum::<usize>())
        };
        if let Some(largest) = (0..batches.len()).max_by_key(|&i| size(&batches[i])) {
            batches.swap(0, largest);
        }
    }
    batches
        .into_iter()
        .map(|mut batch| {
            sort_longest_first(&mut batch, lengths);
            batch
                .chunks(per_device_train_batch_size)
                .map(<[usize]>::to_vec)
                .collect()
        })
        .collect()
}

/// Batches for evaluation: longest first, no shuffle, every index of `lengths` exactly once.
///
/// # Panics
/// If `per_device_eval_batch_size` is zero.
pub fn eval_batches(lengths: &[usize], per_device_eval_batch_size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    sort_longest_first(&mut order, lengths);
    order
        .chunks(per_device_eval_batch_size)
        .map(<[usize]>::to_vec)
        .collect()
}

/// Rows of equal length stand by index.
fn sort_longest_first(rows: &mut [usize], lengths: &[usize]) {
    rows.sort_unstable_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Share of the positions of a plan that is padding.
    fn padding_waste(lengths: &[usize], plan: &[Step]) -> f64 {
        let padded: usize = plan
            .iter()
            .flatten()
            .map(|batch| batch.len() * batch.iter().map(|&i| lengths[i]).max().unwrap_or(0))
            .sum();
        1.0 - lengths.iter().sum::<usize>() as f64 / padded as f64
    }

    fn flat(plan: &[Step]) -> Vec<Vec<usize>> {
        plan.iter().map(|step| step.concat()).collect()
    }

    proptest! {
        #[test]
        fn every_row_is_there_once_and_batches_have_their_size(
            lengths in prop::collection::vec(1usize..50, 0..300),
            (batch, accumulate) in (1usize..5, 1usize..5),
            (seed, epoch, group) in (any::<u64>(), 0u64..3, any::<bool>()),
        ) {
            let plan = epoch_plan(&lengths, batch, accumulate, seed, epoch, group);
            let mut rows = flat(&plan).concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert_eq!(plan.len(), lengths.len().div_ceil(batch * accumulate));
            let short = plan.iter().filter(|s| s.concat().len() < batch * accumulate).count();
            prop_assert!(short <= 1);
            for step in &plan {
                prop_assert!(step.iter().rev().skip(1).all(|micro| micro.len() == batch));
            }
        }

        #[test]
        fn one_times_eight_and_eight_times_one_hold_the_same_rows(
            lengths in prop::collection::vec(1usize..50, 0..300),
            (seed, group) in (any::<u64>(), any::<bool>()),
        ) {
            let steps = |batch, accumulate| {
                flat(&epoch_plan(&lengths, batch, accumulate, seed, 0, group))
            };
            prop_assert_eq!(steps(1, 8), steps(8, 1));
            prop_assert_eq!(steps(2, 4), steps(8, 1));
        }

        #[test]
        fn grouping_starts_with_the_longest_row(
            lengths in prop::collection::vec(1usize..50, 1..300),
            seed in any::<u64>(),
        ) {
            let plan = epoch_plan(&lengths, 2, 2, seed, 0, true);
            prop_assert_eq!(lengths[plan[0][0][0]], *lengths.iter().max().unwrap());
        }

        #[test]
        fn evaluation_goes_from_long_to_short(
            lengths in prop::collection::vec(1usize..50, 0..100),
            batch in 1usize..9,
        ) {
            let rows = eval_batches(&lengths, batch).concat();
            prop_assert!(rows.is_sorted_by_key(|&i| (std::cmp::Reverse(lengths[i]), i)));
            prop_assert_eq!(rows.len(), lengths.len());
        }
    }

    #[test]
    fn seeds_and_epochs_shuffle_differently_and_repeatably() {
        let lengths = [7; 64];
        let plan = |seed, epoch| epoch_plan(&lengths, 4, 2, seed, epoch, false);
        assert_eq!(plan(1, 0), plan(1, 0));
        assert_ne!(plan(1, 0), plan(1, 1));
        assert_ne!(plan(1, 0), plan(2, 0));
    }

    #[test]
    fn grouping_saves_most_of_the_padding() {
        let lengths: Vec<usize> = (0..1024).map(|i| 10 + (i * 37) % 200).collect();
        let waste = |group| padding_waste(&lengths, &epoch_plan(&lengths, 8, 1, 3, 0, group));
        assert!(
            waste(true) < 0.1 && waste(false) > 0.3,
            "{} {}",
            waste(true),
            waste(false)
        );
    }
}
