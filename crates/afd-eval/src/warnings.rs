//! What should make a reader of the figures suspicious.

use crate::{
    numbers::fixed,
    summary::{Policy, PolicyRow, RankerKind, RankerSummary, Summary},
};

/// Above it, a reward model tells its classes apart so well that style must give them away.
const SUSPICIOUS_AUC: f64 = 0.95;

/// The only reward whose classes are not told apart by origin.
pub(crate) const PREFERENCE: &str = "preference";

/// Sentences on all that looks wrong.
pub(crate) fn warnings(summary: &Summary) -> Vec<String> {
    let mut warnings = Vec::new();
    for ranker in &summary.rankers {
        let told = ranker
            .warnings
            .iter()
            .map(|told| format!("{}: {told}.", ranker.ranker));
        warnings.extend(told);
        if let Some(auc) = ranker.eval_auc.filter(|_| is_suspicious(ranker)) {
            warnings.push(format!(
                "{} tells its two classes apart with AUC {auc:.3}. An origin AUC this close to 1 \
                 is a red flag, not success: it may recognise the writer's style instead of \
                 quality.",
                ranker.ranker
            ));
        }
        let backwards = ranker.pearson_within_prompt_golden.filter(|&r| r < 0.0);
        if let (RankerKind::Reward, Some(r)) = (ranker.kind, backwards) {
            warnings.push(format!(
                "{} ranks backwards: its correlation with the golden reward within a prompt is {}.",
                ranker.ranker,
                fixed(r, 2)
            ));
        }
    }
    let policies = [
        (Policy::Init, "initial policy"),
        (Policy::Sft, "SFT policy"),
    ];
    for (policy, name) in policies {
        if let Some(row) = summary.policy(policy).filter(|row| row.cut_off > 0.1) {
            warnings.push(format!(
                "{:.0} % of the {name}'s answers were cut off by the token limit; raise \
                 max_completion_length.",
                100.0 * row.cut_off
            ));
        }
    }
    if let Some(kl) = summary.policy(Policy::Sft).and_then(|row| row.kl_nats)
        && kl < 0.0
    {
        warnings.push(format!(
            "The estimate of KL(sft ‖ init) is negative ({}): a divergence cannot be. The answers \
             were not drawn at temperature 1 and top-p 1, or there are too few.",
            fixed(kl, 2)
        ));
    }
    warnings.extend(summary.trained().flat_map(of_trained));
    warnings
}

/// What looks wrong with a trained policy.
fn of_trained(row: &PolicyRow) -> Vec<String> {
    let name = row.name();
    let mut warnings = Vec::new();
    if row.cut_off > 0.1 {
        warnings.push(format!(
            "{:.0} % of the answers of {name} were cut off by the token limit; raise \
             max_completion_length, or train it with a penalty on answers without end.",
            100.0 * row.cut_off
        ));
    }
    if row.kl_ci95.is_some_and(|[_, high]| high < 0.0) {
        warnings.push(format!(
            "The estimate of KL({name} ‖ sft) is negative beyond chance ({}): a divergence cannot \
             be. The log-ratio is not that of what the answers were drawn from.",
            fixed(row.kl_nats.unwrap_or_default(), 2)
        ));
    }
    let falls = row.delta_vs_sft_ci95[1] < 0.0;
    if let (true, Some(proxy), Some(own), Some(sft)) =
        (falls, &row.proxy, row.proxy_mean, row.proxy_mean_sft)
        && own > sft
    {
        warnings.push(format!(
            "{name} is over-optimised: {proxy}, which it was trained on, rises from {} to {}, while \
             the golden reward falls below that of SFT.",
            fixed(sft, 2),
            fixed(own, 2)
        ));
    }
    warnings
}

/// Whether the AUC is a red flag.
pub(crate) fn is_suspicious(ranker: &RankerSummary) -> bool {
    ranker.ranker != PREFERENCE && ranker.eval_auc.is_some_and(|auc| auc > SUSPICIOUS_AUC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_summary::{summary, with_trained};

    #[test]
    fn red_flags_are_raised_for_origin_rewards_only() {
        let mut summary = summary();
        assert_eq!(warnings(&summary).len(), 1, "sft-demo alone has AUC 0.99");
        summary.rankers[0].ranker = PREFERENCE.to_owned();
        summary.rankers[0].eval_auc = Some(0.99);
        assert_eq!(warnings(&summary).len(), 1);
        summary.rankers[1].pearson_within_prompt_golden = Some(-0.06);
        summary.rows[1].cut_off = 0.2;
        summary.rows[1].kl_nats = Some(-0.1);
        let told = warnings(&summary);
        assert_eq!(told.len(), 4);
        assert!(told[0].contains("init-demo ranks backwards") && told[0].contains("−0.06"));
    }
    #[test]
    fn a_trained_policy_is_seen_through() {
        let mut summary = with_trained();
        let told = warnings(&summary);
        assert_eq!(told.len(), 2, "the AUC of sft-demo, and grpo");
        assert!(
            told[1].contains(
                "grpo is over-optimised: init-sft, which it was trained on, rises from 0.25 to 2.50"
            ),
            "{}",
            told[1]
        );
        summary.rows[2].cut_off = 0.5;
        summary.rows[2].kl_ci95 = Some([-0.3, -0.1]);
        summary.rows[2].kl_nats = Some(-0.2);
        // By chance an estimate of a small divergence may well be below 0.
        summary.rows[3].kl_ci95 = Some([-0.1, 0.1]);
        let told = warnings(&summary);
        assert_eq!(told.len(), 4);
        assert!(
            told[1].contains("50 % of the answers of rloo"),
            "{}",
            told[1]
        );
        assert!(
            told[2].contains("KL(rloo ‖ sft) is negative beyond chance (−0.20)"),
            "{}",
            told[2]
        );
    }
}
