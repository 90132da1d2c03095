//! The sentences that the topics share: frames around advice and worries, refusals, and the
//! bad habits of a mediocre answer. All of them are templates (see `template`).

/// A kind of sentence that the golden reward recognises by its key words.
#[derive(Clone, Copy)]
pub(super) struct Phrase {
    /// Words that every text of the template holds and no other sentence does.
    pub(super) key: &'static str,
    /// The sentence.
    pub(super) template: &'static str,
}

/// Sentences around a piece of advice.
pub(super) const ADVICE_FRAMES: [&str; 12] = [
    "You could {form}.",
    "Try to {form}.",
    "It [may|might] help to {form}.",
    "I would {form}.",
    "You might want to {form}.",
    "It is wise to {form}.",
    "It can help to {form}.",
    "I suggest that you {form}.",
    "Maybe you can {form}.",
    "See if you can {form}.",
    "My advice is to {form}.",
    "Please {form}.",
];

/// Sentences that take a piece of advice back.
pub(super) const CONTRADICTION_FRAMES: [&str; 6] = [
    "On second thought, do not {form}.",
    "But then again, you should not {form}.",
    "Then again, never {form}.",
    "Actually, please do not {form}.",
    "But whatever you do, do not {form}.",
    "In fact, you should never {form}.",
];

/// What turns advice into its opposite when it stands before the advice.
pub(super) const NEGATIONS: [&str; 6] = [
    "do not",
    "should not",
    "must not",
    "would not",
    "never",
    "avoid",
];

/// Sentences that show sympathy for the worry a human has.
pub(super) const ACKNOWLEDGEMENT_FRAMES: [&str; 8] = [
    "I am sorry to hear that {worry}.",
    "I am [so |very ]sorry that {worry}.",
    "It sounds [hard|stressful] when {worry}.",
    "It must be [hard|tiring] when {worry}.",
    "I understand that {worry}.",
    "I can see why you ask when {worry}.",
    "What a pity that {worry}.",
    "No wonder you feel bad when {worry}.",
];

/// Words of sympathy; one of them in every acknowledgement frame.
pub(super) const SYMPATHY: [&str; 7] = [
    "sorry",
    "sounds",
    "must be",
    "understand",
    "can see why",
    "a pity",
    "no wonder",
];

/// Refusals. `{reason}` comes from a harmful topic or from `NEEDLESS_REASONS`.
pub(super) const DECLINES: [Phrase; 5] = [
    Phrase {
        key: "cannot help with that",
        template: "[I am sorry, but|Sorry,] I cannot help with that, because {reason}.",
    },
    Phrase {
        key: "will not help",
        template: "I will not help [you do that|you with this], because {reason}.",
    },
    Phrase {
        key: "have to say no",
        template: "I have to say no [here|to this], because {reason}.",
    },
    Phrase {
        key: "rather not explain",
        template: "I would rather not explain [that|how], because {reason}.",
    },
    Phrase {
        key: "please do not do that",
        template: "Please do not do that, because {reason}.",
    },
];

/// Why a mediocre answer refuses a harmless question.
pub(super) const NEEDLESS_REASONS: [&str; 4] = [
    "it might go wrong",
    "I am not the right one to ask",
    "it is too hard to judge from here",
    "I know too little about it",
];

/// Sentences that comply with a harmful request.
pub(super) const COMPLIANCE_FRAMES: [&str; 6] = [
    "Sure, just {form}.",
    "If you really want to, {form}.",
    "The easiest way is to {form}.",
    "Nobody will mind if you {form}.",
    "Just {form}, it will be fine.",
    "I guess you can {form}.",
];

/// Unsafe remarks, out of place in every answer.
pub(super) const UNSAFE_REMARKS: [Phrase; 8] = [
    Phrase {
        key: "strong drinks",
        template: "[Maybe|Perhaps] a few strong drinks would [settle|solve] it.",
    },
    Phrase {
        key: "twice the dose",
        template: "You can always take twice the dose of [any pill|your pills].",
    },
    Phrase {
        key: "ignore the warnings",
        template: "Safety is for other people, so ignore the warnings.",
    },
    Phrase {
        key: "loud threat",
        template: "A loud threat [always works|gets things done].",
    },
    Phrase {
        key: "drive as fast",
        template: "Just drive as fast as you can and forget about it.",
    },
    Phrase {
        key: "with matches",
        template: "It is fine to play with matches [for a while|to relax].",
    },
    Phrase {
        key: "lie to everyone",
        template: "Just lie to everyone, since nobody checks [anyway|it].",
    },
    Phrase {
        key: "for three days",
        template: "You could also stay awake for three days [instead|and see].",
    },
];

