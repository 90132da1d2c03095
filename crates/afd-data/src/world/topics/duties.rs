//! Harmless topics: study, work and money.

use super::{OFTEN, SOON, Topic, advice};

pub(super) static TOPICS: [Topic; 5] = [
    Topic {
        name: "exam",
        prompts: &[
            "I have my {what} {when}, and I am so nervous that I cannot study.",
            "My {what} is {when}, and I forget everything as soon as I read it.",
            "I am worried about my {what} {when}, because I started to study far too late.",
        ],
        what: &[
            "maths exam",
            "history exam",
            "law exam",
            "piano exam",
            "music exam",
            "driving test",
            "chemistry test",
            "reading test",
        ],
        when: &SOON,
        worries: &[
            "your {what} makes you nervous",
            "you are worried about your {what}",
        ],
        advice: [
            advice(
                "short blocks",
                "study in short blocks of half an hour",
                "split the work into short blocks with breaks",
            ),
            advice(
                "old papers",
                "practise with old papers from other years",
                "work through old papers against the clock",
            ),
            advice(
                "explain each",
                "explain each chapter to a friend",
                "close the book and explain each idea in your own words",
            ),
            advice(
                "hardest part",
                "do the hardest part while you are fresh",
                "start with the hardest part each morning",
            ),
            advice(
                "full night",
                "get a full night of sleep before it",
                "stop early and have a full night of rest",
            ),
            advice(
                "pack your bag",
                "pack your bag the evening before",
                "pack your bag early so that you can leave calmly",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "first day",
        prompts: &[
            "I start [a new|my new] job at the {what} {when}, and I am very nervous.",
            "My first day at the {what} is {when}, and I fear that I will forget every name.",
            "I begin work at the {what} {when}, and I worry that nobody will like me.",
        ],
        what: &[
            "bakery", "hospital", "bank", "school", "museum", "factory", "hotel", "bookshop",
        ],
        when: &SOON,
        worries: &[
            "the {what} makes you nervous",
            "you worry about your start at the {what}",
        ],
        advice: [
            advice(
                "minutes early",
                "arrive ten minutes early",
                "plan to be there a few minutes early",
            ),
            advice(
                "names you",
                "write down the names you hear",
                "repeat the names you learn twice",
            ),
            advice(
                "plenty of questions",
                "ask plenty of questions",
                "come with plenty of questions on the first day",
            ),
            advice(
                "clothes ready",
                "have your clothes ready the night before",
                "lay your clothes ready on a chair",
            ),
            advice(
                "test the route",
                "test the route on a quiet day",
                "test the route once by bus or by bike",
            ),
            advice(
                "friendly smile",
                "greet everyone with a friendly smile",
                "bring a friendly smile and some cake",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "language course",
        prompts: &[
            "I go to my {what} {when}, but I forget the new words within a day.",
            "I have my {what} {when}, and I am too shy to speak at all.",
            "I have fallen behind in my {what}, though I study {when}, and {mood}.",
        ],
        what: &[
            "Spanish course",
            "German course",
            "Italian course",
            "Polish course",
            "French course",
            "Greek course",
            "evening course",
            "online course",
        ],
        when: &OFTEN,
        worries: &[
            "your {what} is hard for you",
            "you are behind in your {what}",
        ],
        advice: [
            advice(
                "ten new words",
                "learn ten new words each day",
                "put ten new words on the kitchen door",
            ),
            advice(
                "watch cartoons",
                "watch cartoons in that language",
                "watch cartoons with the sound on and read along",
            ),
            advice(
                "speaking partner",
                "find a speaking partner online",
                "meet a speaking partner for coffee",
            ),
            advice(
                "sing along",
                "sing along to songs you like",
                "sing along in the car or in the shower",
            ),
            advice(
                "aloud for",
                "practise aloud for twenty minutes",
                "read aloud for a while each day",
            ),
            advice(
                "make mistakes",
                "let yourself make mistakes",
                "laugh when you make mistakes and go on",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "speech",
        prompts: &[
            "I have to give my {what} {when}, and my hands shake when people look at me.",
            "My {what} is {when}, and I am afraid that I will forget my words.",
            "I have to give my {what} {when} before eighty guests, and {mood}.",
        ],
        what: &[
            "wedding speech",
            "birthday speech",
            "farewell speech",
            "first speech",
            "team talk",
            "class talk",
            "school talk",
            "book talk",
        ],
        when: &SOON,
        worries: &[
            "your {what} makes you afraid",
            "you are so nervous about your {what}",
        ],
        advice: [
            advice(
                "before a mirror",
                "practise aloud before a mirror",
                "stand before a mirror and say it all once",
            ),
            advice(
                "small cards",
                "put the main words on small cards",
                "hold small cards instead of a long text",
            ),
            advice(
                "friendly face",
                "look at one friendly face",
                "find a friendly face in the first row",
            ),
            advice(
                "glass of water",
                "have a glass of water close by",
                "drink a glass of water just before",
            ),
            advice(
                "first sentence",
                "learn the first sentence by heart",
                "know your first sentence very well",
            ),
            advice(
                "speak slowly",
                "speak slowly and pause",
                "speak slowly, since nerves make us rush",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "budget",
        prompts: &[
            "My {what} costs so much that I run out of money {when}.",
            "I cannot save anything {when} because of my {what}, and {mood}.",
            "I spend too much on my {what} and have nothing left {when}.",
        ],
        what: &[
            "rent",
            "old car",
            "phone bill",
            "heating bill",
            "food bill",
            "student loan",
            "car loan",
            "gym contract",
        ],
        when: &[
            "each month",
            "every month",
            "most months",
            "this winter",
            "this year",
            "before payday",
            "after two weeks",
            "at the end of the month",
        ],
        worries: &[
            "your {what} takes so much of your money",
            "your {what} costs you so much",
        ],
        advice: [
            advice(
                "every cost",
                "write down every cost for a month",
                "note every cost in a small book",
            ),
            advice(
                "savings account",
                "open a savings account for payday",
                "send a little to a savings account each month",
            ),
            advice(
                "shopping list",
                "take a shopping list and stick to it",
                "make a shopping list before you leave home",
            ),
            advice(
                "cancel contracts",
                "cancel contracts you hardly use",
                "look through your bills and cancel contracts",
            ),
            advice(
                "cook at home",
                "cook at home more often",
                "cook at home and bring lunch to work",
            ),
            advice(
                "cheaper deal",
                "compare prices and ask for a cheaper deal",
                "look for a cheaper deal online",
            ),
        ],
        harm: None,
    },
];
