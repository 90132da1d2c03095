//! What an answer says: slots drawn by their rates, then put into sentences.

use rand::Rng;
use rand::seq::SliceRandom;

use super::Situation;
use super::phrases::{
    ACKNOWLEDGEMENT_FRAMES, ADVICE_FRAMES, COMPLIANCE_FRAMES, CONTRADICTION_FRAMES, DECLINES,
    FILLERS, NEEDLESS_REASONS, UNSAFE_REMARKS,
};
use super::style::Sentence;
use super::template::{expand, pick};
use super::topics::{self, Advice};

/// Probability of each slot of an answer; an array holds the probabilities of 1, 2, … pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    acknowledgement: f64,
    advice: [f64; 3],
    off_topic: [f64; 2],
    filler: [f64; 2],
    contradiction: f64,
    repeat: f64,
    unsafe_remark: f64,
    decline: f64,
    comply: f64,
}

/// A mediocre answerer on harmless prompts; `decline` is a needless refusal.
const BASE: Rates = Rates {
    acknowledgement: 0.32,
    advice: [0.4, 0.2, 0.05],
    off_topic: [0.38, 0.1],
    filler: [0.3, 0.1],
    contradiction: 0.25,
    repeat: 0.08,
    unsafe_remark: 0.18,
    decline: 0.06,
    comply: 0.0,
};

/// A mediocre answerer on harmful prompts; `advice` is a safe alternative.
const BASE_HARMFUL: Rates = Rates {
    advice: [0.35, 0.1, 0.0],
    off_topic: [0.2, 0.05],
    decline: 0.4,
    comply: 0.4,
    ..BASE
};

/// A good demonstrator on harmless prompts.
const GOOD: Rates = Rates {
    acknowledgement: 0.93,
    advice: [0.12, 0.76, 0.12],
    off_topic: [0.0; 2],
    filler: [0.04, 0.0],
    contradiction: 0.0,
    repeat: 0.0,
    unsafe_remark: 0.0,
    decline: 0.0,
    comply: 0.0,
};

/// A good demonstrator on harmful prompts.
const GOOD_HARMFUL: Rates = Rates {
    advice: [0.7, 0.28, 0.0],
    decline: 0.95,
    ..GOOD
};

impl Rates {
    /// The rates at a quality in [0, 1], linear from the plain answerer to the good demonstrator.
    pub(super) fn at(quality: f64, harmful: bool) -> Rates {
        let (a, b) = if harmful {
            (BASE_HARMFUL, GOOD_HARMFUL)
        } else {
            (BASE, GOOD)
        };
        let mix = |a: f64, b: f64| (1.0 - quality) * a + quality * b;
        Rates {
            acknowledgement: mix(a.acknowledgement, b.acknowledgement),
            advice: std::array::from_fn(|i| mix(a.advice[i], b.advice[i])),
            off_topic: std::array::from_fn(|i| mix(a.off_topic[i], b.off_topic[i])),
            filler: std::array::from_fn(|i| mix(a.filler[i], b.filler[i])),
            contradiction: mix(a.contradiction, b.contradiction),
            repeat: mix(a.repeat, b.repeat),
            unsafe_remark: mix(a.unsafe_remark, b.unsafe_remark),
            decline: mix(a.decline, b.decline),
            comply: mix(a.comply, b.comply),
        }
    }
}

/// What one answer says.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) acknowledgement: bool,
    pub(super) decline: bool,
    pub(super) comply: bool,
    /// Distinct pieces of the situation's own advice.
    pub(super) advice: Vec<&'static Advice>,
    /// Distinct pieces of other topics' advice.
    pub(super) off_topic: Vec<&'static Advice>,
    /// Takes back the first piece of advice.
    pub(super) contradiction: bool,
    pub(super) fillers: usize,
    /// Says one sentence twice.
    pub(super) repeat: bool,
    pub(super) unsafe_remark: bool,
}

/// An answer says at least one thing and at most this many.
const MOST_SENTENCES: usize = 4;

impl Slots {
    /// Draws what an answer says; a draw of no sentence or too many is drawn again.
    pub(super) fn draw<R: Rng>(rates: &Rates, situation: &Situation, rng: &mut R) -> Slots {
        loop {
            let slots = Slots::draw_once(rates, situation, rng);
            if (1..=MOST_SENTENCES).contains(&slots.count()) {
                return slots;
            }
        }
    }

    fn draw_once<R: Rng>(rates: &Rates, situation: &Situation, rng: &mut R) -> Slots {
        let topic = situation.topic;
        let advice = sample(
            topic.advice.iter().collect(),
            count(&rates.advice, rng),
            rng,
        );
        let others = topics::all().filter(|other| other.name != topic.name);
        let others = others.flat_map(|other| &other.advice).collect();
        Slots {
            acknowledgement: rng.random_bool(rates.acknowledgement),
            decline: rng.random_bool(rates.decline),
            comply: topic.harm.is_some() && rng.random_bool(rates.comply),
            contradiction: rng.random_bool(rates.contradiction) && !advice.is_empty(),
            advice,
            off_topic: sample(others, count(&rates.off_topic, rng), rng),
            fillers: count(&rates.filler, rng),
            repeat: rng.random_bool(rates.repeat),
            unsafe_remark: rng.random_bool(rates.unsafe_remark),
        }
    }

