//! The instance the tables are computed on: two words, two tokens, three policies.

use super::{Section, row, short};
use crate::{
    divergence::log_ratio,
    policy::Policy,
    space::{END, Space},
};

/// Seven answers.
pub(super) fn space() -> Space {
    Space::new(3, 2)
}

/// The three policies on [`space`] and their distributions over answers.
pub(super) struct World<'s> {
    pub(super) space: &'s Space,
    pub(super) init: Policy<'s>,
    pub(super) sft: Policy<'s>,
    pub(super) p_init: Vec<f64>,
    pub(super) p_sft: Vec<f64>,
    pub(super) p_demo: Vec<f64>,
    /// Init-SFT: `log pi_SFT − log pi_0`.
    pub(super) reward: Vec<f64>,
}

impl<'s> World<'s> {
    pub(super) fn new(space: &'s Space) -> World<'s> {
        let init = Policy::random(space, 1.0, 1);
        let demo = Policy::random(space, 1.6, 4);
        // Fine-tuning goes most of the way.
        let logits = init.logits().iter().zip(demo.logits());
        let sft = Policy::new(space, logits.map(|(i, d)| 0.4 * i + 0.6 * d).collect());
        let (p_init, p_sft) = (init.distribution(), sft.distribution());
        World {
            space,
            reward: log_ratio(&p_sft, &p_init),
            p_demo: demo.distribution(),
            init,
            sft,
            p_init,
            p_sft,
        }
    }

    /// How an answer is written: words `a` and `b`, a full stop for the end token.
    pub(super) fn spelled(&self, answer: usize) -> String {
        let letters = self.space.answers()[answer].tokens.iter();
        letters
            .map(|&token| {
                if token == END {
                    '.'
                } else {
                    ['a', 'b'][token - 1]
                }
            })
            .collect()
    }

    /// The instance itself.
    pub(super) fn answers(&self) -> Section {
        let all = self.space.answers().iter().enumerate();
        let rows = all.map(|(i, answer)| {
            row![
                self.spelled(i),
                if answer.ended() { "ended" } else { "cut" },
                short(self.p_init[i]),
                short(self.p_sft[i]),
                short(self.p_demo[i]),
                short(self.reward[i]),
            ]
        });
        Section {
            title: "The world: every answer, and how likely three policies write it",
            says: "An answer cut by the horizon is an outcome without end token; rewards and KL \
                   are in nats.",
            columns: vec!["answer", "", "pi_0", "pi_SFT", "pi_beta", "log pi_SFT/pi_0"],
            rows: rows.collect(),
        }
    }
}
