//! The runs of the study: for each seed, each way to a policy at a few strengths.
//!
//! A way more is one entry of [`LINES`]: its results are run, tabled and drawn without further ado.

use std::fmt;

use crate::study::known::Run;

const SEEDS: [u64; 5] = [0, 1, 2, 3, 4];

/// How many strengths there are of each line.
const STRENGTHS: usize = 4;

/// The line that makes no policy: answers are chosen among those of the fine-tuned one.
pub(super) const SELECTION: &str = "selection";

/// What chooses in [`SELECTION`].
pub(super) const RANKERS: [&str; 7] = [
    INIT_SFT,
    "init-demo",
    PREFERENCE,
    CLIPPED,
    "mean-logprob",
    "longest",
    "golden",
];

pub(super) const INIT_SFT: &str = "init-sft";
const PREFERENCE: &str = "preference";
const CLIPPED: &str = "closed-form-clipped";
const DEMONSTRATIONS: &str = "demonstrations";

/// A way to a policy, and how far it is gone.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// With the reward it names the line.
    pub(super) name: &'static str,
    /// What it is paid by, or learns from. In [`SELECTION`] each of [`RANKERS`] has its turn.
    pub(super) reward: &'static str,
    /// What its strength is called.
    pub(super) strength: &'static str,
    /// From the least to the greatest departure from the fine-tuned policy.
    pub(super) strengths: [f64; STRENGTHS],
    /// The table of `[policies]`, with the words that [`Line::table`] puts something in for; empty
    /// where no policy is made.
    table: &'static str,
}

/// How what learns from single answers is trained, and how from prompts with their pairs.
const ANSWERS: &str =
    "num_train_epochs=1, max_steps=0, per_device_train_batch_size=32, learning_rate=1e-4";
const PROMPTS: &str =
    "num_train_epochs=1, max_steps=0, per_device_train_batch_size=8, learning_rate=1e-4";

const BETAS: [f64; STRENGTHS] = [1.0, 0.5, 0.25, 0.1];
/// Of what is done again on top of itself, by `FROM`.
const ROUNDS: [f64; STRENGTHS] = [1.0, 2.0, 3.0, 4.0];

const RAFT: &str =
    r#"{ method="offline", reward="REWARD", objective={ method="distil", n=STRENGTH }, ANSWERS }"#;
const BOND: &str = r#"{ method="rl", reward="REWARD", reward_transform={ name="best_of_n", n=STRENGTH }, beta=1.0 }"#;
const DPO: &str = r#"{ method="offline", reward="REWARD", objective={ method="dpo", beta=STRENGTH, label_smoothing=0.0, labels="sampled", pairs_per_prompt=4 }, PROMPTS }"#;
const SPIN: &str = r#"{ method="offline", FROM objective={ method="spin", beta=0.1, pairs_per_prompt=4 }, PROMPTS }"#;
const RLOO: &str = r#"{ method="rl", reward="REWARD", beta=STRENGTH }"#;
/// As published: the deviation divided by, answers' lengths too, and the KL term in the loss.
const GRPO: &str = r#"{ method="rl", reward="REWARD", advantage="group_std", loss_type="grpo", kl_placement="loss", kl_estimator="k3", beta=STRENGTH }"#;
const PPO: &str = r#"{ method="rl", reward="REWARD", advantage="gae", beta=STRENGTH, epsilon=0.2, num_iterations=2, value={ learning_rate=1e-3, gamma=1.0, lam=0.95, cliprange_value=0.2, warmup_batches=2 } }"#;
const DENSE_PATH: &str =
    r#"{ method="rl", reward="REWARD", advantage="reward_to_go", beta=STRENGTH }"#;
