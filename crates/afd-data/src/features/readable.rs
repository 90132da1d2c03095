//! Figures of an answer that can be checked by reading it.

use std::collections::BTreeSet;

use super::{
    phrases::{FIRST_PERSON, HEDGES, REFUSALS, SECOND_PERSON, occurrences},
    words::words,
};

/// Number of readable features.
pub const N: usize = 19;

/// What each of [`readable`]'s figures is called.
pub const NAMES: [&str; N] = [
    "characters",
    "words",
    "sentences",
    "mean_word_length",
    "type_token_ratio",
    "punctuation_share",
    "question_marks",
    "exclamation_marks",
    "newlines",
    "list_lines",
    "digits_share",
    "capitals_share",
    "quotes",
    "refusals",
    "hedges_share",
    "second_person_share",
    "first_person_share",
    "ends_with_punctuation",
    "repeated_bigram_share",
];

/// The places of the features that say how long an answer is: characters, words, sentences.
pub const LENGTH: &[usize] = &[0, 1, 2];

/// The places of the features that say how an answer is laid out and punctuated, from its share
/// of punctuation to its quotes, and whether it ends with punctuation.
///
/// Some are counts, which grow with length: beside a classifier on [`LENGTH`] this one shows
/// what format adds only where it does better.
pub const FORMAT: &[usize] = &[5, 6, 7, 8, 9, 10, 11, 12, 17];

/// The figures of an answer in the order of [`NAMES`], all finite, 0 where there is nothing to
/// count or share.
///
/// * `characters` (Unicode scalar values), `words`, `sentences`: counts. A sentence ends at a run
///   of `.`, `!`, `?` or `…` before white space or the end; what follows the last is one more.
/// * `mean_word_length`: characters by word.
/// * `type_token_ratio`: different words by words.
/// * `punctuation_share`, `digits_share`: of all characters; punctuation is whatever is neither a
///   letter, a digit, white space nor a control character.
/// * `question_marks`, `exclamation_marks`, `newlines`, `quotes` (double ones of any form): counts.
/// * `list_lines`: lines that start with `-`, `*`, `+`, `•` or a number with `.` or `)`, and a
///   space.
/// * `capitals_share`: of the letters.
/// * `refusals`: occurrences of stock phrases such as "I can't", "I'm sorry" or "as an AI".
/// * `hedges_share` ("perhaps", "it depends"), `second_person_share`, `first_person_share`:
///   occurrences by word.
/// * `ends_with_punctuation`: 1 if the end is that of a sentence, closing quotes and brackets
///   aside; else 0.
/// * `repeated_bigram_share`: the share of pairs of neighbouring words that stood before.
pub fn readable(text: &str) -> [f64; N] {
    let text = text.trim();
    let words = words(text);
    let characters = text.chars().count();
    let count = |wanted: fn(char) -> bool| text.chars().filter(|&c| wanted(c)).count();
    let phrases = |list: &[&str]| occurrences(&words, list);
    let different: BTreeSet<&String> = words.iter().collect();
    let letters_in_words: usize = words.iter().map(|word| word.chars().count()).sum();
    let bigrams: BTreeSet<&[String]> = words.windows(2).collect();
    let all_bigrams = words.len().saturating_sub(1);
    [
        characters as f64,
        words.len() as f64,
        sentences(text) as f64,
        share(letters_in_words, words.len()),
        share(different.len(), words.len()),
        share(count(is_punctuation), characters),
        count(|c| matches!(c, '?' | '？')) as f64,
        count(|c| matches!(c, '!' | '！')) as f64,
        count(|c| c == '\n') as f64,
        text.lines().filter(|line| is_list_line(line)).count() as f64,
        share(count(char::is_numeric), characters),
        share(count(char::is_uppercase), count(char::is_alphabetic)),
        count(|c| matches!(c, '"' | '“' | '”' | '„' | '«' | '»')) as f64,
        phrases(REFUSALS) as f64,
        share(phrases(HEDGES), words.len()),
        share(phrases(SECOND_PERSON), words.len()),
        share(phrases(FIRST_PERSON), words.len()),
        f64::from(u8::from(ends_a_sentence(text))),
        share(all_bigrams - bigrams.len(), all_bigrams),
    ]
}

/// The figures at `places`, such as [`LENGTH`].
///
/// # Panics
///
/// If a place is not below [`N`].
pub fn select(figures: &[f64; N], places: &[usize]) -> Vec<f64> {
    places.iter().map(|&place| figures[place]).collect()
}

/// `part / whole`; 0 if there is no whole.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

fn is_punctuation(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !c.is_control()
}

fn is_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '*' | '_')
}

