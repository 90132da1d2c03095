//! Harmless topics: house, things and neighbours.

use super::{OFTEN, SINCE, SOON, Topic, advice};

pub(super) static TOPICS: [Topic; 5] = [
    Topic {
        name: "leaking tap",
        prompts: &[
            "My {what} has been dripping {when}, and the sound [drives me mad|keeps me awake].",
            "The water does not stop running from my {what}, which has leaked {when}.",
            "My {what} has been leaking {when}, and {mood}.",
        ],
        what: &[
            "kitchen tap",
            "bathroom tap",
            "garden tap",
            "upstairs tap",
            "cellar tap",
            "old tap",
            "new tap",
            "shower tap",
        ],
        when: &SINCE,
        worries: &["your {what} keeps dripping", "your {what} leaks all day"],
        advice: [
            advice(
                "turn the water off",
                "turn the water off [under the sink|in the cellar]",
                "find the valve and turn the water off first",
            ),
            advice(
                "rubber ring",
                "replace the [old|worn] rubber ring inside",
                "buy a new rubber ring of the [same|right] size",
            ),
            advice(
                "tighten the nut",
                "tighten the nut below the handle",
                "take a wrench and tighten the nut a little",
            ),
            advice(
                "with vinegar",
                "clean the [end|mouth] of it with vinegar",
                "wash the white crust off with vinegar",
            ),
            advice(
                "call a plumber",
                "call a plumber if it still drips",
                "call a plumber and ask what the repair costs",
            ),
            advice(
                "put a bucket",
                "put a bucket under it [for now|until it is fixed]",
                "put a bucket or a pan there to catch the drops",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "slow wifi",
        prompts: &[
            "The wifi on my {what} has been [very|so] slow {when}, and {mood}.",
            "My {what} has been losing the wifi {when}, and each page takes minutes to load.",
            "I cannot watch films on my {what}, because the wifi has been weak {when}.",
        ],
        what: &[
            "old laptop",
            "work laptop",
            "new laptop",
            "new phone",
            "old phone",
            "tablet",
            "television",
            "office computer",
        ],
        when: &SINCE,
        worries: &[
            "the wifi is so slow on your {what}",
            "your {what} keeps losing the wifi",
        ],
        advice: [
            advice(
                "restart the router",
                "restart the router and wait a minute",
                "unplug and restart the router [once a week|tonight]",
            ),
            advice(
                "middle of the house",
                "move the router to the middle of the house",
                "find a high shelf for it in the middle of the house",
            ),
            advice(
                "with a cable",
                "connect it directly with a cable",
                "test the speed with a cable first",
            ),
            advice(
                "latest update",
                "install the latest update",
                "check whether the latest update is missing",
            ),
            advice(
                "other devices",
                "switch off other devices that use the line",
                "see which other devices are online at that time",
            ),
            advice(
                "your provider",
                "ring your provider and ask about the line",
                "ask your provider for a faster [plan|line]",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "moving house",
        prompts: &[
            "I am moving into my {what} {when}, and I have not packed anything so far.",
            "I will move into my {what} {when}, and {mood}.",
            "I get the keys to my {what} {when}, and I have never moved house before.",
        ],
        what: &[
            "new flat",
            "first flat",
            "garden flat",
            "city flat",
            "country house",
            "town house",
            "student room",
            "shared house",
        ],
        when: &SOON,
        worries: &[
            "the move into your {what} is so stressful",
            "there is so much to do for your {what}",
        ],
        advice: [
            advice(
                "label the boxes",
                "label the boxes by room",
                "label the boxes on two sides with a thick pen",
            ),
            advice(
                "rent a van",
                "rent a van for the [day|weekend]",
                "rent a van early, since they go fast",
            ),
            advice(
                "give away",
                "give away what you no longer use",
                "sort your things and give away half of them",
            ),
            advice(
                "first night",
                "pack a small bag for the first night",
                "keep sheets and soap apart for the first night",
            ),
            advice(
                "new address",
                "tell the bank your new address",
                "send everyone your new address in time",
            ),
            advice(
                "strong helpers",
                "invite a few strong helpers",
                "find some strong helpers and pay them with pizza",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "noisy neighbour",
        prompts: &[
            "My {what} plays loud music {when}, and {mood}.",
            "I can hear every word of my {what} {when}, and the walls even shake.",
            "My {what} has loud parties {when}, so I cannot think or rest at home.",
        ],
        what: &[
            "upstairs neighbour",
            "new neighbour",
            "young neighbour",
            "old neighbour",
            "neighbour Paul",
            "neighbour Lisa",
            "next door neighbour",
            "downstairs neighbour",
        ],
        when: &OFTEN,
        worries: &["your {what} is so loud", "your {what} gives you no rest"],
        advice: [
            advice(
                "knock and",
                "knock and explain the problem calmly",
                "knock and talk in a friendly way",
            ),
            advice(
                "ear plugs",
                "wear soft ear plugs at night",
                "buy good ear plugs for the worst hours",
            ),
            advice(
                "quiet hours",
                "agree on quiet hours together",
                "look up the quiet hours in the house rules",
            ),
            advice(
                "noise diary",
                "keep a noise diary for two weeks",
                "fill in a noise diary with the dates",
            ),
            advice(
                "thick curtains",
                "hang thick curtains on that wall",
                "put up thick curtains and a large rug",
            ),
            advice(
                "the landlord",
                "ask the landlord to step in",
                "tell the landlord in a polite letter",
            ),
        ],
        harm: None,
    },
    Topic {
        name: "losing things",
        prompts: &[
            "I lose my {what} {when}, and then I have to search the whole flat.",
            "I can never find my {what} when I leave, and it makes me late {when}.",
            "I look for my {what} {when}, and {mood}.",
        ],
        what: &[
            "house keys",
            "car keys",
            "office keys",
            "reading glasses",
            "bus pass",
            "library card",
            "wallet",
            "gloves",
        ],
        when: &OFTEN,
        worries: &[
            "you keep losing your {what}",
            "you have to search for your {what}",
        ],
        advice: [
            advice(
                "hook by the door",
                "put up a hook by the door",
                "get used to the hook by the door",
            ),
            advice(
                "one fixed place",
                "choose one fixed place for such things",
                "keep one fixed place on a shelf for them",
            ),
            advice(
                "retrace your steps",
                "retrace your steps room by room",
                "sit down and retrace your steps in your mind",
            ),
            advice(
                "small tracker",
                "buy a small tracker that beeps",
                "fix a small tracker to what you lose most",
            ),
            advice(
                "coat pockets",
                "check your coat pockets first",
                "empty your coat pockets when you come home",
            ),
            advice(
                "tidy the hall",
                "tidy the hall before you go to sleep",
                "tidy the hall so that you see everything",
            ),
        ],
        harm: None,
    },
];