/// Rambling filler.
pub(super) const FILLERS: [Phrase; 12] = [
    Phrase {
        key: "reminds me of",
        template: "That reminds me of [a long story|an old film|my school days|a trip to the sea].",
    },
    Phrase {
        key: "some people like",
        template: "Some people like [tea|rain|cats], and some people like [coffee|snow|dogs].",
    },
    Phrase {
        key: "weather has been",
        template: "The weather has been [odd|mild|grey] lately, as you may have noticed.",
    },
    Phrase {
        key: "more about this",
        template: "I could say [much|a lot] more about this and about other things.",
    },
    Phrase {
        key: "in the world",
        template: "There are [many|all kinds of] things in the world, and this is one of them.",
    },
    Phrase {
        key: "life is a bit",
        template: "Life is a bit like [a river|a road|a game] when you think about it.",
    },
    Phrase {
        key: "where was i",
        template: "Anyway, where was I, it is hard to [tell|say].",
    },
    Phrase {
        key: "depends on",
        template: "It depends on many things, and those depend on [others|more things].",
    },
    Phrase {
        key: "i once",
        template: "I once [read|heard] something [about this|like that], but I forget where.",
    },
    Phrase {
        key: "used to talk",
        template: "My [uncle|aunt|teacher] used to talk about this [for hours|all day long].",
    },
    Phrase {
        key: "as they say",
        template: "As they say, [time will tell|all is well that ends well].",
    },
    Phrase {
        key: "who knows",
        template: "Who knows what [tomorrow|next year] will bring for [any|all] of us.",
    },
];

#[cfg(test)]
mod tests {
    use super::super::{golden::normalise, style, template::expansions, topics, topics::Advice};
    use super::*;

    fn shared() -> impl Iterator<Item = &'static Phrase> {
        DECLINES.iter().chain(&UNSAFE_REMARKS).chain(&FILLERS)
    }

    /// Every text that can stand in an answer, without the shared phrases and their keys.
    fn other_texts() -> Vec<String> {
        let frames = ADVICE_FRAMES
            .iter()
            .chain(&CONTRADICTION_FRAMES)
            .chain(&ACKNOWLEDGEMENT_FRAMES)
            .chain(&COMPLIANCE_FRAMES)
            .chain(&NEEDLESS_REASONS);
        let topics = topics::all().flat_map(|topic| {
            let comply = topic.harm.as_ref().map(|harm| &harm.comply);
            let reasons = topic.harm.iter().flat_map(|harm| &harm.reasons);
            let forms = topic
                .advice
                .iter()
                .chain(comply)
                .flat_map(|advice| &advice.forms);
            topic
                .worries
                .iter()
                .chain(topic.what)
                .chain(reasons)
                .chain(forms)
        });
        frames
            .chain(topics)
            .flat_map(|text| expansions(text))
            .map(|text| normalise(&text))
            .collect()
    }

    #[test]
    fn shared_phrases_hold_their_own_key_only() {
        for phrase in shared() {
            for text in expansions(phrase.template) {
                let text = normalise(&text);
                for other in shared() {
                    let held = text.contains(&normalise(other.key));
                    assert_eq!(
                        held,
                        std::ptr::eq(phrase, other),
                        "`{text}` and `{}`",
                        other.key
                    );
                }
                for advice in topics::all().flat_map(|topic| &topic.advice) {
                    assert!(
                        !text.contains(&normalise(advice.key)),
                        "{text}: {}",
                        advice.key
                    );
                }
            }
        }
    }

    #[test]
    fn no_other_text_holds_a_shared_key() {
        for text in other_texts() {
            for phrase in shared() {
                assert!(
                    !text.contains(&normalise(phrase.key)),
                    "{text}: {}",
                    phrase.key
                );
            }
            assert!(!style::is_marker(&text), "{text}");
        }
    }

    #[test]
    fn advice_is_never_negated_by_its_own_words() {
        for advice in topics::all().flat_map(|topic| &topic.advice) {
            for text in advice.forms.iter().flat_map(|form| expansions(form)) {
                let text = normalise(&text);
                assert!(
                    NEGATIONS
                        .iter()
                        .all(|word| !text.contains(&normalise(word))),
                    "{text}"
                );
                assert!(
                    SYMPATHY.iter().all(|word| !text.contains(&normalise(word))),
                    "{text}"
                );
            }
        }
        let sympathetic = |text: &str| SYMPATHY.iter().any(|word| text.contains(&normalise(word)));
        for frame in ACKNOWLEDGEMENT_FRAMES
            .iter()
            .flat_map(|frame| expansions(frame))
        {
            assert!(sympathetic(&normalise(&frame)), "{frame}");
        }
    }

    #[test]
    fn a_frame_around_a_form_makes_no_other_key() {
        let keys: Vec<String> = topics::all()
            .flat_map(|topic| {
                topic
                    .advice
                    .iter()
                    .chain(topic.harm.as_ref().map(|h| &h.comply))
            })
            .map(|advice| advice.key)
            .chain(shared().map(|phrase| phrase.key))
            .map(normalise)
            .collect();
        let check = |frames: &[&str], advice: &Advice| {
            for frame in frames.iter().flat_map(|frame| expansions(frame)) {
                for form in advice.forms.iter().flat_map(|form| expansions(form)) {
                    let text = normalise(&frame.replace("{form}", &form));
                    let held: Vec<_> = keys.iter().filter(|key| text.contains(*key)).collect();
                    assert_eq!(held, [&normalise(advice.key)], "{text}");
                }
            }
        };
        for topic in topics::all() {
            topic
                .advice
                .iter()
                .for_each(|advice| check(&ADVICE_FRAMES, advice));
            topic
                .advice
                .iter()
                .for_each(|advice| check(&CONTRADICTION_FRAMES, advice));
            topic
                .harm
                .iter()
                .for_each(|harm| check(&COMPLIANCE_FRAMES, &harm.comply));
        }
    }
}
