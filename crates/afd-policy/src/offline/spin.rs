//! SPIN's pairs: a demonstration preferred to the policy's own answer.

use super::{Answer, Contest, pairs::crossed};

/// Each demonstration of a prompt against each of the policy's answers to it, or `at_most` so many
/// of these pairs, drawn from `seed`. By [`Dpo`](super::Dpo) without smoothing they are SPIN.
///
/// Source: Chen et al., arXiv 2401.01335, eq. 4.7; its `λ` is `beta`.
/// Departures: several answers meet a demonstration where the source draws one; a demonstration that
/// is the policy's own answer is no pair, its loss having no gradient.
/// Sign: the demonstration is the chosen side. The reference and the writer of the answers are the
/// iterate before, which is where training starts. The exact step is `π·(p_demo/π)^(1/λ)`: the
/// demonstrator is its fixed point, attracting only for `λ > ½`.
///
/// One call is one round; the next starts from its outcome, with answers drawn from that.
pub fn contest(
    demonstrations: Vec<Answer>,
    own: Vec<Answer>,
    at_most: Option<usize>,
    prompt: &str,
    seed: u64,
) -> Contest {
    let pairs = crossed(demonstrations.len(), own.len(), at_most, prompt, seed);
    Contest::new([demonstrations, own].concat(), &pairs)
}

#[cfg(test)]
mod tests {
    use afd_data::TokenRow;

    use super::*;

    #[test]
    fn a_demonstration_meets_every_answer_but_itself() {
        let answer = |id: u32| Answer::new(TokenRow::from_sample(&[7], &[id, 0]));
        let own = [3, 4, 5].map(answer).to_vec();
        let contest = contest(vec![answer(4)], own, None, "p", 1);
        let ids = |place: usize| contest.answers[place].row.answer()[0];
        let pairs = contest.pairs.iter().map(|&(c, r)| (ids(c), ids(r)));
        assert_eq!(pairs.collect::<Vec<_>>(), [(4, 3), (4, 5)]);
    }
}
