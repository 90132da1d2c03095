//! All answers to one prompt: sequences over a small vocabulary, every one of them enumerable.

use std::collections::HashMap;

/// The token that ends an answer.
pub const END: usize = 0;

/// The most answers a [`Space`] may hold.
pub const MAX_ANSWERS: usize = 1 << 16;

/// An answer: tokens up to and with [`END`], or `horizon` tokens without one.
///
/// An answer cut by the horizon is an outcome of its own, without end token, and another one than
/// the shorter answer that ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The tokens, the end token included where there is one.
    pub tokens: Vec<usize>,
}

impl Answer {
    /// Whether its last token is [`END`]; otherwise the horizon cut it.
    pub fn ended(&self) -> bool {
        self.tokens.last() == Some(&END)
    }
}

/// The tree of prefixes over a vocabulary and a horizon, and the answers at its leaves.
///
/// A *state* is a prefix at which a token is drawn, the empty one first; a *step* is a token drawn
/// at a state, numbered `state · vocab + token`. Distributions over answers are slices in the order
/// of [`Space::answers`], tables of tokens slices in the order of steps.
#[derive(Debug, Clone)]
pub struct Space {
    vocab: usize,
    horizon: usize,
    states: Vec<Vec<usize>>,
    answers: Vec<Answer>,
    steps: Vec<Vec<usize>>,
    index: HashMap<Vec<usize>, usize>,
}

impl Space {
    /// All answers of at most `horizon` tokens out of `vocab`, token 0 being [`END`].
    ///
    /// # Panics
    /// With fewer than two tokens, no horizon, or more than [`MAX_ANSWERS`] answers.
    pub fn new(vocab: usize, horizon: usize) -> Space {
        assert!(vocab >= 2 && horizon >= 1, "no answers to choose from");
        let mut space = Space {
            vocab,
            horizon,
            states: vec![Vec::new()],
            answers: Vec::new(),
            steps: Vec::new(),
            index: HashMap::new(),
        };
        let mut paths = vec![Vec::new()];
        let mut state = 0;
        while state < space.states.len() {
            for token in 0..vocab {
                let mut tokens = space.states[state].clone();
                tokens.push(token);
                let mut path: Vec<usize> = paths[state].clone();
                path.push(state * vocab + token);
                if token == END || tokens.len() == horizon {
                    space.index.insert(tokens.clone(), space.answers.len());
                    space.answers.push(Answer { tokens });
                    space.steps.push(path);
                } else {
                    space.states.push(tokens);
                    paths.push(path);
                }
            }
            let found = space.answers.len();
            assert!(found <= MAX_ANSWERS, "more than {MAX_ANSWERS} answers");
            state += 1;
        }
        space
    }

    /// How many tokens there are, [`END`] included.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// How many tokens an answer has at most.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The prefixes at which a token is drawn, shorter ones first.
    pub fn states(&self) -> &[Vec<usize>] {
        &self.states
    }

    /// All answers.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The steps of an answer, first token first.
    pub fn steps(&self, answer: usize) -> &[usize] {
        &self.steps[answer]
    }

    /// The state a step leads to; `None` where it ends the answer or the horizon does.
    pub fn next(&self, step: usize) -> Option<usize> {
        let (state, token) = (step / self.vocab, step % self.vocab);
        // States are numbered level by level, and each word of a state leads to one.
        let next = state * (self.vocab - 1) + token;
        (token != END && next < self.states.len()).then_some(next)
    }

    /// Which answer these tokens are, [`END`] included; `None` for a mere prefix.
    pub fn index(&self, tokens: &[usize]) -> Option<usize> {
        self.index.get(tokens).copied()
    }

    /// The sum of `weights` over the answers through each step, by step.
    ///
    /// Of a distribution over answers it is the probability that an answer begins with that prefix.
    ///
    /// # Panics
    /// Unless there is one weight per answer.
    pub fn step_sums(&self, weights: &[f64]) -> Vec<f64> {
        assert_eq!(weights.len(), self.answers.len(), "one weight per answer");
        let mut sums = vec![0.0; self.states.len() * self.vocab];
        for (steps, weight) in self.steps.iter().zip(weights) {
            for &step in steps {
                sums[step] += weight;
            }
        }
        sums
    }

    /// The sum of `weights` over the answers through each state, by state.
    ///
    /// # Panics
    /// Unless there is one weight per answer.
    pub fn state_sums(&self, weights: &[f64]) -> Vec<f64> {
        let steps = self.step_sums(weights);
        steps.chunks(self.vocab).map(|s| s.iter().sum()).collect()
    }

    /// The sum of `table` along the steps of each answer, by answer.
    ///
    /// # Panics
    /// Unless there is one entry per step.
    pub fn along(&self, table: &[f64]) -> Vec<f64> {
        assert_eq!(table.len(), self.states.len() * self.vocab, "a step each");
        let of = |steps: &Vec<usize>| steps.iter().map(|&step| table[step]).sum();
        self.steps.iter().map(of).collect()
    }

    /// How many tokens each answer has.
    pub fn lengths(&self) -> Vec<f64> {
        self.steps.iter().map(|steps| steps.len() as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_and_two_tokens_make_seven_answers() {
        let space = Space::new(3, 2);
        assert_eq!(space.states(), [vec![], vec![1], vec![2]]);
        let tokens: Vec<&[usize]> = space.answers().iter().map(|a| &a.tokens[..]).collect();
        let expected: [&[usize]; 7] = [&[0], &[1, 0], &[1, 1], &[1, 2], &[2, 0], &[2, 1], &[2, 2]];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_cut_answer_is_another_one_than_one_that_ended() {
        let space = Space::new(2, 2);
        let ended = space.index(&[1, 0]).unwrap();
        let cut = space.index(&[1, 1]).unwrap();
        assert!(space.answers()[ended].ended() && !space.answers()[cut].ended());
        assert_ne!(ended, cut);
        assert_eq!(space.index(&[1]), None, "a prefix is no answer");
    }

    #[test]
    fn every_answer_is_found_by_its_tokens_and_counted_once() {
        for (vocab, horizon) in [(2, 1), (2, 6), (3, 4), (5, 3)] {
            let space = Space::new(vocab, horizon);
            // Each state adds `vocab` leaves in place of the one it was.
            assert_eq!(
                space.answers().len(),
                space.states().len() * (vocab - 1) + 1
            );
            for (i, answer) in space.answers().iter().enumerate() {
                assert_eq!(space.index(&answer.tokens), Some(i));
                assert_eq!(space.steps(i).len(), answer.tokens.len());
                for pair in space.steps(i).windows(2) {
                    assert_eq!(space.next(pair[0]), Some(pair[1] / vocab));
                }
                let last = space.steps(i)[answer.tokens.len() - 1];
                assert_eq!(space.next(last), None);
                assert_eq!(last % vocab, answer.tokens[answer.tokens.len() - 1]);
            }
        }
    }

    #[test]
    fn sums_pass_through_the_tree() {
        let space = Space::new(3, 3);
        let ones = vec![1.0; space.answers().len()];
        assert_eq!(space.state_sums(&ones)[0], 15.0);
        assert_eq!(space.step_sums(&ones)[0], 1.0, "one answer ends at once");
        assert_eq!(space.along(&[1.0; 21]), space.lengths());
    }

    #[test]
    #[should_panic(expected = "more than 65536 answers")]
    fn a_space_too_large_to_enumerate_is_refused() {
        Space::new(10, 12);
    }
}
