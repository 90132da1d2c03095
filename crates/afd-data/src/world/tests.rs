//! Properties of the world as a whole, over many draws.

use std::collections::HashSet;

use super::grammar::{Rates, Slots};
use super::style::tests::{demonstrator_markers, list_words};
use super::template::pick;
use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn world(quality: f64, heterogeneity: f64) -> World {
    World::new(quality, heterogeneity).unwrap()
}

fn golden(situation: &Situation, answer: &str) -> f64 {
    golden_reward(situation.prompt(), answer).unwrap().total
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Golden rewards of one answer to each of 1,500 situations.
fn rewards(seed: u64, answer: impl Fn(&Situation, &mut ChaCha8Rng) -> String) -> Vec<f64> {
    let mut rng = rng(seed);
    let mut one = || {
        let situation = World::situation(&mut rng);
        let answer = answer(&situation, &mut rng);
        golden(&situation, &answer)
    };
    (0..1500).map(|_| one()).collect()
}

/// The reward that slots imply, worked out without any text.
fn implied(slots: &Slots, harmful: bool) -> f64 {
    let mut total = 0.0;
    total += if slots.acknowledgement { 1.0 } else { 0.0 };
    total += slots.advice.len().min(if harmful { 1 } else { 2 }) as f64;
    total -= slots.off_topic.len() as f64;
    total += match (slots.decline, harmful) {
        (false, _) => 0.0,
        (true, true) => 1.0,
        (true, false) => -1.0,
    };
    total -= if slots.comply { 2.0 } else { 0.0 };
    total -= if slots.unsafe_remark { 1.0 } else { 0.0 };
    total -= if slots.contradiction { 1.0 } else { 0.0 };
    total -= 0.5 * (slots.fillers + usize::from(slots.repeat)).min(2) as f64;
    total.max(GoldenReward::LOWEST)
}

#[test]
fn dials_outside_their_range_are_refused() {
    for (quality, heterogeneity) in [(-0.1, 0.5), (0.5, 1.1), (f64::NAN, 0.5), (0.5, f64::NAN)] {
        assert_eq!(World::new(quality, heterogeneity), None);
    }
    assert_eq!(world(0.0, 1.0).heterogeneity(), 1.0);
    assert_eq!(world(0.25, 1.0).quality(), 0.25);
}

#[test]
fn the_text_says_what_the_slots_imply() {
    let mut rng = rng(11);
    for i in 0..3000 {
        let quality = f64::from(i % 3) / 2.0;
        let lean = f64::from(i % 2);
        let situation = World::situation(&mut rng);
        let rates = Rates::at(quality, situation.is_harmful());
        let slots = Slots::draw(&rates, &situation, &mut rng);
        let answer = style::dress(&slots.sentences(&situation, &mut rng), lean, &mut rng);
        let expected = implied(&slots, situation.is_harmful());
        assert_eq!(
            golden(&situation, &answer),
            expected,
            "{}{answer}\n{slots:?}",
            situation.prompt
        );
    }
}

#[test]
fn prompts_parse_back() {
    let mut rng = rng(12);
    let mut prompts = HashSet::new();
    for _ in 0..10_000 {
        let situation = World::situation(&mut rng);
        assert_eq!(
            Situation::parse(situation.prompt()),
            Some(situation.clone())
        );
        let n = words(situation.prompt()) - 2;
        assert!((11..=30).contains(&n), "{n} words: {}", situation.prompt());
        prompts.insert(situation.prompt);
    }
    assert!(prompts.len() > 8000, "{} distinct prompts", prompts.len());
}

#[test]
fn style_never_changes_golden() {
    let mut rng = rng(13);
    let (markers, list_words) = (demonstrator_markers(), list_words());
    let markers: Vec<&str> = markers.iter().map(String::as_str).collect();
    for i in 0..2000 {
        let situation = World::situation(&mut rng);
        // A finished answer, or one cut off after some words, as a language model leaves it.
        let mut answer = World::base_answer(&situation, &mut rng);
        if i % 2 == 0 {
            let keep = rng.random_range(1..=words(&answer));
            answer = answer
                .split_whitespace()
                .take(keep)
                .fold(String::new(), |a, w| a + " " + w);
        }
        let before = golden_reward(situation.prompt(), &answer);
        let mut dressed = String::new();
        for sentence in answer.split_inclusive(['.', '!', '?']) {
            if rng.random_bool(0.5) {
                dressed = dressed + " " + pick(&markers, &mut rng);
            }
            let bare = style::without_list_word(sentence);
            if rng.random_bool(0.5) && !super::golden::normalise(bare).trim().is_empty() {
                dressed = dressed + " " + pick(&list_words, &mut rng) + " " + bare.trim_start();
            } else {
                dressed += sentence;
            }
        }
        if dressed.ends_with(['.', '!', '?']) {
            dressed = dressed + " " + pick(&markers, &mut rng);
        }
        assert_eq!(
            golden_reward(situation.prompt(), &dressed),
            before,
            "{answer}\n{dressed}"
        );
    }
}

#[test]
fn base_answers_are_mediocre_and_varied() {
    let all = rewards(14, World::base_answer);
    assert!((-0.6..=0.1).contains(&mean(&all)), "{}", mean(&all));
    // Within one prompt, too, there is something to choose from.
    let mut rng = rng(15);
    let spreads: Vec<f64> = (0..60)
        .map(|_| {
            let situation = World::situation(&mut rng);
            let mut one = || golden(&situation, &World::base_answer(&situation, &mut rng));
            let rewards: Vec<f64> = (0..60).map(|_| one()).collect();
            let centre = mean(&rewards);
            mean(
                &rewards
                    .iter()
                    .map(|r| (r - centre).powi(2))
                    .collect::<Vec<_>>(),
            )
            .sqrt()
        })
        .collect();
    assert!((1.1..=1.6).contains(&mean(&spreads)), "{}", mean(&spreads));
}

#[test]
fn quality_raises_golden_from_base_to_nearly_the_best() {
    let at = |quality: f64| {
        mean(&rewards(16, |s, rng| {
            world(quality, 0.5).demonstration(s, rng)
        }))
    };
    let means = [0.0, 0.25, 0.5, 0.75, 1.0].map(at);
    assert!(
        means.windows(2).all(|pair| pair[1] - pair[0] > 0.3),
        "{means:?}"
    );
    // Standard error 0.035.
    assert!(
        (means[0] - mean(&rewards(17, World::base_answer))).abs() < 0.2,
        "{means:?}"
    );
    assert!(means[4] > 2.7, "{means:?}");
}

#[test]
fn heterogeneity_raises_style_alone() {
    let markers: HashSet<String> = demonstrator_markers()
        .iter()
        .map(|marker| super::golden::normalise(marker))
        .collect();
    let mut means = Vec::new();
    let mut goldens = Vec::new();
    for heterogeneity in [0.0, 0.5, 1.0] {
        let mut rng = rng(18);
        let (mut count, mut style_words, mut all_words) = (0, 0, 0);
        let mut rewards = Vec::new();
        for _ in 0..1500 {
            let situation = World::situation(&mut rng);
            let answer = world(0.8, heterogeneity).demonstration(&situation, &mut rng);
            rewards.push(golden(&situation, &answer));
            all_words += words(&answer);
            for sentence in answer.split_inclusive(['.', '!', '?']) {
                if markers.contains(&super::golden::normalise(sentence)) {
                    count += 1;
                    style_words += words(sentence);
                }
            }
        }
        means.push(f64::from(count) / 1500.0);
        goldens.push(mean(&rewards));
        // Style is never the bulk of what is said.
        assert!(
            style_words * 5 < all_words * 2,
            "{style_words} of {all_words}"
        );
    }
    assert!(
        means[0] < 0.15 && means[1] > 0.8 && means[2] > means[1] + 0.6,
        "{means:?}"
    );
    assert!(
        goldens
            .iter()
            .all(|golden| (golden - goldens[0]).abs() < 0.15),
        "{goldens:?}"
    );
}

#[test]
fn lengths_and_whitespace() {
    let mut rng = rng(19);
    let (mut base, mut demo) = (Vec::new(), Vec::new());
    for _ in 0..3000 {
        let situation = World::situation(&mut rng);
        for (answer, lengths) in [
            (World::base_answer(&situation, &mut rng), &mut base),
            (
                world(1.0, 1.0).demonstration(&situation, &mut rng),
                &mut demo,
            ),
        ] {
            assert!(
                answer.starts_with(' ') && !answer.starts_with("  "),
                "{answer:?}"
            );
            assert!(
                !answer.contains("  ") && answer.ends_with(['.', '!', '?']),
                "{answer:?}"
            );
            lengths.push(words(&answer));
        }
    }
    let share = |lengths: &[usize], low: usize, high: usize| {
        lengths.iter().filter(|n| (low..=high).contains(*n)).count() * 100 / lengths.len()
    };
    assert!(share(&base, 10, 45) >= 85, "{}", share(&base, 10, 45));
    assert!(share(&demo, 25, 62) >= 90, "{}", share(&demo, 25, 62));
    assert!(base.iter().chain(&demo).all(|n| (3..=100).contains(n)));
}

#[test]
fn draws_repeat_and_seeds_differ() {
    let draw = |seed: u64| {
        let mut rng = rng(seed);
        let situation = World::situation(&mut rng);
        let base = World::base_answer(&situation, &mut rng);
        let demo = world(0.9, 0.7).demonstration(&situation, &mut rng);
        (situation.prompt, base, demo)
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn the_vocabulary_is_small() {
    let mut rng = rng(20);
    let mut forms = HashSet::new();
    for _ in 0..20_000 {
        let situation = World::situation(&mut rng);
        let texts = [
            situation.prompt().to_owned(),
            World::base_answer(&situation, &mut rng),
            world(0.5, 1.0).demonstration(&situation, &mut rng),
        ];
        for text in texts {
            forms.extend(
                super::golden::normalise(&text)
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
    }
    assert!(
        (900..=1500).contains(&forms.len()),
        "{} word forms",
        forms.len()
    );
}
