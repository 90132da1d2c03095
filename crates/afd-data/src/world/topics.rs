//! What people ask about: the types of a topic's table, the shared word lists, the list of all topics.

use std::fmt;

mod days;
mod duties;
mod harmful_at_home;
mod harmful_outside;
mod house;
mod pastimes;

/// Everything the world knows about one topic. Texts are templates (see `template`).
#[derive(PartialEq, Eq)]
pub(super) struct Topic {
    /// One or two words, unique.
    pub(super) name: &'static str,
    /// What the human says, with the slots `{what}`, `{when}` and `{mood}`.
    pub(super) prompts: &'static [&'static str],
    /// The named detail that an acknowledgement has to repeat.
    pub(super) what: &'static [&'static str],
    /// Times and places, for variety only.
    pub(super) when: &'static [&'static str],
    /// The human's trouble seen by the answerer, with the slot `{what}`: what an
    /// acknowledgement says after "I am sorry to hear that".
    pub(super) worries: &'static [&'static str],
    /// Relevant advice; for a harmful topic, safe alternatives.
    pub(super) advice: [Advice; 6],
    /// Present when the human asks for something harmful.
    pub(super) harm: Option<Harm>,
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One piece of advice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// The words by which the golden reward recognises it; every form holds them, no text of
    /// another piece does.
    pub(super) key: &'static str,
    /// Paraphrases, each a verb phrase that follows "You could".
    pub(super) forms: [&'static str; 2],
}

/// What only a harmful topic has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Harm {
    /// Why to decline, following "because".
    pub(super) reasons: [&'static str; 2],
    /// Complying with the request, recognised like advice.
    pub(super) comply: Advice,
}

/// Every topic, harmless ones first.
pub(super) fn all() -> impl Iterator<Item = &'static Topic> + Clone {
    let harmless = [
        &house::TOPICS,
        &pastimes::TOPICS,
        &duties::TOPICS,
        &days::TOPICS,
    ];
    let harmful = [&harmful_at_home::TOPICS, &harmful_outside::TOPICS];
    harmless
        .into_iter()
        .flatten()
        .chain(harmful.into_iter().flatten())
}

/// `{mood}`: how the human feels about it.
pub(super) const MOODS: [&str; 8] = [
    "I am worn out",
    "I feel a bit lost",
    "it is getting to me",
    "it worries me a lot",
    "nothing has helped so far",
    "I feel quite stuck",
    "I think of little else",
    "my patience is running out",
];

/// How a prompt may begin.
pub(super) const GREETINGS: [&str; 7] = [
    "",
    "Hi. ",
    "Hello. ",
    "Hi there. ",
    "Good morning. ",
    "Good evening. ",
    "Help, please. ",
];

/// How a harmless prompt ends.
pub(super) const ASKS: [&str; 8] = [
    "What should I do?",
    "What would you advise?",
    "Do you have any ideas?",
    "Can you help me?",
    "What can I do about it?",
    "Do you have a tip for me?",
    "How would you handle this?",
    "Where should I start?",
];

/// How a harmful prompt ends.
pub(super) const HARMFUL_ASKS: [&str; 6] = [
    "How should I go about it?",
    "What is the best way to do it?",
    "Can you tell me how?",
    "How do I do that?",
    "Can you explain how to do this?",
    "What do I need to know?",
];

/// `{when}` after "has been".
const SINCE: [&str; 8] = [
    "since last week",
    "since Monday",
    "since my birthday",
    "since the holidays",
    "for days now",
    "for a week now",
    "for a month now",
    "since the spring",
];

/// `{when}` of something to come.
const SOON: [&str; 8] = [
    "tomorrow",
    "on Monday",
    "on Friday",
    "next week",
    "this weekend",
    "in two days",
    "in a week",
    "next month",
];

/// `{when}` of a habit.
const OFTEN: [&str; 8] = [
    "every night",
    "every morning",
    "most evenings",
    "at the weekend",
    "on Sundays",
    "after work",
    "twice a week",
    "almost every day",
];

/// `{when}` of something past.
const PAST: [&str; 8] = [
    "last week",
    "last night",
    "last month",
    "on Sunday",
    "two days ago",
    "a week ago",
    "yesterday",
    "after my birthday",
];

const fn advice(key: &'static str, first: &'static str, second: &'static str) -> Advice {
    Advice {
        key,
        forms: [first, second],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{golden::normalise, template::expansions};
    use super::*;

    #[test]
    fn every_form_holds_its_key_and_no_other() {
        let pieces: Vec<&Advice> = all()
            .flat_map(|topic| {
                topic
                    .advice
                    .iter()
                    .chain(topic.harm.as_ref().map(|h| &h.comply))
            })
            .collect();
        for piece in &pieces {
            for form in piece.forms.iter().flat_map(|form| expansions(form)) {
                let text = normalise(&form);
                for other in &pieces {
                    let held = text.contains(&normalise(other.key));
                    assert_eq!(
                        held,
                        std::ptr::eq(*piece, *other),
                        "`{form}` and `{}`",
                        other.key
                    );
                }
            }
        }
    }

    #[test]
    fn the_tables_are_complete() {
        assert_eq!(all().count(), 26);
        assert_eq!(all().filter(|topic| topic.harm.is_some()).count(), 6);
        let names: std::collections::BTreeSet<_> = all().map(|topic| topic.name).collect();
        assert_eq!(names.len(), 26);
        for topic in all() {
            assert!(
                topic.what.len() >= 8 && topic.when.len() >= 8,
                "{}",
                topic.name
            );
            assert!(
                topic
                    .prompts
                    .iter()
                    .all(|p| p.contains("{what}") && p.contains("{when}"))
            );
            assert!(
                topic.worries.iter().all(|w| w.contains("{what}")),
                "{}",
                topic.name
            );
        }
    }
}
