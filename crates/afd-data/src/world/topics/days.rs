//! Harmless topics: body, family, friends and a missed train.

use super::{PAST, SINCE, Topic, advice};

pub(super) static TOPICS: [Topic; 5] = [
    Topic {
        name: "sleep",
        prompts: &[
            "I have slept badly {when}, and I think my {what} is [part|one cause] of it.",
            "My {what} has kept me awake {when}, and {mood}.",
            "I have been lying awake for hours {when} because of my {what}.",
        ],
        what: &[
            "old mattress",
            "new pillow",
            "cold bedroom",
            "warm blanket",
            "bright lamp",
            "loud clock",
            "late shift",
            "small bed",
        ],
        when: &SINCE,
        worries: &[
            "your {what} keeps you awake",
            "you sleep badly because of your {what}",
        ],
        advice: [
            advice(
                "same hour",
                "go to bed at the same hour [every|each] night",
                "get up at the same hour [every|each] day",
            ),
            advice(
                "screens off",
                "turn all screens off [an hour before bed|in the evening]",
                "leave the screens off once you are in bed",
            ),
            advice(
                "coffee after",
                "drink no coffee after lunch",
                "stop having coffee after [noon|lunch]",
            ),
            advice(
                "dark and cool",
                "keep the bedroom dark and cool",
                "make your room dark and cool before you lie down",
            ),
            advice(
                "write your worries",
                "write your worries down before bed",
                "write your worries in a book and close it",
            ),
            advice(
                "slow breaths",
                "take ten slow breaths when you lie down",
                "count your slow breaths with your eyes closed",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "sore back",
        prompts: &[
            "My lower back has been sore {when}, and I blame my {what} for it.",
            "I think my {what} is bad for my back, which has been aching {when}.",
            "My back has hurt {when} because of my {what}, and {mood}.",
        ],
        what: &[
            "office chair",
            "kitchen chair",
            "new desk",
            "old sofa",
            "soft bed",
            "heavy bag",
            "garden work",
            "night shift",
        ],
        when: &SINCE,
        worries: &[
            "your {what} hurts your back",
            "your back hurts because of your {what}",
        ],
        advice: [
            advice(
                "gentle stretches",
                "do gentle stretches [every morning|twice a day]",
                "try a few gentle stretches on a mat",
            ),
            advice(
                "hot bottle",
                "hold a hot bottle against the sore spot",
                "lie down with a hot bottle for a while",
            ),
            advice(
                "stand up every",
                "stand up every twenty minutes",
                "set a timer and stand up every hour",
            ),
            advice(
                "lift with your legs",
                "bend your knees and lift with your legs",
                "always lift with your legs and hold things close",
            ),
            advice(
                "see a doctor",
                "see a doctor if the pain lasts",
                "see a doctor soon if your leg feels weak",
            ),
            advice(
                "short swim",
                "go for a short swim",
                "take a short swim once or twice a week",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "argument",
        prompts: &[
            "I had a bad argument with my {what} {when}, and now we do not talk.",
            "My {what} and I shouted at each other {when}, and I feel awful about it.",
            "I said something unkind to my {what} {when}, and {mood}.",
        ],
        what: &[
            "best friend",
            "old friend",
            "friend Anna",
            "friend Tom",
            "sister Lucy",
            "brother Sam",
            "cousin Ben",
            "flatmate",
        ],
        when: &PAST,
        worries: &[
            "you and your {what} do not talk",
            "things are bad between you and your {what}",
        ],
        advice: [
            advice(
                "honest apology",
                "offer an honest apology for your part",
                "start with an honest apology and no excuses",
            ),
            advice(
                "other side",
                "listen to the other side before you answer",
                "ask to hear the other side of the story",
            ),
            advice(
                "short note",
                "send a short note to say that you care",
                "write a short note by hand",
            ),
            advice(
                "quiet walk",
                "suggest a quiet walk together",
                "meet for a quiet walk and talk about it",
            ),
            advice(
                "cool down",
                "give it a day to cool down",
                "let both of you cool down before you talk",
            ),
            advice(
                "how you felt",
                "say how you felt without blame",
                "explain how you felt in plain words",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "fussy eater",
        prompts: &[
            "My {what} has refused to eat anything green {when}, and {mood}.",
            "Every meal with my {what} has ended in tears {when}.",
            "My {what} has eaten nothing but bread {when}, and I worry about it.",
        ],
        what: &[
            "little girl",
            "little boy",
            "youngest child",
            "daughter Ella",
            "daughter Mia",
            "son Max",
            "son Leo",
            "small nephew",
        ],
        when: &SINCE,
        worries: &[
            "your {what} eats so little",
            "meals with your {what} are a fight",
        ],
        advice: [
            advice(
                "small portions",
                "serve small portions",
                "put small portions on a blue plate",
            ),
            advice(
                "help you cook",
                "let the child help you cook",
                "ask the child to help you cook at the weekend",
            ),
            advice(
                "eat together",
                "eat together at one table",
                "eat together as a family each evening",
            ),
            advice(
                "new food",
                "offer one new food at a time",
                "show a new food many times without pressure",
            ),
            advice(
                "fewer snacks",
                "give fewer snacks between meals",
                "keep fewer snacks in the house",
            ),
            advice(
                "funny shapes",
                "cut the food into funny shapes",
                "make funny shapes on the plate",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "missed train",
        prompts: &[
            "I missed the train to my {what} {when}, and the next one leaves in an hour.",
            "I was on the way to my {what} {when}, and I missed the only fast train.",
            "My train left without me {when}, so I will be late for my {what}.",
        ],
        what: &[
            "job interview",
            "family dinner",
            "family wedding",
            "evening class",
            "dance class",
            "office meeting",
            "school meeting",
            "flight home",
        ],
        when: &[
            "just now",
            "today",
            "this morning",
            "an hour ago",
            "a minute ago",
            "for the second time",
            "because of the snow",
            "because of a late bus",
        ],
        worries: &[
            "you are late for your {what}",
            "you miss the train to your {what}",
        ],
        advice: [
            advice(
                "next connection",
                "look up the next connection on your phone",
                "ask at the desk for the next connection",
            ),
            advice(
                "call ahead",
                "call ahead and say that you are late",
                "call ahead so that nobody has to wait",
            ),
            advice(
                "coach station",
                "check the coach station for a bus",
                "walk to the coach station and look for a bus",
            ),
            advice(
                "share a taxi",
                "share a taxi with other people",
                "see who wants to share a taxi",
            ),
            advice(
                "keep your ticket",
                "keep your ticket and ask for the money back",
                "keep your ticket, since it may be good later",
            ),
            advice(
                "earlier alarm",
                "set an earlier alarm next time",
                "use an earlier alarm from now on",
            ),
        ],
        harm: None,
    },
];
