//! What the evaluation needs to know besides its inputs.

use serde::{Deserialize, Serialize};

/// The `[eval]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Numbers of samples that Best-of-N chooses from, ascending, e.g. `[1, 2, 4, 8, 16]`. Those
    /// above the number of stored samples per prompt are left out, and the report says so.
    pub n: Vec<usize>,
    /// Distances from SFT in nats, ascending, at which each reward is asked what it buys, e.g. `[0.1, 0.5, 1.0]`:
    /// SFT's stored answers are tilted towards it that far. Those out of reach are left out.
    pub kl: Vec<f64>,
    /// Resamples of the prompts behind each interval, and sign changes behind each p-value.
    pub bootstrap_resamples: usize,
    /// Games added to every pair of policies before their strengths are fitted, half won by either, so that one
    /// which never loses has one.
    pub bradley_terry_prior: f64,
    /// Answers to a prompt by each policy that are embedded by the initial policy, to tell how far apart they lie: 2
    /// or more, or 0 to leave that out.
    pub spread_answers: usize,
    /// Dialogues shown in the report.
    pub examples: usize,
    /// Prompts whose answers can be looked through in `report.html`, each with all candidates.
    pub browser_prompts: usize,
    /// Hide the texts in `report.html` until somebody asks for them: for data that are offensive.
    pub blur_answers: bool,
}

impl EvalConfig {
    /// All values out of range: the key, and what is wrong with it. Empty if all is well.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.n.is_empty() {
            problems.push((
                "n",
                "is empty; give at least one number, e.g. [1, 2, 4, 8]".to_owned(),
            ));
        }
        if self.n.first() == Some(&0) || !self.n.is_sorted_by(|a, b| a < b) {
            let message = format!("is {:?}; give numbers from 1 on in ascending order", self.n);
            problems.push(("n", message));
        }
        let distances = self.kl.iter().all(|nats| nats.is_finite() && *nats > 0.0);
        if !distances || !self.kl.is_sorted_by(|a, b| a < b) {
            let message = format!("is {:?}; give nats above 0 in ascending order", self.kl);
            problems.push(("kl", message));
        }
        if !(100..=1_000_000).contains(&self.bootstrap_resamples) {
            let message = format!("is {}; must be 100 to 1000000", self.bootstrap_resamples);
            problems.push(("bootstrap_resamples", message));
        }
        if !(self.bradley_terry_prior > 0.0 && self.bradley_terry_prior.is_finite()) {
            let message = format!("is {}; must be above 0", self.bradley_terry_prior);
            problems.push(("bradley_terry_prior", message));
        }
        if self.spread_answers == 1 {
            let message = "is 1; must be 2 or more, or 0 to embed nothing".to_owned();
            problems.push(("spread_answers", message));
        }
        if self.examples > 200 {
            problems.push((
                "examples",
                format!("is {}; must be 0 to 200", self.examples),
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> EvalConfig {
        EvalConfig {
            n: vec![1, 2, 4, 8],
            kl: vec![0.1, 0.5],
            bootstrap_resamples: 1000,
            bradley_terry_prior: 1.0,
            spread_answers: 2,
            examples: 3,
            browser_prompts: 10,
            blur_answers: false,
        }
    }

    fn keys(config: &EvalConfig) -> Vec<&'static str> {
        config.problems().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_good_config_has_no_problems() {
        assert_eq!(good().problems(), []);
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let bad = EvalConfig {
            n: vec![],
            bootstrap_resamples: 0,
            spread_answers: 1,
            examples: 1000,
            ..good()
        };
        assert_eq!(
            keys(&bad),
            ["n", "bootstrap_resamples", "spread_answers", "examples"]
        );
        for n in [vec![0, 1], vec![2, 2], vec![4, 2]] {
            assert_eq!(keys(&EvalConfig { n, ..good() }), ["n"]);
        }
        for kl in [vec![0.0], vec![0.5, 0.5], vec![0.5, f64::INFINITY]] {
            assert_eq!(keys(&EvalConfig { kl, ..good() }), ["kl"]);
        }
        assert_eq!(
            keys(&EvalConfig {
                kl: vec![],
                ..good()
            }),
            [""; 0]
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        let mut json = serde_json::to_value(good()).unwrap();
        assert_eq!(
            serde_json::from_value::<EvalConfig>(json.clone()).unwrap(),
            good()
        );
        json["resamples"] = 3.into();
        assert!(serde_json::from_value::<EvalConfig>(json).is_err());
    }
}