/// A round each, held to the policy that it goes on from: the game itself is against the demonstrations.
const REVERSE: &str = r#"{ method="adversarial", FROM rounds=1, replay=false, discriminator="fresh", reference="start", beta=0.5, max_steps=20 }"#;
const GAIL: &str = r#"{ method="adversarial", FROM rounds=1, replay=false, discriminator="fresh", reference="start", beta=0.5, max_steps=20, reward_transform={ name="gail" } }"#;
const FORWARD: &str = r#"{ method="adversarial", FROM rounds=1, replay=false, discriminator="fresh", reference="start", beta=0.5, max_steps=20, reward_transform={ name="ratio", max=10.0 } }"#;
const ANCHORED: &str = r#"{ method="adversarial", FROM rounds=1, replay=false, discriminator="fresh", reference="start", beta=0.5, max_steps=20, ptx_coef=0.1 }"#;
const LOGITS: &str = r#"{ method="sampler", temperature=1.0, strength=STRENGTH }"#;
const WEIGHTS: &str = r#"{ method="weights", strength=STRENGTH }"#;
const SHARPENED: &str = r#"{ method="sampler", temperature=STRENGTH, strength=0.0 }"#;
const LONGER: &str = r#"{ method="offline", objective={ method="sft" }, num_train_epochs=STRENGTH, max_steps=0, per_device_train_batch_size=16, learning_rate=1e-4 }"#;

/// All of them, in the order of runs, tables and figures.
pub(super) const LINES: &[Line] = &[
    line(SELECTION, "a ranker", "N", [2.0, 4.0, 8.0, 16.0], ""),
    line("raft", INIT_SFT, "N", [2.0, 3.0, 5.0, 8.0], RAFT),
    line("bond", INIT_SFT, "N", [2.0, 3.0, 5.0, 8.0], BOND),
    line("dpo", INIT_SFT, "beta", BETAS, DPO),
    line("rloo", INIT_SFT, "beta", BETAS, RLOO),
    line("grpo", INIT_SFT, "beta", [0.4, 0.2, 0.1, 0.04], GRPO),
    line("ppo", INIT_SFT, "beta", BETAS, PPO),
    line(
        "dense-path",
        CLIPPED,
        "beta",
        [4.0, 2.0, 1.0, 0.5],
        DENSE_PATH,
    ),
    line(
        "logits",
        "log-ratio",
        "strength",
        [0.1, 0.2, 0.3, 0.5],
        LOGITS,
    ),
    line(
        "weights",
        "log-ratio",
        "strength",
        [0.25, 0.5, 1.0, 1.5],
        WEIGHTS,
    ),
    line(
        "sharpened",
        "none",
        "temperature",
        [0.9, 0.8, 0.7, 0.5],
        SHARPENED,
    ),
    line(
        "sft-longer",
        DEMONSTRATIONS,
        "epochs",
        [1.0, 2.0, 4.0, 8.0],
        LONGER,
    ),
    line("spin", DEMONSTRATIONS, "round", ROUNDS, SPIN),
    line("adversarial", DEMONSTRATIONS, "round", ROUNDS, REVERSE),
    line("adversarial-gail", DEMONSTRATIONS, "round", ROUNDS, GAIL),
    line(
        "adversarial-ratio",
        DEMONSTRATIONS,
        "round",
        ROUNDS,
        FORWARD,
    ),
    line(
        "adversarial-anchored",
        DEMONSTRATIONS,
        "round",
        ROUNDS,
        ANCHORED,
    ),
    line("rloo", PREFERENCE, "beta", BETAS, RLOO),
    line("rloo", CLIPPED, "beta", BETAS, RLOO),
    line("dpo", PREFERENCE, "beta", BETAS, DPO),
    line("dpo", CLIPPED, "beta", BETAS, DPO),
];

const fn line(
    name: &'static str,
    reward: &'static str,
    strength: &'static str,
    strengths: [f64; STRENGTHS],
    table: &'static str,
) -> Line {
    Line {
        name,
        reward,
        strength,
        strengths,
        table,
    }
}

/// What the quick cut has one strength each of.
const QUICK: [&str; 5] = [SELECTION, "raft", "dpo", "rloo", "logits"];

/// The place of that strength: as many answers are drawn of each prompt as its N says.
const QUICK_PLACE: usize = 1;

