//! What the figures of trained policies say, in plain words.

use super::verdicts;
use crate::{
    numbers::{Numbers, list},
    summary::{PolicyRow, Summary},
};

/// Which policies are better than the one they were made from?
pub(super) fn verdict(summary: &Summary, numbers: Numbers) -> Option<String> {
    let verdicts = verdicts(named(summary), numbers)?;
    Some(format!("Changing the policy itself {verdicts}."))
}

/// Whose gain is a gain in length?
pub(super) fn length(summary: &Summary, numbers: Numbers) -> Option<String> {
    let told = named(summary).filter_map(|(name, row)| {
        let (gain, interval) = (
            row.length_controlled_gain?,
            row.length_controlled_gain_ci95?,
        );
        (row.delta_vs_sft_ci95[0] > 0.0 && interval[0] <= 0.0).then(|| {
            format!(
                "{name} ({} {} instead of {})",
                numbers.signed(gain),
                numbers.interval(interval),
                numbers.signed(row.delta_vs_sft)
            )
        })
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        format!(
            "At the length of SFT's answers the gain is no longer beyond chance with {}.",
            list(&told)
        )
    })
}

/// The trained policies by name.
fn named(summary: &Summary) -> impl Iterator<Item = (&str, &PolicyRow)> {
    summary.trained().map(|row| (row.name(), row))
}

#[cfg(test)]
mod tests {
    use crate::{findings::findings, sample_summary::with_trained};

    #[test]
    fn trained_policies_are_judged_and_lengths_seen_through() {
        let told = findings(&with_trained());
        assert!(
            told.headline.ends_with(
                "Changing the policy itself is better than SFT with rloo (+1.00) and dpo (+0.50); \
                 worse than SFT with grpo (−0.30)."
            ),
            "{}",
            told.headline
        );
        let notes = told.notes.join("\n");
        assert!(
            notes.contains(
                "no longer beyond chance with dpo (+0.00 [−0.05, 0.05] instead of +0.50)."
            ),
            "{notes}"
        );
    }
}
