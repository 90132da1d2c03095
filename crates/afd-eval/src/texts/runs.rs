//! Runs of words as numbers.

use std::{collections::HashMap, hash::Hash};

/// Words of the longest runs that are looked at.
pub(super) const ORDER: usize = 4;

/// The runs of n words in the answers to a prompt.
pub(super) struct Runs {
    /// `[answer][place]`: the number of the run that begins there, one number for the same words. Numbers begin
    /// at 0 and leave none out.
    pub(super) of: Vec<Vec<usize>>,
    /// How many different ones there are.
    pub(super) different: usize,
}

impl Runs {
    /// The runs of 1, 2, … [`ORDER`] words, which are what whitespace separates.
    pub(super) fn of_words(texts: &[&str]) -> [Self; ORDER] {
        let words = numbered(texts.iter().map(|text| text.split_whitespace()));
        let pairs = words.longer(&words, 1);
        let triples = pairs.longer(&words, 2);
        let fours = triples.longer(&words, 3);
        [words, pairs, triples, fours]
    }

    /// These runs of `n` words with the word behind each.
    fn longer(&self, words: &Self, n: usize) -> Self {
        let answers = self.of.iter().zip(&words.of);
        numbered(answers.map(|(runs, words)| runs.iter().zip(&words[n.min(words.len())..])))
    }
}

fn numbered<T: Eq + Hash>(answers: impl Iterator<Item = impl Iterator<Item = T>>) -> Runs {
    let mut numbers: HashMap<T, usize> = HashMap::new();
    let mut number = |run| {
        let fresh = numbers.len();
        *numbers.entry(run).or_insert(fresh)
    };
    let of = answers.map(|answer| answer.map(&mut number).collect());
    Runs {
        of: of.collect(),
        different: numbers.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_have_the_same_number() {
        let [words, pairs, triples, fours] = Runs::of_words(&[" a b a\nb", "", "b a b", "c"]);
        assert_eq!(words.of, [vec![0, 1, 0, 1], vec![], vec![1, 0, 1], vec![2]]);
        assert_eq!(pairs.of, [vec![0, 1, 0], vec![], vec![1, 0], vec![]]);
        assert_eq!(triples.of, [vec![0, 1], vec![], vec![1], vec![]]);
        assert_eq!(fours.of, [vec![0], vec![], vec![], vec![]]);
        let different = [words, pairs, triples, fours].map(|runs| runs.different);
        assert_eq!(different, [3, 2, 2, 1]);
    }
}
