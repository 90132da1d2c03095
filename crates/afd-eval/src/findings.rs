//! What the figures say, in plain words.

mod trained;

use crate::{
    CLOSED_FORM,
    evaluate::MEAN_LOGPROB,
    numbers::{Numbers, list},
    summary::{Policy, PolicyRow, RankerKind, RankerSummary, Summary},
    warnings::{PREFERENCE, warnings},
};

/// Sentences about a summary.
pub(crate) struct Findings {
    /// What most readers want to know.
    pub(crate) headline: String,
    /// What else there is to see.
    pub(crate) notes: Vec<String>,
    /// What should make a reader suspicious.
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn findings(summary: &Summary) -> Findings {
    let numbers = Numbers::of(summary);
    let headline = [
        fine_tuning(summary, numbers),
        Some(selection(summary, numbers)),
        trained::verdict(summary, numbers),
    ];
    let notes = [
        ordering(summary, numbers),
        against_preference(summary, numbers),
        trivial(summary, numbers),
        Some(over_optimisation(summary, numbers)),
        trained::length(summary, numbers),
        left_out(summary),
    ];
    Findings {
        headline: headline.into_iter().flatten().collect::<Vec<_>>().join(" "),
        notes: notes.into_iter().flatten().collect(),
        warnings: warnings(summary),
    }
}

/// Did SFT beat the initial policy, and how far is the demonstrator?
fn fine_tuning(summary: &Summary, numbers: Numbers) -> Option<String> {
    let (init, sft) = (summary.policy(Policy::Init)?, summary.policy(Policy::Sft)?);
    let demonstrator = &summary.reference.demonstrator;
    // The row of `init` has init − SFT; here it is told the other way round.
    let gain = -init.delta_vs_sft;
    let [low, high] = init.delta_vs_sft_ci95.map(|bound| -bound);
    let (low, high) = (low.min(high), low.max(high));
    let change = if low > 0.0 {
        "raises"
    } else if high < 0.0 {
        "lowers"
    } else {
        "does not clearly change"
    };
    let disjoint =
        init.golden_ci95[1] < sft.golden_ci95[0] || sft.golden_ci95[1] < init.golden_ci95[0];
    let certainty = if disjoint {
        "the two intervals do not overlap"
    } else if low > 0.0 || high < 0.0 {
        "the two intervals overlap, but the paired difference excludes zero"
    } else {
        "the paired difference includes zero"
    };
    let mut text = format!(
        "Over {} prompts, supervised fine-tuning {change} the golden reward: from {} to {}; \
         {certainty}.",
        summary.prompts,
        numbers.with_half(init.golden_mean, init.golden_ci95),
        numbers.with_half(sft.golden_mean, sft.golden_ci95),
    );
    let way = demonstrator.golden_mean - init.golden_mean;
    let reached = numbers.with_half(demonstrator.golden_mean, demonstrator.golden_ci95);
    text += &if way > 0.0 && gain > 0.0 && gain < way {
        format!(
            " The demonstrator reaches {reached}, so SFT has covered {:.0} % of the way.",
            100.0 * gain / way
        )
    } else {
        format!(" The demonstrator reaches {reached}.")
    };
    Some(text)
}

/// Which rewards make Best-of-N better than SFT?
fn selection(summary: &Summary, numbers: Numbers) -> String {
    let named = rewards(summary).map(|(ranker, row)| (ranker.ranker.as_str(), row));
    let n = summary.headline_n;
    match verdicts(named, numbers) {
        Some(verdicts) => format!("Choosing the best of {n} answers {verdicts}."),
        None => "No reward model was given to choose answers with.".to_owned(),
    }
}

/// `is better than SFT with …; not clearly different from SFT with …; worse than SFT with …`, the best
/// first; `None` of nothing.
fn verdicts<'a>(
    rows: impl Iterator<Item = (&'a str, &'a PolicyRow)>,
    numbers: Numbers,
) -> Option<String> {
    let mut better = Vec::new();
    let mut unclear = Vec::new();
    let mut worse = Vec::new();
    for (name, row) in rows {
        let [low, high] = row.delta_vs_sft_ci95;
        if low > 0.0 {
            better.push((row.delta_vs_sft, name));
        } else if high < 0.0 {
            worse.push((row.delta_vs_sft, name));
        } else {
            unclear.push((row.delta_vs_sft, name));
        }
    }
    let told = |mut group: Vec<(f64, &str)>| {
        group.sort_by(|a, b| b.0.total_cmp(&a.0));
        let texts = group
            .iter()
            .map(|(delta, name)| format!("{name} ({})", numbers.signed(*delta)));
        list(&texts.collect::<Vec<_>>())
    };
    let mut parts = Vec::new();
    if !better.is_empty() {
        parts.push(format!("better than SFT with {}", told(better)));
    }
    if !unclear.is_empty() {
        parts.push(format!(
            "not clearly different from SFT with {}",
            told(unclear)
        ));
    }
    if !worse.is_empty() {
        parts.push(format!("worse than SFT with {}", told(worse)));
    }
    (!parts.is_empty()).then(|| format!("is {}", parts.join("; ")))
}

