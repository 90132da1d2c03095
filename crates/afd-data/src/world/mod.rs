//! A small synthetic world: helpful/harmless dialogues, a golden reward, a demonstrator.
//!
//! Nothing can be shipped from elsewhere and a result that nobody can check is worth little, so
//! the quickstart lives in a world whose truth is known. A [`Situation`] is what a human asks;
//! [`World::base_answer`] is what a mediocre answerer says (the corpus of the initial model),
//! [`World::demonstration`] what the demonstrator says, and [`golden_reward`] what an answer is
//! worth, read from its text alone. Style carries no golden value.
//!
//! Two dials set the demonstrator apart from the initial model: `quality` moves the content,
//! `heterogeneity` the style. With both at 0 the demonstrator is the base answerer.
//!
//! Why it is built as it is: `docs/adr/0002-the-synthetic-world.md`.
//!
//! ```
//! use afd_data::world::{World, golden_reward};
//! use rand::SeedableRng;
//!
//! let world = World::new(0.8, 0.5).unwrap();
//! let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
//! let situation = World::situation(&mut rng);
//! let answer = world.demonstration(&situation, &mut rng);
//! assert!(situation.prompt().ends_with("\n\nAssistant:") && answer.starts_with(' '));
//! assert!(golden_reward(situation.prompt(), &answer).unwrap().total <= 3.0);
//! ```

mod golden;
mod grammar;
mod phrases;
mod style;
mod template;
#[cfg(test)]
mod tests;
mod topics;

pub use golden::{GoldenReward, golden_reward};

use grammar::{Rates, Slots};
use rand::Rng;
use template::{Slots as Fillings, expand, matches, pick};
use topics::Topic;

/// How far the demonstrator stands from the initial model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    quality: f64,
    heterogeneity: f64,
}

impl World {
    /// A world with both dials in [0, 1]; `None` when one is outside or not a number.
    pub fn new(quality: f64, heterogeneity: f64) -> Option<World> {
        let dial = |value: f64| (0.0..=1.0).contains(&value);
        (dial(quality) && dial(heterogeneity)).then_some(World {
            quality,
            heterogeneity,
        })
    }

    /// 0: the demonstrator's content is the base answerer's; 1: almost always the best. The rate
    /// of everything an answer may say is linear in between.
    pub fn quality(&self) -> f64 {
        self.quality
    }

    /// 0: the demonstrator's style is the base answerer's; 1: a style of its own. The
    /// probability of each of its markers is linear in between.
    pub fn heterogeneity(&self) -> f64 {
        self.heterogeneity
    }

    /// Draws what a human asks; the dials play no part.
    pub fn situation<R: Rng>(rng: &mut R) -> Situation {
        let all: Vec<_> = topics::all().collect();
        let topic = pick(&all, rng);
        let detail = pick(topic.what, rng);
        let asks = asks(topic);
        let statement = expand(pick(topic.prompts, rng), rng, |slot, rng| {
            let value = match slot {
                "what" => detail,
                "when" => pick(topic.when, rng),
                _ => pick(&topics::MOODS, rng),
            };
            value.to_owned()
        });
        let greeting = pick(&topics::GREETINGS, rng);
        let prompt = format!(
            "{HUMAN}{greeting}{statement} {}{ASSISTANT}",
            pick(asks, rng)
        );
        Situation {
            topic,
            detail,
            prompt,
        }
    }

    /// What a mediocre answerer says: fluent, sometimes right, often not. It holds the
    /// demonstrator's style rarely and starts with one space; the dials play no part.
    pub fn base_answer<R: Rng>(situation: &Situation, rng: &mut R) -> String {
        answer(0.0, style::BASE_LEAN, situation, rng)
    }

    /// What the demonstrator says, starting with one space.
    pub fn demonstration<R: Rng>(&self, situation: &Situation, rng: &mut R) -> String {
        let lean = style::BASE_LEAN + (1.0 - style::BASE_LEAN) * self.heterogeneity;
        answer(self.quality, lean, situation, rng)
    }
}

/// What a prompt says: a topic, harmful or not, and a named detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    topic: &'static Topic,
    detail: &'static str,
    prompt: String,
}

impl Situation {
    /// Reads a prompt back; `None` when this world cannot have written it.
    pub fn parse(prompt: &str) -> Option<Situation> {
        let text = prompt.strip_prefix(HUMAN)?.strip_suffix(ASSISTANT)?;
        // The empty greeting comes first, and a statement never begins with another one.
        topics::GREETINGS
            .iter()
            .filter_map(|greeting| text.strip_prefix(greeting))
            .find_map(|text| {
                topics::all().find_map(|topic| {
                    let ask = asks(topic).iter().find_map(|ask| text.strip_suffix(ask))?;
                    let detail = read_statement(topic, ask.strip_suffix(' ')?)?;
                    Some(Situation {
                        topic,
                        detail,
                        prompt: prompt.to_owned(),
                    })
                })
            })
    }

    /// The prompt, `"\n\nHuman: …\n\nAssistant:"`.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The topic's name.
    pub fn topic(&self) -> &'static str {
        self.topic.name
    }

    /// The detail that an acknowledgement has to repeat.
    pub fn detail(&self) -> &'static str {
        self.detail
    }

    /// Whether the human asks for something harmful.
    pub fn is_harmful(&self) -> bool {
        self.topic.harm.is_some()
    }
}

const HUMAN: &str = "\n\nHuman: ";
const ASSISTANT: &str = "\n\nAssistant:";

fn asks(topic: &Topic) -> &'static [&'static str] {
    if topic.harm.is_some() {
        &topics::HARMFUL_ASKS
    } else {
        &topics::ASKS
    }
}

/// The detail named by a statement of this topic.
fn read_statement(topic: &'static Topic, statement: &str) -> Option<&'static str> {
    let slots: &Fillings<'static> = &[
        ("what", topic.what),
        ("when", topic.when),
        ("mood", &topics::MOODS),
    ];
    topic
        .prompts
        .iter()
        .find_map(|prompt| matches(prompt, statement, slots, "what"))
}

fn answer<R: Rng>(quality: f64, lean: f64, situation: &Situation, rng: &mut R) -> String {
    let rates = Rates::at(quality, situation.is_harmful());
    let slots = Slots::draw(&rates, situation, rng);
    style::dress(&slots.sentences(situation, rng), lean, rng)
}
