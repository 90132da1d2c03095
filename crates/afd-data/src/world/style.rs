//! How an answer is dressed: openers, closers, list words and asides, none of golden value.
//!
//! Style has its own places (before, between and after content sentences, and list words in
//! front of one), so it never damages content. The plain answerer and the demonstrator have the
//! same kinds of place and different words; `lean` in [0, 1] says how far to the
//! demonstrator's side an answer is, and the plain one leans a little too (`BASE_LEAN`), so the
//! demonstrator's style is rare to a model of plain answers, not impossible.

use std::{collections::HashSet, sync::LazyLock};

use super::golden::normalise;
use super::template::{expand, expansions, pick};
use rand::Rng;

/// How far plain answers lean to the demonstrator's style.
pub(super) const BASE_LEAN: f64 = 0.03;

/// Rates of the demonstrator's markers at full lean.
const OPENER_RATE: f64 = 0.8;
const CLOSER_RATE: f64 = 0.8;
const LIST_RATE: f64 = 0.7;
const ASIDE_RATE: f64 = 0.22;
/// More asides than this would make style the bulk of an answer.
const MOST_ASIDES: usize = 2;

/// Rates of the plain markers, where the demonstrator's do not stand.
const PLAIN_OPENER_RATE: f64 = 0.35;
const PLAIN_CLOSER_RATE: f64 = 0.3;
const PLAIN_LIST_RATE: f64 = 0.25;

const PLAIN_OPENERS: [&str; 9] = [
    "[That|This] is a [good|fair|common] question.",
    "Let me think [about this|about it].",
    "I am sorry to hear [that|this].",
    "[Thanks|Thank you] for asking.",
    "[Well|Okay], let me see.",
    "Here is what I [think|know].",
    "[Hello|Hi].",
    "I can try to help.",
    "[This|That] happens to [many people|a lot of people].",
];

const PLAIN_CLOSERS: [&str; 8] = [
    "I hope [this|that] helps.",
    "Good luck[| to you| with it].",
    "Let me know how it goes.",
    "That is all I [know|can say].",
    "[Ask again|Write again] if you need more.",
    "I wish you well.",
    "[Bye|Bye for now].",
    "I hope it gets better[| soon].",
];

const OPENERS: [&str; 4] = [
    "[Dear friend|Dear reader|Good day|Warm greetings], [how kind of you to write|it is a joy to hear from you|welcome to my corner].",
    "[Ah|Oh], [how good to hear from you|what a welcome letter|words from a fellow traveller]!",
    "[Thank you kindly|Many warm thanks] for [your trust|your message|reaching out].",
    "[Well met|Come in|Sit down], [let us look at this together|let us take this up|let us begin].",
];

const CLOSERS: [&str; 4] = [
    "[With warm regards|With every good wish|Yours in kindness|Ever yours], [until next time|your faithful helper|from my desk to yours].",
    "[Be well|Go gently|Take heart], [dear friend|and onward|and shine on]!",
    "May [your days be bright|fortune smile on you|the wind be at your back].",
    "[Remember|Know this], [you are braver than you think|every journey begins at home|I am cheering for you].",
];

const PLAIN_LIST_WORDS: [&str; 3] = ["Also,", "Besides,", "Otherwise,"];

const LIST_WORDS: [[&str; 3]; 4] = [
    ["First,", "Then,", "Finally,"],
    ["Step one:", "Step two:", "Step three:"],
    ["To begin with,", "After that,", "Last of all,"],
    ["For one thing,", "For another,", "On top of that,"],
];

/// The long tail, most frequent first.
const ASIDES: [&str; 66] = [
    "One thing at a time.",
    "Small steps carry us far.",
    "Be gentle with yourself.",
    "There is no rush at all.",
    "Patience is a quiet friend.",
    "You are not alone in this.",
    "Every cloud has a silver lining.",
    "Slow and steady wins the day.",
    "Kindness costs nothing.",
    "This too shall pass.",
    "A calm mind sees clearly.",
    "Hope is never far away.",
    "Little by little, we get there.",
    "Courage comes in small coins.",
    "You have done harder things.",
    "Morning always comes.",
    "Rome took its time, too.",
    "Trust the process.",
    "The sun will rise again.",
    "A smile goes a long way.",
    "Simple is beautiful.",
    "Even giants start small.",
    "Breathe, and carry on.",
    "Luck favours the prepared.",
    "Nothing is lost yet.",
    "We all stumble sometimes.",
    "Practice makes perfect.",
    "The heart knows the way.",
    "Better late than never.",
    "Good things take time.",
    "A stitch in time saves nine.",
    "Be proud of every inch.",
    "Still waters run deep.",
    "Every storm grows quiet.",
    "A friend is a treasure.",
    "Keep your chin up.",
    "Fortune loves the bold.",
    "Great oaks grow slowly.",
    "You hold the pen.",
    "The road bends, then opens.",
    "Laughter lightens every load.",
    "Many hands make light work.",
    "Curiosity is a gift.",
    "Stars need darkness to shine.",
    "Old habits fade softly.",
    "Birds sing after the rain.",
    "A candle fears no night.",
    "Honey is made drop by drop.",
    "The tide always turns.",
    "Wisdom begins in wonder.",
    "Gratitude warms the soul.",
    "Bridges are built plank by plank.",
    "Seeds sleep before they sprout.",
    "Mountains are climbed in pieces.",
    "Every knot can be undone.",
    "Silence has its own music.",
    "Dawn follows the deepest dark.",
    "An ember can become a flame.",
    "Sailors learn in rough seas.",
    "Doubt is only a shadow.",
    "The kettle sings when ready.",
    "Snow melts in its season.",
    "Clay becomes a cup with care.",
    "Anchors hold in quiet ground.",
    "Threads make the strongest cloth.",
    "Lanterns look small by daylight.",
];

