//! The same configuration run with several seeds: what differs between policies, and how sure that is.
//!
//! A run's own tests speak of its checkpoints. Here each seed is one value, so what is found speaks of runs
//! with other seeds of the same configuration: other trainings, on another split of the data, and in the
//! synthetic world on other rows of it.

use afd_stats::{holm, mean, permutation_p, student_interval};

use crate::{
    numbers::{fixed, half},
    summary::Summary,
    table::columns,
};

/// The level below which a p-value counts.
const LEVEL: f64 = 0.05;

/// Sign changes that a test goes through: all of them for as many as 16 seeds.
const SIGN_CHANGES: u64 = 1 << 16;

/// The difference between two policies over seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedEffect {
    /// A policy, as the reports call it.
    pub policy: String,
    /// Another.
    pub versus: String,
    /// Golden mean of `policy` minus that of `versus`, of each seed in the order given.
    pub deltas: Vec<f64>,
    /// Student's 95 % interval of their mean; `None` of a single seed.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p-value of a permutation test over seeds, which supposes no distribution. Of S seeds it is
    /// never below 2^(1 − S).
    pub p: f64,
    /// The same after Holm's correction over all effects.
    pub p_holm: f64,
}

/// What all of `runs` compare: each trained policy and each ranker's choice at the headline N with SFT, and
/// the choices with each other. What one of them lacks is left out.
pub fn across_seeds(runs: &[Summary]) -> Vec<SeedEffect> {
    let of_each: Vec<Vec<(String, String, f64)>> = runs.iter().map(differences).collect();
    let first = of_each.first().map_or(&[][..], Vec::as_slice);
    let mut effects: Vec<SeedEffect> = first
        .iter()
        .filter_map(|(policy, versus, _)| {
            let of = |run: &Vec<(String, String, f64)>| {
                let found = run.iter().find(|(a, b, _)| (a, b) == (policy, versus));
                found.map(|(_, _, delta)| *delta)
            };
            let deltas: Vec<f64> = of_each.iter().map(of).collect::<Option<_>>()?;
            Some(SeedEffect {
                policy: policy.clone(),
                versus: versus.clone(),
                interval: student_interval(&deltas),
                p: permutation_p(&deltas, SIGN_CHANGES, 0),
                p_holm: 1.0,
                deltas,
            })
        })
        .collect();
    let p_values: Vec<f64> = effects.iter().map(|effect| effect.p).collect();
    for (effect, adjusted) in effects.iter_mut().zip(holm(&p_values)) {
        effect.p_holm = adjusted;
    }
    effects
}

fn differences(summary: &Summary) -> Vec<(String, String, f64)> {
    let best_of = |ranker: &str| format!("best of {} by {ranker}", summary.headline_n);
    let sft = || "sft".to_owned();
    let trained = summary.trained();
    let mut all: Vec<_> = trained
        .map(|row| (row.name().to_owned(), sft(), row.delta_vs_sft))
        .collect();
    for ranker in &summary.rankers {
        let row = summary.headline(&ranker.ranker);
        all.extend(row.map(|row| (best_of(&ranker.ranker), sft(), row.delta_vs_sft)));
    }
    let each_other = summary.comparisons.iter();
    all.extend(each_other.map(|one| (best_of(&one.ranker), best_of(&one.versus), one.delta)));
    all
}

/// [`across_seeds`] of runs with these seeds as text in columns, with a last line that says what may be
/// claimed of other seeds; empty if there is nothing that all of them compare.
pub fn across_seeds_table(runs: &[(u64, Summary)]) -> String {
    let (seeds, summaries): (Vec<u64>, Vec<Summary>) = runs.iter().cloned().unzip();
    let effects = across_seeds(&summaries);
    if effects.is_empty() {
        return String::new();
    }
    let signed = |value: f64| format!("{value:+.2}");
    let mut header = vec![
        "golden reward".to_owned(),
        "mean".to_owned(),
        "±".to_owned(),
        "p".to_owned(),
        "p after Holm".to_owned(),
    ];
    header.extend(seeds.iter().map(|seed| format!("seed {seed}")));
    let mut rows = vec![header];
    rows.extend(effects.iter().map(|effect| {
        let mark = if effect.p_holm <= LEVEL { "*" } else { " " };
        let mut row = vec![
            format!("{} - {}", effect.policy, effect.versus),
            signed(mean(&effect.deltas)),
            effect
                .interval
                .map_or_else(|| "-".to_owned(), |interval| fixed(half(interval), 2)),
            format!("{:.3}", effect.p),
            format!("{:.3}{mark}", effect.p_holm),
        ];
        row.extend(effect.deltas.iter().map(|delta| signed(*delta)));
        row
    }));
    format!(
        "differences over {} seeds of one configuration, ± half of Student's 95 % interval\n\n{}{}\n",
        seeds.len(),
        columns(&rows),
        claim(seeds.len(), effects.len())
    )
}