/// What makes the quick cut quick.
const LITTLE: [&str; 6] = [
    "world.rows=240",
    "data.max_rows={ test = 20 }",
    "sft.num_train_epochs=1",
    "reward.num_train_epochs=1",
    "sample.stored_num_generations=4",
    "policy.max_steps=2",
];

/// A call of the pipeline: a seed, the lines it makes policies of, and the places of their strengths.
#[derive(Debug, PartialEq)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) lines: Vec<&'static Line>,
    pub(super) places: Vec<usize>,
    /// Whether little is done in each stage.
    little: bool,
}

/// All runs, seed by seed: each line alone, at all its strengths.
pub(super) fn all() -> Vec<Case> {
    let of_seed = |seed| {
        LINES.iter().map(move |line| Case {
            seed,
            lines: vec![line],
            places: (0..STRENGTHS).collect(),
            little: false,
        })
    };
    SEEDS.into_iter().flat_map(of_seed).collect()
}

/// A cut that takes a minute: one call that makes one policy of each of a few lines.
pub(super) fn quick() -> Vec<Case> {
    let kept = |line: &&Line| {
        let again = ["rloo", "dpo"].contains(&line.name) && line.reward != INIT_SFT;
        QUICK.contains(&line.name) && !again
    };
    vec![Case {
        seed: SEEDS[0],
        lines: LINES.iter().filter(kept).collect(),
        places: vec![QUICK_PLACE],
        little: true,
    }]
}

impl Line {
    /// The name in the run of the policy with the strength at a place.
    pub(super) fn policy(&self, place: usize) -> String {
        format!("{}-{}-{}", self.name, self.reward, place + 1)
    }

    /// Whether policies are made.
    pub(super) fn makes(&self) -> bool {
        !self.table.is_empty()
    }