/// Is the paper's ordering of the three origin rewards seen?
fn ordering(summary: &Summary, numbers: Numbers) -> Option<String> {
    let step = |a: &str, b: &str| {
        summary
            .comparisons
            .iter()
            .find(|one| one.ranker == a && one.versus == b)
    };
    let first = step("init-sft", "init-demo")?;
    let second = step("init-demo", "sft-demo")?;
    let n = summary.headline_n;
    let claim = "The paper's ordering, init-sft > init-demo > sft-demo,";
    let steps = [first, second].map(|step| {
        let range = numbers.interval(step.delta_ci);
        format!(
            "{} − {} is {} {range}",
            step.ranker,
            step.versus,
            numbers.signed(step.delta)
        )
    });
    let steps = steps.join(", ");
    let verdict = if first.delta_ci[0] > 0.0 && second.delta_ci[0] > 0.0 {
        "is seen"
    } else if first.delta > 0.0 && second.delta > 0.0 {
        "is seen in the means, but not every step is beyond chance"
    } else if first.delta_ci[1] < 0.0 || second.delta_ci[1] < 0.0 {
        "is not seen, and at least one step is reversed beyond chance"
    } else {
        "is not seen, though no reversed step is beyond chance"
    };
    Some(format!("{claim} {verdict} at N = {n}: {steps}."))
}

fn against_preference(summary: &Summary, numbers: Numbers) -> Option<String> {
    let one = summary
        .comparisons
        .iter()
        .find(|one| one.ranker == "init-sft" && one.versus == PREFERENCE)?;
    let verdict = match one.delta_ci {
        [low, _] if low > 0.0 => "ahead of",
        [_, high] if high < 0.0 => "behind",
        _ => "on a par with",
    };
    Some(format!(
        "init-sft, which needs no preference labels, is {verdict} the preference reward at N = {}: \
         {} {}.",
        summary.headline_n,
        numbers.signed(one.delta),
        numbers.interval(one.delta_ci)
    ))
}

/// Would something simpler have done?
fn trivial(summary: &Summary, numbers: Numbers) -> Option<String> {
    let of_kind = |kind: RankerKind| {
        let rankers = summary
            .rankers
            .iter()
            .filter(move |ranker| ranker.kind == kind);
        rankers.filter_map(|ranker| summary.headline(&ranker.ranker))
    };
    let highest = |a: &&PolicyRow, b: &&PolicyRow| a.golden_mean.total_cmp(&b.golden_mean);
    let simple = of_kind(RankerKind::Trivial).max_by(highest)?;
    let learned = of_kind(RankerKind::Reward)
        .filter(|row| row.ranker.as_deref() != Some(CLOSED_FORM))
        .max_by(highest)?;
    let is_ahead = simple.golden_mean > learned.golden_mean;
    let place = if is_ahead { "above" } else { "below" };
    let mut text = format!(
        "The best baseline without training is {} with {} at N = {}, {place} the best trained \
         reward model, {}, with {}.",
        simple.ranker.as_deref().unwrap_or_default(),
        numbers.with_half(simple.golden_mean, simple.golden_ci95),
        summary.headline_n,
        learned.ranker.as_deref().unwrap_or_default(),
        numbers.with_half(learned.golden_mean, learned.golden_ci95),
    );
    if is_ahead && simple.ranker.as_deref() == Some(MEAN_LOGPROB) {
        text += " The answers that the fine-tuned policy itself finds likely seem to be its better \
                 ones, so drawing at a lower temperature may gain as much without any reward: a \
                 policy of method \"sampler\" at a temperature below 1 is the control to beat.";
    }
    Some(text)
}

/// Where does the golden reward fall while the ranker's own score still rises?
fn over_optimisation(summary: &Summary, numbers: Numbers) -> String {
    let largest = summary.all_n().last().copied().unwrap_or(1);
    let rewards = summary
        .rankers
        .iter()
        .filter(|ranker| ranker.kind == RankerKind::Reward);
    let told: Vec<String> = rewards
        .filter(|ranker| ranker.fall_from_peak_ci95[1] < 0.0)
        .map(|ranker| {
            format!(
                "{} (best at N = {}, then {} {})",
                ranker.ranker,
                ranker.peak_n,
                numbers.signed(ranker.fall_from_peak),
                numbers.interval(ranker.fall_from_peak_ci95)
            )
        })
        .collect();
    if told.is_empty() {
        return format!(
            "No over-optimisation beyond chance: up to N = {largest} no reward loses golden \
             reward while its own score rises."
        );
    }
    format!(
        "Over-optimisation: on the way to N = {largest} the golden reward falls while the \
         ranker's own score rises with {}.",
        list(&told)
    )
}

