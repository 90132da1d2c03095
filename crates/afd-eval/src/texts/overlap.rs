//! What a policy's answers cover of the demonstrations, and what of them the demonstrations have.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

/// The demonstrations' runs of two words.
pub(crate) struct Demonstrated<'a> {
    /// Where the count of each stands.
    places: HashMap<(&'a str, &'a str), usize>,
    /// How often each occurs.
    counts: Vec<usize>,
}

impl<'a> Demonstrated<'a> {
    pub(crate) fn by(texts: impl Iterator<Item = &'a str>) -> Self {
        let (mut places, mut counts) = (HashMap::new(), Vec::new());
        for pair in texts.flat_map(pairs) {
            let place = *places.entry(pair).or_insert(counts.len());
            if place == counts.len() {
                counts.push(0);
            }
            counts[place] += 1;
        }
        Self { places, counts }
    }
}

/// Runs of two words that a policy's answers share with the demonstrations, over all prompts together.
///
/// Source: precision and recall of what generates, Kynkäänniemi et al., arXiv 1904.06991. Departure: runs
/// of two words in the place of neighbourhoods in a space of features; more answers cover more, so policies
/// are compared on equally many.
///
/// Nothing is added up but whole numbers: the order of the answers is the same to it.
pub(super) struct Overlap<'a> {
    demonstrated: &'a Demonstrated<'a>,
    /// Which of the demonstrations' runs an answer has.
    covered: Vec<AtomicBool>,
    /// How many the answers have, and how many of these the demonstrations have somewhere.
    own: AtomicUsize,
    shared: AtomicUsize,
}

impl<'a> Overlap<'a> {
    /// Of no answers yet.
    pub(super) fn with(demonstrated: &'a Demonstrated<'a>) -> Self {
        let counts = demonstrated.counts.iter();
        Self {
            demonstrated,
            covered: counts.map(|_| AtomicBool::new(false)).collect(),
            own: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
        }
    }

    /// With one more answer.
    pub(super) fn add(&self, text: &str) {
        let (mut own, mut shared) = (0, 0);
        for pair in pairs(text) {
            own += 1;
            if let Some(&place) = self.demonstrated.places.get(&pair) {
                shared += 1;
                self.covered[place].store(true, Relaxed);
            }
        }
        self.own.fetch_add(own, Relaxed);
        self.shared.fetch_add(shared, Relaxed);
    }

    /// Share of the demonstrations' runs, as often as they occur, that the answers have somewhere.
    pub(super) fn coverage(&self) -> Option<f64> {
        let counts = &self.demonstrated.counts;
        let covered = counts.iter().zip(&self.covered);
        let covered = covered.filter(|(_, covered)| covered.load(Relaxed));
        share(covered.map(|(count, _)| count).sum(), counts.iter().sum())
    }

    /// Share of the answers' runs, as often as they occur, that the demonstrations have somewhere.
    pub(super) fn precision(&self) -> Option<f64> {
        share(self.shared.load(Relaxed), self.own.load(Relaxed))
    }
}

/// The runs of two words, which are what whitespace separates.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = text.split_whitespace();
    words.clone().zip(words.skip(1))
}

/// `None` of nothing.
fn share(there: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| there as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_on_paper_whatever_the_order() {
        let demonstrated = Demonstrated::by(["a b c", "a b", "d"].into_iter());
        for texts in [["a b a b x", "c d", ""], ["", "c d", "a b a b x"]] {
            let overlap = Overlap::with(&demonstrated);
            texts.iter().for_each(|text| overlap.add(text));
            // "a b" twice and "b c": the former is covered, and is two of the answers' five.
            assert_eq!(overlap.coverage(), Some(2.0 / 3.0));
            assert_eq!(overlap.precision(), Some(0.4));
        }
        let nothing = Overlap::with(&demonstrated);
        assert_eq!((nothing.coverage(), nothing.precision()), (Some(0.0), None));
    }
}