/// Whether so many seeds can show anything in a family of so many tests.
fn claim(seeds: usize, tests: usize) -> String {
    let least = |seeds: i32| (tests as f64 * 2f64.powi(1 - seeds)).min(1.0);
    let needed = (1..)
        .find(|&seeds| least(seeds) <= LEVEL)
        .unwrap_or(i32::MAX);
    match seeds as i32 {
        seeds if seeds >= needed => {
            "* holds of other seeds too, beyond chance (p after Holm's correction at most 0.05)"
                .to_owned()
        }
        seeds => format!(
            "no claim about other seeds: over {seeds} of them p after Holm's correction is never below {:.3}; \
             {tests} tests need {needed} seeds",
            least(seeds)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::{summary, with_trained};

    /// As many runs as there are shifts, each with its own added to what `rloo` gains.
    fn runs(shifts: &[f64]) -> Vec<(u64, Summary)> {
        let run = |(seed, shift): (usize, &f64)| {
            let mut summary = with_trained();
            for row in &mut summary.rows {
                if row.name() == "rloo" {
                    row.delta_vs_sft += shift;
                }
            }
            (seed as u64, summary)
        };
        shifts.iter().enumerate().map(run).collect()
    }

    #[test]
    fn an_effect_on_paper() {
        let summaries: Vec<Summary> = runs(&[0.0, 0.5, 1.0])
            .into_iter()
            .map(|run| run.1)
            .collect();
        let effects = across_seeds(&summaries);
        let rloo = &effects[0];
        assert_eq!(
            (rloo.policy.as_str(), rloo.versus.as_str()),
            ("rloo", "sft")
        );
        assert_eq!(rloo.deltas, [1.0, 1.5, 2.0]);
        // Mean 1.5, standard error 0.5/√3, t of two degrees 4.3027.
        let [low, high] = rloo.interval.unwrap();
        assert!((high - low - 2.0 * 4.302_65 * 0.5 / 3f64.sqrt()).abs() < 1e-3);
        // All three above zero: two of the eight sign changes are as far.
        assert_eq!(rloo.p, 0.25);
        assert_eq!(rloo.p_holm, 1.0);
        let pairs = effects.iter().filter(|effect| effect.versus != "sft");
        let versus: Vec<&str> = pairs.map(|effect| effect.versus.as_str()).collect();
        assert_eq!(versus, ["best of 8 by init-demo", "best of 8 by sft-demo"]);
    }

    #[test]
    fn what_one_run_lacks_is_left_out() {
        let effects = across_seeds(&[with_trained(), summary()]);
        assert!(effects.iter().all(|effect| effect.policy != "rloo"));
        assert!(
            effects
                .iter()
                .any(|effect| effect.policy == "best of 8 by init-sft")
        );
        assert_eq!(across_seeds(&[]), []);
    }

    #[test]
    fn significance_is_claimed_only_where_the_seeds_permit_it() {
        let table = across_seeds_table(&runs(&[0.0, 0.5, 1.0]));
        assert!(
            table.contains("no claim about other seeds: over 3 of them"),
            "{table}"
        );
        let line = table.lines().find(|line| line.starts_with("rloo - sft"));
        let words: Vec<&str> = line.unwrap().split_whitespace().skip(3).collect();
        assert_eq!(
            words,
            ["+1.50", "1.24", "0.250", "1.000", "+1.00", "+1.50", "+2.00"],
            "{table}"
        );
        // 2^(1 − S) for eleven effects is at most 0.05 from nine seeds on.
        let table = across_seeds_table(&runs(&[0.1; 9]));
        assert!(table.contains("* holds of other seeds too"), "{table}");
        assert!(table.contains("0.043*"), "{table}");
        assert_eq!(claim(6, 1), claim(40, 1));
        assert_ne!(claim(5, 1), claim(6, 1));
    }
}