fn left_out(summary: &Summary) -> Option<String> {
    let each: Vec<String> = summary.n_left_out.iter().map(ToString::to_string).collect();
    (!each.is_empty()).then(|| {
        format!(
            "N = {} was left out: {} answers per prompt are stored.",
            list(&each),
            summary.samples_per_prompt
        )
    })
}

/// The rewards, each with its row at the headline's N.
fn rewards(summary: &Summary) -> impl Iterator<Item = (&RankerSummary, &PolicyRow)> {
    let rewards = summary
        .rankers
        .iter()
        .filter(|ranker| ranker.kind == RankerKind::Reward);
    rewards.filter_map(|ranker| Some((ranker, summary.headline(&ranker.ranker)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::summary;

    #[test]
    fn a_clear_result_is_told_as_clear() {
        let told = findings(&summary());
        assert!(
            told.headline.contains(
                "raises the golden reward: from −0.80 ± 0.05 to 0.50 ± 0.05; the two intervals do \
                 not overlap. The demonstrator reaches 2.00 ± 0.05, so SFT has covered 46 % of \
                 the way."
            ),
            "{}",
            told.headline
        );
        assert!(
            told.headline.contains(
                "best of 8 answers is better than SFT with closed-form (+0.90) and init-sft \
                 (+0.50); not clearly different from SFT with init-demo (+0.02); worse than SFT with \
                 sft-demo (−0.20)."
            ),
            "{}",
            told.headline
        );
        let notes = told.notes.join("\n");
        assert!(
            notes.contains(
                "sft-demo, is seen at N = 8: init-sft − init-demo is +0.48 [0.40, 0.56], \
                 init-demo − sft-demo is +0.22 [0.14, 0.30]."
            ),
            "{notes}"
        );
        assert!(
            notes.contains("with init-sft (best at N = 4, then −0.10 [−0.15, −0.05])."),
            "{notes}"
        );
        assert!(
            notes.contains("mean-logprob with 0.70 ± 0.05 at N = 8, below the best"),
            "{notes}"
        );
        assert!(
            notes.contains("N = 16 and 32 was left out: 8 answers"),
            "{notes}"
        );
    }

    #[test]
    fn likely_answers_ahead_of_all_rewards_call_for_the_control() {
        let mut summary = summary();
        let mut lead = |ranker: &str, golden_mean: f64| {
            for row in &mut summary.rows {
                if row.ranker.as_deref() == Some(ranker) {
                    row.golden_mean = golden_mean;
                }
            }
            findings(&summary).notes.join("\n")
        };
        let notes = lead("longest", 4.0);
        assert!(!notes.contains("lower temperature"), "{notes}");
        let notes = lead(MEAN_LOGPROB, 5.0);
        assert!(notes.contains("above the best trained"), "{notes}");
        assert!(
            notes.contains("drawing at a lower temperature may gain"),
            "{notes}"
        );
    }

    #[test]
    fn an_unclear_or_reversed_result_is_not_told_as_seen() {
        let verdict = |first: [f64; 2], second: [f64; 2]| {
            let mut summary = summary();
            for (one, ci) in summary.comparisons.iter_mut().zip([first, second]) {
                one.delta = (ci[0] + ci[1]) / 2.0;
                one.delta_ci = ci;
            }
            findings(&summary).notes[0].clone()
        };
        let text = verdict([0.1, 0.3], [-0.1, 0.3]);
        assert!(
            text.contains("is seen in the means, but not every step is beyond chance"),
            "{text}"
        );
        let text = verdict([-0.3, -0.1], [0.1, 0.3]);
        assert!(
            text.contains("is not seen, and at least one step is reversed"),
            "{text}"
        );
        let text = verdict([-0.3, 0.1], [0.1, 0.3]);
        assert!(
            text.contains("is not seen, though no reversed step is beyond chance"),
            "{text}"
        );
    }

    #[test]
    fn no_change_is_told_as_no_change() {
        let mut summary = summary();
        summary.rows[0].golden_mean = 0.48;
        summary.rows[0].golden_ci95 = [0.43, 0.53];
        summary.rows[0].delta_vs_sft = -0.02;
        summary.rows[0].delta_vs_sft_ci95 = [-0.07, 0.03];
        let headline = findings(&summary).headline;
        assert!(headline.contains("does not clearly change"), "{headline}");
        assert!(
            headline.contains("the paired difference includes zero"),
            "{headline}"
        );
    }
}