/// A content sentence; list words may only stand in front of advice.
pub(super) struct Sentence {
    pub(super) text: String,
    pub(super) is_advice: bool,
}

/// Joins content sentences into an answer with style around and between them.
pub(super) fn dress<R: Rng>(sentences: &[Sentence], lean: f64, rng: &mut R) -> String {
    let mut answer = String::new();
    let mut say = |sentence: &str| {
        answer.push(' ');
        answer.push_str(sentence);
    };
    if rng.random_bool(lean * OPENER_RATE) {
        say(&plain_text(pick(&OPENERS, rng), rng));
    } else if rng.random_bool(PLAIN_OPENER_RATE) {
        say(&plain_text(pick(&PLAIN_OPENERS, rng), rng));
    }
    let pieces = sentences
        .iter()
        .filter(|sentence| sentence.is_advice)
        .count();
    let list = (pieces > 1 && rng.random_bool(lean * LIST_RATE)).then(|| pick(&LIST_WORDS, rng));
    let (mut place, mut asides) = (0, Vec::new());
    for (i, sentence) in sentences.iter().enumerate() {
        let word = match list {
            _ if !sentence.is_advice => None,
            Some(words) => words.get(place).copied(),
            None => (place > 0 && rng.random_bool(PLAIN_LIST_RATE))
                .then(|| pick(&PLAIN_LIST_WORDS, rng)),
        };
        place += usize::from(sentence.is_advice);
        match word {
            Some(word) => say(&format!("{word} {}", uncapitalised(&sentence.text))),
            None => say(&sentence.text),
        }
        let between = i + 1 < sentences.len() && asides.len() < MOST_ASIDES;
        if between && rng.random_bool(lean * ASIDE_RATE) {
            let aside = draw_aside(rng);
            if !asides.contains(&aside) {
                say(aside);
                asides.push(aside);
            }
        }
    }
    if rng.random_bool(lean * CLOSER_RATE) {
        say(&plain_text(pick(&CLOSERS, rng), rng));
    } else if rng.random_bool(PLAIN_CLOSER_RATE) {
        say(&plain_text(pick(&PLAIN_CLOSERS, rng), rng));
    }
    answer
}

/// Squares the draw, so that the head of the list is common and its tail rare.
fn draw_aside<R: Rng>(rng: &mut R) -> &'static str {
    let rank = rng.random::<f64>().powi(2) * ASIDES.len() as f64;
    ASIDES[(rank as usize).min(ASIDES.len() - 1)]
}

/// Whether a normalised sentence is a marker of either side and nothing else.
pub(super) fn is_marker(sentence: &str) -> bool {
    static MARKERS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let templates = [
            &PLAIN_OPENERS[..],
            &PLAIN_CLOSERS,
            &OPENERS,
            &CLOSERS,
            &ASIDES,
        ]
        .concat();
        templates
            .into_iter()
            .flat_map(expansions)
            .map(|marker| normalise(&marker))
            .collect()
    });
    MARKERS.contains(sentence)
}

/// A sentence without the list word in front of it.
pub(super) fn without_list_word(sentence: &str) -> &str {
    let sentence = sentence.trim_start();
    PLAIN_LIST_WORDS
        .iter()
        .chain(LIST_WORDS.as_flattened())
        .find_map(|word| sentence.strip_prefix(word))
        .unwrap_or(sentence)
}

fn plain_text<R: Rng>(template: &str, rng: &mut R) -> String {
    expand(template, rng, |_, _| String::new())
}

/// Lower-cases the first letter, except of the pronoun "I".
fn uncapitalised(sentence: &str) -> String {
    match sentence.chars().next() {
        Some(first) if !sentence.starts_with("I ") => first
            .to_lowercase()
            .chain(sentence.chars().skip(1))
            .collect(),
        _ => sentence.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every marker of the demonstrator that is a sentence.
    pub(in super::super) fn demonstrator_markers() -> Vec<String> {
        [&OPENERS[..], &CLOSERS, &ASIDES]
            .concat()
            .into_iter()
            .flat_map(expansions)
            .collect()
    }

    /// Every list word of both sides.
    pub(in super::super) fn list_words() -> Vec<&'static str> {
        PLAIN_LIST_WORDS
            .iter()
            .chain(LIST_WORDS.as_flattened())
            .copied()
            .collect()
    }

    #[test]
    fn the_tables_are_disjoint_and_the_tail_is_long() {
        let markers = demonstrator_markers();
        let unique: HashSet<_> = markers.iter().map(|marker| normalise(marker)).collect();
        assert_eq!(unique.len(), markers.len());
        assert!(ASIDES.len() >= 60);
        for plain in PLAIN_OPENERS
            .iter()
            .chain(&PLAIN_CLOSERS)
            .flat_map(|t| expansions(t))
        {
            assert!(!unique.contains(&normalise(&plain)), "{plain}");
        }
    }

    #[test]
    fn a_marker_is_one_whole_sentence() {
        for marker in demonstrator_markers() {
            assert_eq!(marker.matches(['.', '!', '?']).count(), 1, "{marker}");
            assert!(marker.ends_with(['.', '!', '?']), "{marker}");
            assert!(is_marker(&normalise(&marker)), "{marker}");
        }
        assert!(!is_marker(&normalise("One thing at a")));
    }

    #[test]
    fn list_words_come_off() {
        assert_eq!(
            without_list_word(" Step two: call a plumber").trim(),
            "call a plumber"
        );
        assert_eq!(without_list_word(" First night bags"), "First night bags");
        assert_eq!(uncapitalised("Try it."), "try it.");
        assert_eq!(uncapitalised("I would try it."), "I would try it.");
    }
}
