//! Harmless topics: plants, animals, cooking and sport.

use super::{OFTEN, PAST, SINCE, SOON, Topic, advice};

pub(super) static TOPICS: [Topic; 5] = [
    Topic {
        name: "wilting plant",
        prompts: &[
            "My {what} has been dropping its leaves {when}, and {mood}.",
            "The leaves of my {what} have been yellow {when}, though I water it every day.",
            "My {what} has looked weak and dry {when}, and I fear that it will die.",
        ],
        what: &[
            "fern",
            "rose",
            "tomato plant",
            "lemon tree",
            "palm tree",
            "orchid",
            "fig tree",
            "balcony plant",
        ],
        when: &SINCE,
        worries: &["your {what} is wilting", "your {what} looks so weak"],
        advice: [
            advice(
                "feel the soil",
                "feel the soil before you water it",
                "feel the soil with a finger [each morning|every day]",
            ),
            advice(
                "brighter window",
                "move it to a brighter window",
                "find it a brighter window away from the heater",
            ),
            advice(
                "larger pot",
                "plant it in a larger pot with fresh earth",
                "buy a larger pot with a hole in the bottom",
            ),
            advice(
                "dead leaves",
                "cut off the dead leaves with clean scissors",
                "pick the dead leaves off by hand",
            ),
            advice(
                "plant food",
                "add a little plant food to the water",
                "give it plant food [once|twice] a month",
            ),
            advice(
                "look for insects",
                "look for insects under the leaves",
                "look for insects and wash them off with soap",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "dog and shoes",
        prompts: &[
            "My dog chews my {what} {when}, and {mood}.",
            "Our young dog chews my {what} {when} and does not listen when I say no.",
            "My dog loves to chew my {what} {when}, and I cannot buy new shoes again.",
        ],
        what: &[
            "brown boots",
            "winter boots",
            "leather boots",
            "running shoes",
            "garden shoes",
            "best shoes",
            "blue slippers",
            "new slippers",
        ],
        when: &OFTEN,
        worries: &[
            "the dog keeps chewing your {what}",
            "your {what} are full of holes",
        ],
        advice: [
            advice(
                "chew toy",
                "give the dog a chew toy",
                "offer a chew toy as soon as it starts",
            ),
            advice(
                "longer walk",
                "take the dog for a longer walk each day",
                "plan a longer walk so that the dog is tired",
            ),
            advice(
                "closed cupboard",
                "put all shoes in a closed cupboard",
                "get a closed cupboard for the hall",
            ),
            advice(
                "praise the dog",
                "praise the dog for leaving them alone",
                "praise the dog when it plays with its own things",
            ),
            advice(
                "bitter spray",
                "use a bitter spray from the pet shop",
                "put a little bitter spray on the things it likes",
            ),
            advice(
                "dog school",
                "go to a dog school together",
                "ask at a dog school for a lesson",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "cooking",
        prompts: &[
            "I want to make my {what} {when}, but it always tastes of nothing.",
            "My {what} came out [dull and watery|far too bland] when I last made it {when}.",
            "I am cooking my {what} {when} tonight, and it never turns out right.",
        ],
        what: &[
            "potato soup",
            "onion soup",
            "bean soup",
            "apple cake",
            "fish curry",
            "tomato sauce",
            "mushroom sauce",
            "chicken pie",
        ],
        when: &[
            "for my parents",
            "for six guests",
            "for my friends",
            "for a birthday",
            "for a party",
            "for my children",
            "for my boss",
            "for my sister",
        ],
        worries: &[
            "your {what} tastes of nothing",
            "your {what} turns out so dull",
        ],
        advice: [
            advice(
                "pinch of salt",
                "add a pinch of salt early on",
                "taste it and add a pinch of salt",
            ),
            advice(
                "squeeze of lemon",
                "finish with a squeeze of lemon",
                "stir in a squeeze of lemon at the end",
            ),
            advice(
                "low heat",
                "cook it longer on a low heat",
                "use a low heat and [wait|take your time]",
            ),
            advice(
                "fry the spices",
                "fry the spices before anything else",
                "fry the spices gently in [oil|butter]",
            ),
            advice(
                "follow a recipe",
                "follow a recipe line by line",
                "follow a recipe from a good book",
            ),
            advice(
                "fresh herbs",
                "put fresh herbs on top",
                "buy fresh herbs instead of dried ones",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "flat tyre",
        prompts: &[
            "My {what} got a flat tyre {when}, and I have never fixed one before.",
            "I rode over some glass with my {what} {when}, and now the tyre is flat.",
            "The back tyre of my {what} lost all its air {when}, and {mood}.",
        ],
        what: &[
            "mountain bike",
            "racing bike",
            "city bike",
            "old bike",
            "new bike",
            "red bicycle",
            "blue bicycle",
            "folding bicycle",
        ],
        when: &PAST,
        worries: &["your {what} has a flat tyre", "you cannot ride your {what}"],
        advice: [
            advice(
                "patch kit",
                "use a patch kit from a bike shop",
                "carry a patch kit under the seat",
            ),
            advice(
                "inner tube",
                "take out the inner tube and look for the hole",
                "put in a new inner tube",
            ),
            advice(
                "tyre levers",
                "lift the tyre off with tyre levers",
                "push two tyre levers under the edge",
            ),
            advice(
                "bowl of water",
                "use a bowl of water to find the hole",
                "hold it in a bowl of water and look for air",
            ),
            advice(
                "pump it up",
                "pump it up [firmly|well] at the end",
                "pump it up and see if it holds the air",
            ),
            advice(
                "piece of glass",
                "remove the piece of glass first",
                "check the tyre for a nail or a piece of glass",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "running",
        prompts: &[
            "I want to train for my {what} {when}, but I am out of breath so soon.",
            "My {what} is {when}, and after two minutes I have to stop and walk.",
            "I am training for my {what} {when}, but my legs feel heavy and tired.",
        ],
        what: &[
            "first race",
            "charity race",
            "city race",
            "team race",
            "spring race",
            "hill run",
            "park run",
            "forest run",
        ],
        when: &SOON,
        worries: &[
            "training for your {what} wears you out",
            "you are out of breath before your {what}",
        ],
        advice: [
            advice(
                "slow pace",
                "start at a slow pace",
                "keep a slow pace at which you can still talk",
            ),
            advice(
                "walking breaks",
                "take walking breaks in between",
                "plan walking breaks every few minutes",
            ),
            advice(
                "proper shoes",
                "buy proper shoes in a sports shop",
                "get proper shoes that fit your feet",
            ),
            advice(
                "rest days",
                "plan rest days between the runs",
                "use your rest days to let your legs recover",
            ),
            advice(
                "warm up",
                "warm up for five minutes",
                "warm up with a few easy jumps",
            ),
            advice(
                "running partner",
                "find a running partner",
                "join a club or look for a running partner",
            ),
        ],
        harm: None,
    },
];
