//! What a policy's texts are like, read a prompt at a time so that nobody has to hold them.

mod distinct;
mod overlap;
mod runs;
mod self_bleu;

use afd_data::features;
use afd_stats::{mean, six_digits};

pub(crate) use self::overlap::Demonstrated;
use self::{distinct::distinct, overlap::Overlap, runs::Runs, self_bleu::self_bleu};

/// Of the first so many answers to each prompt. Figures of a prompt are averaged over prompts, and are
/// `None` where no prompt has them.
#[derive(Debug, PartialEq)]
pub(crate) struct TextFigures {
    /// Shares of different words, and of different pairs of words.
    pub(crate) distinct_1: Option<f64>,
    pub(crate) distinct_2: Option<f64>,
    pub(crate) self_bleu: Option<f64>,
    /// Share of answers with a stock phrase of refusal.
    pub(crate) refusals: f64,
    /// Share of an answer's runs of two words that it has had before.
    pub(crate) repetition: f64,
    /// Share of the demonstrations' runs of two words that the policy's answers have somewhere, …
    pub(crate) coverage: Option<f64>,
    /// … and share of the policy's that the demonstrations have somewhere.
    pub(crate) precision: Option<f64>,
}

/// Of the answers to one prompt.
pub(crate) struct PromptTexts {
    distinct_1: Option<f64>,
    distinct_2: Option<f64>,
    self_bleu: Option<f64>,
    /// Of each answer, 1 for one that refuses.
    refusals: Vec<f64>,
    repetition: Vec<f64>,
}

/// Reads a policy's answers, of each prompt the first so many.
pub(crate) struct TextReader<'a> {
    answers: usize,
    overlap: Overlap<'a>,
}

impl<'a> TextReader<'a> {
    pub(crate) fn new(answers: usize, demonstrated: &'a Demonstrated<'a>) -> Self {
        Self {
            answers,
            overlap: Overlap::with(demonstrated),
        }
    }

    /// Reads the answers to a prompt. Several threads may, in any order.
    pub(crate) fn read(&self, texts: &[&str]) -> PromptTexts {
        let texts = &texts[..texts.len().min(self.answers)];
        for text in texts {
            self.overlap.add(text);
        }
        let figures: Vec<_> = texts.iter().map(|text| features::readable(text)).collect();
        let named = |name: &str| -> Vec<f64> {
            let place = features::NAMES.iter().position(|other| *other == name);
            let of = |figures: &[f64; features::N]| place.map_or(0.0, |place| figures[place]);
            figures.iter().map(of).collect()
        };
        let refuses = |count: f64| f64::from(u8::from(count > 0.0));
        let runs = Runs::of_words(texts);
        PromptTexts {
            distinct_1: distinct(&runs[0]),
            distinct_2: distinct(&runs[1]),
            self_bleu: self_bleu(&runs),
            refusals: named("refusals").into_iter().map(refuses).collect(),
            repetition: named("repeated_bigram_share"),
        }
    }

    /// From all that was read, in the order of the prompts.
    pub(crate) fn figures(&self, prompts: &[PromptTexts]) -> TextFigures {
        let of_prompts = |value: fn(&PromptTexts) -> Option<f64>| {
            let values: Vec<f64> = prompts.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| six_digits(mean(&values)))
        };
        let of_answers = |values: fn(&PromptTexts) -> &Vec<f64>| {
            let values = prompts.iter().flat_map(values).copied();
            six_digits(mean(&values.collect::<Vec<f64>>()))
        };
        TextFigures {
            distinct_1: of_prompts(|prompt| prompt.distinct_1),
            distinct_2: of_prompts(|prompt| prompt.distinct_2),
            self_bleu: of_prompts(|prompt| prompt.self_bleu),
            refusals: of_answers(|prompt| &prompt.refusals),
            repetition: of_answers(|prompt| &prompt.repetition),
            coverage: self.overlap.coverage().map(six_digits),
            precision: self.overlap.precision().map(six_digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(groups: &[&[&str]], answers: usize, demonstrations: &[&str]) -> TextFigures {
        let demonstrated = Demonstrated::by(demonstrations.iter().copied());
        let reader = TextReader::new(answers, &demonstrated);
        let prompts: Vec<PromptTexts> = groups.iter().map(|texts| reader.read(texts)).collect();
        reader.figures(&prompts)
    }

    #[test]
    fn behaviour_on_paper() {
        let groups: [&[&str]; 2] = [
            &["a b a b", "I'm sorry, no", "not looked at"],
            &["b c", "x y"],
        ];
        let found = figures(&groups, 2, &["a b c", "d e"]);
        // Pairs: "a b" twice and "b a" once; "I'm sorry," and "sorry, no"; "b c"; "x y". Of the
        // demonstrations' three, "a b" and "b c" are covered; of the policy's seven they have three.
        assert_eq!(found.coverage, Some(0.666667));
        assert_eq!(found.precision, Some(0.428571));
        assert_eq!(found.refusals, 0.25);
        // One pair in three of one answer in four.
        assert!((found.repetition - 1.0 / 12.0).abs() < 1e-6, "{found:?}");
        let nothing = figures(&[&["word"]], 1, &[]);
        assert_eq!((nothing.coverage, nothing.precision), (None, None));
    }

    #[test]
    fn repetition_within_and_between_answers_counts() {
        let groups: [&[&str]; 2] = [&["a b a b", "a c"], &["x", "", "y z"]];
        // First prompt: a, b, c of 6 words; ab, ba, ac of 4 pairs. Second: x alone, no pair.
        let two = figures(&groups, 2, &[]);
        assert_eq!((two.distinct_1, two.distinct_2), (Some(0.75), Some(0.75)));
        // With the third answer: 3 of 3 words, 1 of 1 pair.
        assert_eq!(figures(&groups, 3, &[]).distinct_2, Some(0.875));
        // One answer each: 2 of 4 words, 1 of 1.
        assert_eq!(figures(&groups, 1, &[]).distinct_1, Some(0.75));
        assert_eq!(figures(&groups[1..], 1, &[]).distinct_2, None);
    }

    #[test]
    fn the_same_answers_are_like_each_other_and_single_ones_like_nothing() {
        let same: &[&str] = &["one two three four", "one two three four"];
        let apart: &[&str] = &["a b c d", "e f g h", "a b c d"];
        let found = |groups: &[&[&str]], answers| figures(groups, answers, &[]).self_bleu;
        assert_eq!(found(&[same], 2), Some(1.0));
        assert_eq!(found(&[same, apart], 2), Some(0.5));
        assert_eq!(found(&[same], 1), None);
        // Empty answers are like nothing.
        assert_eq!(found(&[&["", ""]], 2), Some(0.0));
    }
}
