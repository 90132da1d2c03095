//! Stock phrases, and how often they occur.

/// What a refusal opens with.
pub(super) const REFUSALS: &[&str] = &[
    "i can't",
    "i cannot",
    "i can not",
    "i won't",
    "i will not",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i'm not comfortable",
    "i don't feel comfortable",
    "as an ai",
    "as a language model",
];

/// What takes a claim back a little.
pub(super) const HEDGES: &[&str] = &[
    "maybe",
    "perhaps",
    "possibly",
    "probably",
    "likely",
    "might",
    "could",
    "usually",
    "generally",
    "it seems",
    "it depends",
    "i think",
    "i guess",
    "i'm not sure",
    "sort of",
    "kind of",
];

/// Words that speak to the reader.
pub(super) const SECOND_PERSON: &[&str] = &[
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
    "you're",
    "you've",
    "you'll",
    "you'd",
];

/// Words that speak of the writer.
pub(super) const FIRST_PERSON: &[&str] = &[
    "i",
    "me",
    "my",
    "mine",
    "myself",
    "i'm",
    "i've",
    "i'll",
    "i'd",
    "we",
    "us",
    "our",
    "ours",
    "ourselves",
    "we're",
    "we've",
    "we'll",
    "we'd",
];

/// How often any of `phrases` (words in lower case, a space between them) begins in `words`.
pub(super) fn occurrences(words: &[String], phrases: &[&str]) -> usize {
    let begins = |at: usize, phrase: &str| {
        let mut rest = words[at..].iter();
        phrase
            .split(' ')
            .all(|word| rest.next().is_some_and(|next| next == word))
    };
    (0..words.len())
        .map(|at| phrases.iter().filter(|phrase| begins(at, phrase)).count())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{super::words::words, *};

    #[test]
    fn phrases_are_found_as_whole_words() {
        let count = |text: &str, phrases: &[&str]| occurrences(&words(text), phrases);
        assert_eq!(count("I can’t. As an AI, I CANNOT.", REFUSALS), 3);
        assert_eq!(count("Alibi can't; as an aide", REFUSALS), 0);
        assert_eq!(count("as an", REFUSALS), 0);
        assert_eq!(count("maybe it depends, it", HEDGES), 2);
        assert_eq!(count("", HEDGES), 0);
    }

    #[test]
    fn phrases_are_spelt_as_words_are() {
        let all = [REFUSALS, HEDGES, SECOND_PERSON, FIRST_PERSON].concat();
        for phrase in all {
            assert_eq!(words(phrase).join(" "), phrase);
        }
    }
}