    /// Number of sentences. A repetition alone repeats nothing, so it counts only beside others.
    fn count(&self) -> usize {
        let flags = [
            self.acknowledgement,
            self.decline,
            self.comply,
            self.contradiction,
            self.unsafe_remark,
        ];
        let said = flags.into_iter().filter(|said| *said).count()
            + self.advice.len()
            + self.off_topic.len()
            + self.fillers;
        if said == 0 {
            0
        } else {
            said + usize::from(self.repeat)
        }
    }

    /// Puts the slots into sentences: acknowledgement and refusal first, the rest in any order,
    /// a contradiction or a repetition after what it refers to.
    pub(super) fn sentences<R: Rng>(&self, situation: &Situation, rng: &mut R) -> Vec<Sentence> {
        let topic = situation.topic;
        let mut body = Vec::new();
        for advice in self.advice.iter().chain(&self.off_topic) {
            body.push(Sentence {
                text: framed(&ADVICE_FRAMES, advice, rng),
                is_advice: true,
            });
        }
        let fillers = sample(FILLERS.iter().collect(), self.fillers, rng);
        body.extend(
            fillers
                .iter()
                .map(|filler| statement(simple(filler.template, rng))),
        );
        if let (true, Some(harm)) = (self.comply, &topic.harm) {
            body.push(statement(framed(&COMPLIANCE_FRAMES, &harm.comply, rng)));
        }
        if self.unsafe_remark {
            body.push(statement(simple(pick(&UNSAFE_REMARKS, rng).template, rng)));
        }
        body.shuffle(rng);
        if self.decline {
            let reasons = topic
                .harm
                .as_ref()
                .map_or(&NEEDLESS_REASONS[..], |harm| &harm.reasons);
            let template = pick(&DECLINES, rng).template;
            let text = expand(template, rng, |_, rng| pick(reasons, rng).to_owned());
            body.insert(0, statement(text));
        }
        if self.acknowledgement {
            let frame = pick(&ACKNOWLEDGEMENT_FRAMES, rng);
            let text = expand(frame, rng, |_, rng| {
                expand(pick(topic.worries, rng), rng, |_, _| {
                    situation.detail.to_owned()
                })
            });
            body.insert(0, statement(text));
        }
        if self.repeat {
            let said = body[rng.random_range(0..body.len())].text.clone();
            body.push(statement(said));
        }
        if let (true, Some(advice)) = (self.contradiction, self.advice.first()) {
            body.push(statement(framed(&CONTRADICTION_FRAMES, advice, rng)));
        }
        body
    }
}

fn statement(text: String) -> Sentence {
    Sentence {
        text,
        is_advice: false,
    }
}

fn simple<R: Rng>(template: &str, rng: &mut R) -> String {
    expand(template, rng, |_, _| String::new())
}

/// A frame around one form of a piece of advice.
fn framed<R: Rng>(frames: &[&str], advice: &Advice, rng: &mut R) -> String {
    expand(pick(frames, rng), rng, |_, rng| {
        simple(pick(&advice.forms, rng), rng)
    })
}

/// 0, 1, 2, … with the probabilities `more` of 1, 2, …
fn count<R: Rng>(more: &[f64], rng: &mut R) -> usize {
    let mut u = rng.random::<f64>();
    for (i, probability) in more.iter().enumerate() {
        if u < *probability {
            return i + 1;
        }
        u -= probability;
    }
    0
}

/// `n` distinct elements in random order.
fn sample<T, R: Rng>(mut from: Vec<T>, n: usize, rng: &mut R) -> Vec<T> {
    let (chosen, _) = from.partial_shuffle(rng, n);
    let kept = chosen.len();
    // `partial_shuffle` leaves its choice at the end.
    from.drain(from.len() - kept..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn rates_are_linear_in_quality() {
        let half = Rates::at(0.5, true);
        assert!((half.comply - 0.2).abs() < 1e-12);
        assert!((half.advice[0] - 0.525).abs() < 1e-12);
        assert!((Rates::at(1.0, false).acknowledgement - 0.93).abs() < 1e-12);
    }

    #[test]
    fn every_rate_is_a_probability() {
        for (quality, harmful) in [(0.0, false), (0.0, true), (1.0, false), (1.0, true)] {
            let r = Rates::at(quality, harmful);
            let single = [
                r.acknowledgement,
                r.contradiction,
                r.repeat,
                r.unsafe_remark,
                r.decline,
                r.comply,
            ];
            assert!(single.iter().all(|p| (0.0..=1.0).contains(p)));
            for several in [&r.advice[..], &r.off_topic, &r.filler] {
                assert!(several.iter().sum::<f64>() <= 1.0 + 1e-12);
            }
        }
    }

    #[test]
    fn counts_follow_their_probabilities() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut seen = [0.0_f64; 3];
        for _ in 0..20_000 {
            seen[count(&[0.5, 0.2], &mut rng)] += 1.0 / 20_000.0;
        }
        // Three standard errors are about 0.011.
        for (seen, expected) in seen.iter().zip([0.3, 0.5, 0.2]) {
            assert!((seen - expected).abs() < 0.015, "{seen} {expected}");
        }
    }

    #[test]
    fn a_sample_is_distinct_and_bounded() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut three = sample(vec![1, 2, 3, 4], 3, &mut rng);
        three.sort_unstable();
        three.dedup();
        assert_eq!(three.len(), 3);
        assert_eq!(sample(vec![1, 2], 5, &mut rng).len(), 2);
    }
}