fn ends_a_sentence(text: &str) -> bool {
    text.trim_end_matches(is_closing).ends_with(is_end)
}

/// `text` has no white space around it.
fn sentences(text: &str) -> usize {
    let chunks = text.split_whitespace();
    // A chunk without letters or digits, such as a dash or `...`, neither is nor ends a sentence.
    let (mut ended, mut open) = (0, false);
    for chunk in chunks.filter(|chunk| chunk.chars().any(char::is_alphanumeric)) {
        open = !ends_a_sentence(chunk);
        ended += usize::from(!open);
    }
    ended + usize::from(open)
}

fn is_list_line(line: &str) -> bool {
    let line = line.trim_start();
    let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let marked = if after_number.len() < line.len() {
        after_number.strip_prefix(['.', ')'])
    } else {
        line.strip_prefix(['-', '*', '+', '•'])
    };
    marked.is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, name: &str) -> f64 {
        readable(text)[NAMES.iter().position(|other| *other == name).unwrap()]
    }

    #[test]
    fn every_figure_on_paper() {
        let text = " You COULD try:\n- \"2 eggs\"\n- 2 eggs!\n1) Really? I'm sorry.\n";
        // you could try 2 eggs 2 eggs 1 really i'm sorry: 11 words of 3 5 3 1 4 1 4 1 6 3 5 = 36
        // characters, 9 different. Lines of 14, 10, 9 and 21 characters and three line ends: 57.
        // Punctuation: : - " " - ! ) ? ' . = 10. Letters: 3+5+3+4+4+6+2+5 = 32, of which capital
        // Y COULD R I = 8. Digits 3. Pairs: 10, "2 eggs" twice. Sentences: eggs! Really? sorry.
        let expected = [
            57.0,
            11.0,
            3.0,
            36.0 / 11.0,
            9.0 / 11.0,
            10.0 / 57.0,
            1.0,
            1.0,
            3.0,
            3.0,
            3.0 / 57.0,
            8.0 / 32.0,
            2.0,
            1.0,
            1.0 / 11.0,
            1.0 / 11.0,
            1.0 / 11.0,
            1.0,
            1.0 / 10.0,
        ];
        for ((name, found), expected) in NAMES.iter().zip(readable(text)).zip(expected) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{name}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn nothing_gives_zeros() {
        assert_eq!(readable(""), [0.0; N]);
        assert_eq!(readable(" \n\t "), [0.0; N]);
    }

    #[test]
    fn any_text_gives_finite_figures() {
        for text in [
            "🙂",
            "...",
            "日本語。はい！",
            "e\u{301}",
            "\u{0}\u{200d}",
            "٣ ß ǅ",
            "1.",
            "''",
        ] {
            assert!(
                readable(text).iter().all(|figure| figure.is_finite()),
                "{text:?}"
            );
        }
        assert_eq!(named("日本語。はい！", "characters"), 7.0);
        assert_eq!(named("日本語。はい！", "exclamation_marks"), 1.0);
        assert_eq!(named("Ünï", "capitals_share"), 1.0 / 3.0);
    }

    #[test]
    fn sentences_end_before_white_space() {
        for (text, count) in [
            ("One. Two! Three", 3.0),
            ("It costs 3.50 at a.b.c", 1.0),
            ("\"Stop!\" (He did.) Well ... so?!", 3.0),
            ("...", 0.0),
        ] {
            assert_eq!(named(text, "sentences"), count, "{text}");
        }
        assert_eq!(named("He said \"no.\"", "ends_with_punctuation"), 1.0);
        assert_eq!(named("He said no,", "ends_with_punctuation"), 0.0);
    }

    #[test]
    fn list_lines_have_a_mark_and_a_space() {
        for (line, is) in [
            ("- a", true),
            ("  • a", true),
            ("12. a", true),
            ("3) a", true),
            ("-a", false),
            ("3.5 a", false),
            ("**bold** a", false),
            ("a - b", false),
            ("-", false),
        ] {
            assert_eq!(is_list_line(line), is, "{line}");
        }
    }

    #[test]
    fn subsets_hold_what_they_say() {
        let names =
            |places: &[usize]| -> Vec<&str> { places.iter().map(|&place| NAMES[place]).collect() };
        assert_eq!(names(LENGTH), ["characters", "words", "sentences"]);
        assert_eq!(
            names(FORMAT),
            [
                "punctuation_share",
                "question_marks",
                "exclamation_marks",
                "newlines",
                "list_lines",
                "digits_share",
                "capitals_share",
                "quotes",
                "ends_with_punctuation"
            ]
        );
        assert_eq!(select(&readable("One two."), LENGTH), [8.0, 2.0, 1.0]);
    }
}
