//! The runs of the study: a grid at the defaults, then one thing changed at a time.

use std::fmt;

use crate::study::known::Run;

/// Positions of the heterogeneity dial: how much of the demonstrator's style is its own.
const DIALS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Where variants are tried.
const VARIANT_DIALS: [f64; 2] = [0.5, 1.0];

const SEEDS: [u64; 5] = [0, 1, 2, 3, 4];

/// What the grid is run with.
pub(super) const DEFAULT: &str = "default";

/// One thing changed, and the keys that change it.
const VARIANTS: [(&str, &[&str]); 12] = [
    ("leaky: SFT's own prompts", &["pairs.prompts=sft"]),
    ("cross-fitted", &["pairs.prompts=cross_fitted"]),
    ("unmatched prompts", &["pairs.matched=false"]),
    ("no label smoothing", &["reward.label_smoothing=0.0"]),
    ("Bradley–Terry", &["reward.objective=bradley_terry"]),
    (
        "token discriminator",
        &["reward.objective=token_cross_entropy"],
    ),
    (
        "Brier",
        &["reward.objective=brier", "reward.label_smoothing=0.0"],
    ),
    (
        "hinge",
        &["reward.objective=hinge", "reward.label_smoothing=0.0"],
    ),
    (
        "KLIEP",
        &["reward.objective=kliep", "reward.label_smoothing=0.0"],
    ),
    (
        "LSIF",
        &["reward.objective=lsif", "reward.label_smoothing=0.0"],
    ),
    (
        "MLP on embeddings",
        &[
            "reward.architecture=embedding_mlp",
            "reward.hidden_sizes=[1024, 512]",
            "reward.learning_rate=1e-3",
            "reward.num_train_epochs=4",
        ],
    ),
    (
        "linear in features",
        &[
            "reward.architecture=linear",
            "reward.learning_rate=3e-2",
            "reward.num_train_epochs=8",
        ],
    ),
];

/// The one that trains three times as much, last.
const ENSEMBLE: (&str, &[&str]) = (
    "least of three members",
    &["reward.ensemble={ num_members = 3, aggregate = \"min\" }"],
);

/// What makes the quick cut quick.
const LITTLE: &[&str] = &[
    "world.rows=240",
    "data.max_rows={ test = 30 }",
    "sft.num_train_epochs=1",
    "reward.num_train_epochs=1",
];

/// A run: a position of the dial, a seed, and what is changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub(super) heterogeneity: f64,
    pub(super) seed: u64,
    pub(super) variant: &'static str,
    changes: Vec<&'static str>,
}

/// All runs, those first that a reader misses most: the whole dial, then the variants, seed by seed.
pub(super) fn all() -> Vec<Case> {
    let case = |heterogeneity, seed, (variant, changes): (&'static str, &[&'static str])| Case {
        heterogeneity,
        seed,
        variant,
        changes: changes.to_vec(),
    };
    let mut cases = Vec::new();
    for seed in SEEDS {
        cases.extend(DIALS.map(|dial| case(dial, seed, (DEFAULT, &[]))));
    }
    for seed in SEEDS {
        for variant in VARIANTS.into_iter().chain([ENSEMBLE]) {
            cases.extend(VARIANT_DIALS.map(|dial| case(dial, seed, variant)));
        }
    }
    cases
}

/// A cut that takes a minute: both ends of the dial, and a few variants at one.
pub(super) fn quick() -> Vec<Case> {
    let ends = [DIALS[0], DIALS[4]];
    let kept = |case: &Case| {
        let names = [
            "cross-fitted",
            "token discriminator",
            "MLP on embeddings",
            ENSEMBLE.0,
        ];
        let default = case.variant == DEFAULT && ends.contains(&case.heterogeneity);
        let variant = names.contains(&case.variant) && case.heterogeneity == ends[1];
        case.seed == SEEDS[0] && (default || variant)
    };
    let mut cases: Vec<Case> = all().into_iter().filter(kept).collect();
    for case in &mut cases {
        case.changes.extend(LITTLE);
    }
    cases
}

impl Run for Case {
    /// Variants share it with the default, and so its data and policies.
    fn folder(&self) -> String {
        format!("heterogeneity-{}/seed-{}", self.heterogeneity, self.seed)
    }

    fn assignments(&self) -> Vec<String> {
        let dial = format!("world.heterogeneity={:?}", self.heterogeneity);
        let seed = format!("seed={}", self.seed);
        let changes = self.changes.iter().map(|change| (*change).to_owned());
        [dial, seed].into_iter().chain(changes).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            heterogeneity,
            seed,
            variant,
            ..
        } = self;
        write!(f, "heterogeneity {heterogeneity}, seed {seed}, {variant}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_there_once_and_the_grid_comes_first() {
        let cases = all();
        assert_eq!(cases.len(), 5 * 5 + 13 * 2 * 5);
        for (place, case) in cases.iter().enumerate() {
            assert!(!cases[..place].contains(case), "{case}");
            assert_eq!(case.variant == DEFAULT, place < 25, "{case}");
        }
        assert_eq!(
            cases[26].assignments(),
            ["world.heterogeneity=1.0", "seed=0", "pairs.prompts=sft"]
        );
        assert_eq!(cases[26].folder(), cases[4].folder());
        assert_eq!(quick().len(), 6);
    }
}