    /// Whether the fine-tuned policy is drawn from otherwise, and no policy with weights of its own made.
    pub(super) fn only_samples(&self) -> bool {
        self.table.contains(r#"method="sampler""#)
    }

    /// How many models read each token that is drawn.
    pub(super) fn passes(&self) -> f64 {
        // For the log-ratio the initial policy reads along.
        let of_two = self.only_samples() && self.table.contains(" strength=STRENGTH");
        if of_two { 2.0 } else { 1.0 }
    }

    /// Whether each policy goes on from the one before, so that making it takes what that took too.
    pub(super) fn goes_on(&self) -> bool {
        self.table.contains("FROM")
    }

    /// The table of the policy with the strength at a place.
    fn table(&self, place: usize) -> String {
        let from = match place.checked_sub(1) {
            None => String::new(),
            Some(before) => format!(r#"from="{}", "#, self.policy(before)),
        };
        self.table
            .replace("REWARD", self.reward)
            .replace("STRENGTH", &self.strengths[place].to_string())
            .replace("FROM ", &from)
            .replace("ANSWERS", ANSWERS)
            .replace("PROMPTS", PROMPTS)
    }
}

impl Run for Case {
    /// Lines share it, and so data, reward models and the fine-tuned policy.
    fn folder(&self) -> String {
        format!("seed-{}", self.seed)
    }

    fn assignments(&self) -> Vec<String> {
        let mut all = vec![format!("seed={}", self.seed)];
        if self.little {
            all.extend(LITTLE.map(str::to_owned));
        }
        for line in self.lines.iter().filter(|line| line.makes()) {
            for &place in &self.places {
                let policy = format!("policies.{}", line.policy(place));
                all.push(format!("{policy}={}", line.table(place)));
                if self.little && line.table(place).contains("max_steps=0") {
                    all.push(format!("{policy}.max_steps=2"));
                }
            }
        }
        all
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        write!(f, "seed {}, {}", self.seed, names.join(", "))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_there_once_and_seeds_come_one_after_the_other() {
        let cases = all();
        assert_eq!(cases.len(), SEEDS.len() * LINES.len());
        for (place, case) in cases.iter().enumerate() {
            assert!(!cases[..place].contains(case), "{case}");
            assert_eq!(case.seed, (place / LINES.len()) as u64, "{case}");
            let same = |other: &&Case| other.to_string() == case.to_string();
            assert_eq!(cases.iter().filter(same).count(), 1, "{case}");
        }
        assert_eq!(quick().len(), 1);
        assert_eq!(quick()[0].lines.len(), QUICK.len());
    }

    #[test]
    fn a_case_makes_four_policies_by_tables_that_can_be_read() {
        let mut names = Vec::new();
        for case in all().iter().filter(|case| case.seed == 3) {
            let assignments = case.assignments();
            assert_eq!(assignments[0], "seed=3");
            let count = if case.lines[0].makes() { 4 } else { 0 };
            assert_eq!(assignments.len(), 1 + count, "{case}");
            for assignment in &assignments[1..] {
                let (key, value) = assignment.split_once('=').unwrap();
                let name = key.strip_prefix("policies.").unwrap();
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(name.chars().all(allowed), "{name}");
                let table: toml::Table = format!("policy = {value}").parse().unwrap();
                assert!(table["policy"]["method"].is_str(), "{assignment}");
                for word in ["REWARD", "STRENGTH", "ANSWERS", "PROMPTS", "FROM"] {
                    assert!(!value.contains(word), "{assignment}");
                }
                names.push(name.to_owned());
            }
        }
        assert_eq!(names.len(), 4 * (LINES.len() - 1));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4 * (LINES.len() - 1), "a name stands for two");
    }

    #[test]
    fn tables_say_what_is_to_be_made() {
        let of = |name: &str, place| {
            let line = LINES.iter().find(|line| line.name == name).unwrap();
            format!("{}={}", line.policy(place), line.table(place))
        };
        assert_eq!(
            of("rloo", 2),
            r#"rloo-init-sft-3={ method="rl", reward="init-sft", beta=0.25 }"#
        );
        assert_eq!(
            of("raft", 3),
            "raft-init-sft-4={ method=\"offline\", reward=\"init-sft\", \
             objective={ method=\"distil\", n=8 }, num_train_epochs=1, max_steps=0, \
             per_device_train_batch_size=32, learning_rate=1e-4 }"
        );
        assert_eq!(
            of("sharpened", 0),
            r#"sharpened-none-1={ method="sampler", temperature=0.9, strength=0.0 }"#
        );
    }

    #[test]
    fn a_round_goes_on_from_the_one_before() {
        let spin = LINES.iter().find(|line| line.name == "spin").unwrap();
        assert!(
            spin.goes_on()
                && spin
                    .table(0)
                    .starts_with(r#"{ method="offline", objective="#)
        );
        let second = r#"{ method="offline", from="spin-demonstrations-1", objective="#;
        assert!(spin.table(1).starts_with(second), "{}", spin.table(1));
    }

    #[test]
    fn only_the_extrapolation_of_logits_has_two_models_read() {
        let of_two = LINES.iter().filter(|line| line.passes() == 2.0);
        let names: Vec<&str> = of_two.map(|line| line.name).collect();
        assert_eq!(names, ["logits"]);
        let samplers = LINES.iter().filter(|line| line.only_samples());
        assert_eq!(samplers.count(), 2);
    }

    #[test]
    fn departures_grow() {
        for line in LINES {
            let [first, .., last] = line.strengths;
            let sign = (last - first).signum();
            let grows = |pair: &[f64]| (pair[1] - pair[0]).signum() == sign;
            assert!(line.strengths.windows(2).all(grows), "{line}");
        }
    }

    #[test]
    fn the_quick_cut_cuts_training_short_wherever_there_is_any() {
        let assignments = quick()[0].assignments();
        let short = |name: &str| assignments.contains(&format!("policies.{name}.max_steps=2"));
        assert!(short("raft-init-sft-2") && short("dpo-init-sft-2"));
        assert!(!short("logits-log-ratio-2") && !short("rloo-init-sft-2"));
        assert!(assignments.contains(&"policy.max_steps=2".to_owned()));
    }
}
