//! Logits out of fold: no answer is judged by a fit that saw its prompt.

use std::collections::{BTreeMap, BTreeSet};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// How prompts are dealt into folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folds {
    /// Number of folds, at least 2. With fewer prompts than that, each prompt is a fold.
    pub count: usize,
    /// Decides which prompt is in which.
    pub seed: u64,
}

impl Folds {
    /// The fold of each answer; `prompts` holds each answer's number of prompt.
    ///
    /// Folds differ by one prompt at most. The assignment depends on the set of prompts and the
    /// seed, not on the order of answers.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 folds.
    pub fn assign(self, prompts: &[usize]) -> Vec<usize> {
        assert!(
            self.count >= 2,
            "{} folds, at least 2 are needed",
            self.count
        );
        let different: BTreeSet<usize> = prompts.iter().copied().collect();
        let mut shuffled: Vec<usize> = different.into_iter().collect();
        let seed = afd_stage::seed::derive(self.seed, "folds", 0);
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let dealt = shuffled.into_iter().enumerate();
        let fold: BTreeMap<usize, usize> = dealt
            .map(|(place, prompt)| (prompt, place % self.count))
            .collect();
        prompts.iter().map(|prompt| fold[prompt]).collect()
    }
}

/// Each row's logit by a fit on the folds without its prompt; `None` if `fit` is, for any fold, or
/// there is a single prompt.
///
/// `fit` takes rows and labels and gives the function from row to logit. Prompts, not answers, are
/// held out: otherwise a classifier could recognise a prompt and remember its labels.
///
/// Logits of different folds come from different fits. Pooled into one AUC they are a little
/// pessimistic where classes are not balanced within prompts, because a fold rich in positives is
/// judged by a fit poor in them.
///
/// # Panics
///
/// If lengths differ, there are fewer than 2 folds, or `fit` panics.
pub fn cross_validated<R, P: Fn(&R) -> f64>(
    rows: &[R],
    labels: &[bool],
    prompts: &[usize],
    folds: Folds,
    fit: impl Fn(&[&R], &[bool]) -> Option<P>,
) -> Option<Vec<f64>> {
    assert_eq!(rows.len(), labels.len(), "one label for each row");
    assert_eq!(rows.len(), prompts.len(), "one prompt for each row");
    let fold_of = folds.assign(prompts);
    let mut logits = vec![0.0; rows.len()];
    for fold in 0..folds.count {
        let (held_out, kept): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|&i| fold_of[i] == fold);
        if held_out.is_empty() {
            continue;
        }
        let training: Vec<&R> = kept.iter().map(|&i| &rows[i]).collect();
        let training_labels: Vec<bool> = kept.iter().map(|&i| labels[i]).collect();
        let predict = fit(&training, &training_labels)?;
        for i in held_out {
            logits[i] = predict(&rows[i]);
        }
    }
    Some(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        LogisticRegression, SparseLogisticRegression, auc,
        testing::{generator, normal},
    };

    const FOLDS: Folds = Folds { count: 4, seed: 9 };

    #[test]
    fn folds_hold_whole_prompts_and_are_even() {
        let prompts: Vec<usize> = (0..90).map(|answer| (answer * 7) % 30 + 100).collect();
        let fold = FOLDS.assign(&prompts);
        let mut of_prompt = BTreeMap::new();
        for (prompt, fold) in prompts.iter().zip(&fold) {
            assert_eq!(of_prompt.entry(prompt).or_insert(fold), &fold);
        }
        let size = |wanted: usize| of_prompt.values().filter(|fold| ***fold == wanted).count();
        assert_eq!([size(0), size(1), size(2), size(3)], [8, 8, 7, 7]);
        // The order of answers changes nothing, the seed does.
        let reversed: Vec<usize> = prompts.iter().rev().copied().collect();
        let mut other = FOLDS.assign(&reversed);
        other.reverse();
        assert_eq!(other, fold);
        assert_ne!(Folds { seed: 10, ..FOLDS }.assign(&prompts), fold);
    }

    #[test]
    fn no_fit_sees_the_prompts_it_judges() {
        // A row is its prompt; a fit that remembers its prompts must recognise none.
        let prompts: Vec<usize> = (0..60).map(|answer| answer / 3).collect();
        let labels = vec![true; 60];
        let logits = cross_validated(&prompts, &labels, &prompts, FOLDS, |seen, labels| {
            assert!(seen.len() == labels.len() && (43..=47).contains(&seen.len()));
            let seen: Vec<usize> = seen.iter().map(|prompt| **prompt).collect();
            Some(move |prompt: &usize| if seen.contains(prompt) { 1.0 } else { -1.0 })
        });
        assert_eq!(logits, Some(vec![-1.0; 60]));
    }

    #[test]
    fn memory_does_not_pay_and_knowledge_does() {
        // Labels are constant within prompts. A column that says the prompt's number in one-hot
        // form remembers them in the fit and knows nothing out of fold; a true signal stays.
        let mut rng = generator(11);
        let prompts: Vec<usize> = (0..160).map(|answer| answer / 4).collect();
        let labels: Vec<bool> = prompts.iter().map(|prompt| prompt % 2 == 0).collect();
        let hashed: Vec<Vec<(u32, f32)>> = prompts
            .iter()
            .map(|&prompt| vec![(prompt as u32, 1.0)])
            .collect();
        let fit = SparseLogisticRegression::fit(&hashed, &labels, 1e-3).unwrap();
        let inside: Vec<f64> = hashed.iter().map(|row| fit.logit(row)).collect();
        assert_eq!(auc(&inside, &labels, &prompts).unwrap().auc, 1.0);
        let outside =
            SparseLogisticRegression::cross_validated(&hashed, &labels, &prompts, FOLDS, 1e-3);
        assert!(auc(&outside.unwrap(), &labels, &prompts).unwrap().auc <= 0.5);

        let signal: Vec<[f64; 1]> = labels
            .iter()
            .map(|&label| [2.0 * f64::from(u8::from(label)) + normal(&mut rng)])
            .collect();
        let known =
            LogisticRegression::cross_validated(&signal, &labels, &prompts, FOLDS, 1e-3).unwrap();
        // Φ(2/√2) = 0.921 for a signal two deviations apart.
        assert!(auc(&known, &labels, &prompts).unwrap().auc > 0.85);
    }

    #[test]
    fn a_fold_without_a_class_is_none() {
        // All positives are in one prompt: the fit without it has none.
        let rows = [[1.0], [2.0], [3.0], [4.0]];
        let labels = [true, false, false, false];
        let result = LogisticRegression::cross_validated(&rows, &labels, &[0, 1, 2, 3], FOLDS, 1.0);
        assert_eq!(result, None);
    }

    #[test]
    #[should_panic(expected = "at least 2")]
    fn one_fold_is_refused() {
        let _ = Folds { count: 1, seed: 0 }.assign(&[0, 1]);
    }
}
