//! How much a policy's answers to a prompt differ: distinct-n.

use super::runs::Runs;

/// Different n-grams of words among all of the answers to a prompt; `None` where none has `n` words.
///
/// Formula: `|set of n-grams| / |n-grams|`, n-grams being runs of `n` words within one answer; of a policy the
/// mean over prompts.
///
/// Source: Li et al., *A Diversity-Promoting Objective Function for Neural Conversation Models*,
/// arXiv 1510.03055.
///
/// Departures: by prompt instead of over all answers, so that a variety of prompts is no variety of
/// the policy; words are what whitespace separates. The figure falls with the number of answers and
/// with their length: compare policies on equally many answers, and look at the lengths.
///
/// Sign: 1 if no n-gram occurs twice; towards 0 as answers repeat themselves and each other.
pub(super) fn distinct(n_grams: &Runs) -> Option<f64> {
    let all: usize = n_grams.of.iter().map(Vec::len).sum();
    (all > 0).then(|| n_grams.different as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_on_paper() {
        let [one, two, three, four] = Runs::of_words(&["a b a b", "a c"]);
        assert_eq!(distinct(&one), Some(0.5));
        assert_eq!(distinct(&two), Some(0.75));
        assert_eq!(distinct(&three), Some(1.0), "aba, bab");
        assert_eq!(distinct(&four), Some(1.0));
        let [one, two, ..] = Runs::of_words(&["x", ""]);
        assert_eq!((distinct(&one), distinct(&two)), (Some(1.0), None));
    }
}
