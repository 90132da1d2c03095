//! What is watched while a policy learns, and what is said when a limit is passed.
//!
//! Guards see the policy's own answers, its reward and a held-out one. The golden reward is none of them.

use serde::{Deserialize, Serialize};

use super::{account::Account, config::Guards};

/// What guards remember between batches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Mean length of the first batch's answers.
    first_length: Option<f64>,
    /// The best held-out reward so far, and its standard error.
    best_held_out: Option<(f64, f64)>,
    /// Batches in a row since in which it was clearly below.
    below: u64,
}

impl Watch {
    /// Looks at a batch of answers; `held_out` is the held-out reward's mean and its standard error.
    /// What is wrong, with figures, if something is.
    pub fn look(
        &mut self,
        guards: &Guards,
        account: &Account,
        held_out: Option<(f64, f64)>,
    ) -> Option<String> {
        let first = *self.first_length.get_or_insert(account.length);
        let mut found = Vec::new();
        if let Some(limit) = guards.max_kl
            && account.kl > limit
        {
            found.push(format!(
                "KL from the reference is {:.2} nats, above guards.max_kl = {limit}",
                account.kl
            ));
        }
        if let Some(limit) = guards.min_entropy
            && account.token_entropy < limit
        {
            found.push(format!(
                "entropy is {:.3} nats a token, below guards.min_entropy = {limit}",
                account.token_entropy
            ));
        }
        if let Some(limit) = guards.max_repetition
            && account.repetition > limit
        {
            found.push(format!(
                "{:.0} % of three-token sequences are repetitions, above guards.max_repetition = {limit}",
                100.0 * account.repetition
            ));
        }
        let ratio = (account.length / first).max(first / account.length);
        if let Some(limit) = guards.max_length_ratio
            && ratio > limit
        {
            found.push(format!(
                "answers have {:.0} tokens and had {first:.0}, beyond guards.max_length_ratio = {limit}",
                account.length
            ));
        }
        if let (Some(patience), Some(now)) = (guards.held_out_patience, held_out) {
            self.compare(now);
            if let Some((best, _)) = self.best_held_out
                && self.below >= patience.max(1)
            {
                found.push(format!(
                    "the held-out reward is {:.3} and was {best:.3}, for {} batches in a row; the reward itself is {:.3}",
                    now.0, self.below, account.score
                ));
            }
        }
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// Takes note of a held-out reward: a new best, or clearly below it, or neither.
    fn compare(&mut self, (now, error): (f64, f64)) {
        match self.best_held_out {
            Some((best, best_error)) if now < best => {
                let clearly = best - now > 2.0 * error.hypot(best_error);
                self.below = if clearly { self.below + 1 } else { 0 };
            }
            _ => (self.best_held_out, self.below) = (Some((now, error)), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            kl: 3.0,
            entropy: 40.0,
            token_entropy: 1.0,
            score: 2.0,
            length: 40.0,
            eos_rate: 1.0,
            repetition: 0.1,
            gap: 0.0,
        }
    }

    #[test]
    fn each_limit_is_told_with_its_figures_and_only_if_passed() {
        let guards = Guards {
            max_kl: Some(2.5),
            min_entropy: Some(1.2),
            max_repetition: Some(0.2),
            ..Guards::default()
        };
        let found = Watch::default().look(&guards, &account(), None);
        assert_eq!(
            found.as_deref(),
            Some(
                "KL from the reference is 3.00 nats, above guards.max_kl = 2.5; entropy is 1.000 nats a \
                 token, below guards.min_entropy = 1.2"
            )
        );
        assert_eq!(
            Watch::default().look(&Guards::default(), &account(), None),
            None
        );
    }

    #[test]
    fn length_is_held_against_the_first_batch_either_way() {
        let guards = Guards {
            max_length_ratio: Some(1.5),
            ..Guards::default()
        };
        let mut watch = Watch::default();
        let long = |length| Account {
            length,
            ..account()
        };
        assert_eq!(watch.look(&guards, &long(40.0), None), None);
        assert_eq!(watch.look(&guards, &long(59.0), None), None);
        assert!(watch.look(&guards, &long(61.0), None).is_some());
        assert!(watch.look(&guards, &long(26.0), None).is_some());
    }

    #[test]
    fn a_held_out_reward_has_to_fall_clearly_and_for_long() {
        let guards = Guards {
            held_out_patience: Some(2),
            ..Guards::default()
        };
        let mut watch = Watch::default();
        let mut at = |now| watch.look(&guards, &account(), Some((now, 0.1))).is_some();
        assert!(!at(1.0) && !at(2.0));
        // Two errors of 0.1 each make 0.28.
        assert!(!at(1.8) && !at(1.5));
        assert!(at(1.5));
        // Once it has recovered, it is counted anew.
        assert!(!at(1.9) && !at(1.5));
        assert!(at(1.5));
    }
}
