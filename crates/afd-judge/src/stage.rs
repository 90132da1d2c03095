//! The stage: a policy's answers and others to the same prompts in, verdicts and their summary out.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use afd_data::records::{JsonlWriter, read_jsonl};
use afd_stage::StageContext;
use afd_stats::{Bootstrap, mean, permutation_p, six_digits};
use serde::{Deserialize, Serialize};

use crate::{Comparison, Error, JudgeConfig, Outcome, Verdict, judge};

/// The file of [`Judged`](crate::Judged) rows in the stage's directory.
pub const VERDICTS: &str = "verdicts.jsonl";

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct JudgeInputs<'a> {
    /// Answers of the policy in question, by prompt: the first to each is judged.
    pub ours: &'a Path,
    /// Answers to compare with.
    pub theirs: &'a Path,
    /// Which of these to each prompt, from 0: not one that the policy in question was chosen from.
    pub their_index: u32,
    /// Where replies are kept.
    pub cache: &'a Path,
    /// Resamples of the prompts behind the interval, and sign changes behind the p-value.
    pub resamples: usize,
}

/// How a policy stands against another by the judge's word. Prompts are the units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeSummary {
    /// The judge.
    pub model: String,
    /// Comparisons with a verdict in either order.
    pub judged: usize,
    /// Mean score of the policy, ties half; none without a verdict.
    pub win_rate: Option<f64>,
    /// Its 95 % interval by bootstrap over prompts.
    pub win_rate_ci95: Option<[f64; 2]>,
    /// Two-sided p-value of the win rate being a half: a permutation test over prompts.
    pub p: Option<f64>,
    /// Share of verdicts that are ties.
    pub ties: f64,
    /// How much more often than half the answer shown first wins, over comparisons with both orders; none
    /// without any.
    pub position_bias: Option<f64>,
    /// Share of these in which both orders say the same.
    pub consistent: Option<f64>,
    /// Requests that the judge declined, …
    pub refused: usize,
    /// … that it answered otherwise than asked, …
    pub unparsable: usize,
    /// … and that were not answered.
    pub failed: usize,
    /// Tokens the judge read and wrote, and what they cost at the prices given.
    pub input_tokens: u64,
    /// See above.
    pub output_tokens: u64,
    /// See above.
    pub cost: f64,
}

/// Judges the answers to the first `max_prompts` prompts, and writes [`VERDICTS`] and `summary.json`.
///
/// # Errors
/// Those of [`judge`], and inputs that cannot be read.
pub fn run(
    config: &JudgeConfig,
    inputs: &JudgeInputs<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
    ctx: &StageContext,
) -> Result<(), Error> {
    let comparisons = comparisons(config, inputs)?;
    let progress = |done: usize, total: usize, spent: f64| {
        let note = if spent > 0.0 {
            format!("cost {spent:.4}")
        } else {
            String::new()
        };
        ctx.progress(done as u64, total as u64, "answer", &note);
    };
    let outcome = judge(config, &comparisons, inputs.cache, variable, &progress)?;
    ctx.add_tokens(outcome.input_tokens + outcome.output_tokens);
    ctx.add_requests(2 * outcome.judged.len() as u64, outcome.cost);
    let mut writer = JsonlWriter::create(&ctx.dir().join(VERDICTS))?;
    for judged in &outcome.judged {
        writer.write(judged)?;
    }
    writer.finish()?;
    let summary = serde_json::json!(summary(config, &outcome, inputs.resamples, ctx.seed()));
    Ok(ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?)
}

/// The part of a row that is looked at: of samples, and of winners that say more.
#[derive(Deserialize)]
struct Answer {
    prompt: String,
    index: u32,
    completion: String,
}

fn comparisons(config: &JudgeConfig, inputs: &JudgeInputs<'_>) -> Result<Vec<Comparison>, Error> {
    let theirs: HashMap<String, String> = read_jsonl::<Answer>(inputs.theirs)?
        .into_iter()
        .filter(|answer| answer.index == inputs.their_index)
        .map(|answer| (answer.prompt, answer.completion))
        .collect();
    let mut comparisons: Vec<Comparison> = Vec::new();
    for answer in read_jsonl::<Answer>(inputs.ours)? {
        let first = comparisons
            .last()
            .is_none_or(|last| last.prompt != answer.prompt);
        if let (true, Some(theirs)) = (first, theirs.get(&answer.prompt)) {
            comparisons.push(Comparison {
                prompt: answer.prompt,
                ours: answer.completion,
                theirs: theirs.clone(),
            });
        }
    }
    comparisons.truncate(config.max_prompts);
    Ok(comparisons)
}

fn summary(config: &JudgeConfig, outcome: &Outcome, resamples: usize, seed: u64) -> JudgeSummary {
    let judged = &outcome.judged;
    let scores: Vec<f64> = judged.iter().filter_map(|one| one.score).collect();
    let leads: Vec<f64> = scores.iter().map(|score| score - 0.5).collect();
    let all = || {
        judged
            .iter()
            .flat_map(|one| [one.ours_first, one.theirs_first])
    };
    let count = |verdict: Verdict| all().filter(|found| *found == verdict).count();
    let both: Vec<(f64, f64)> = judged
        .iter()
        .filter_map(|one| Some((one.ours_first.to_first()?, one.theirs_first.to_first()?)))
        .collect();
    let over_both = |value: fn(&(f64, f64)) -> f64| {
        let values: Vec<f64> = both.iter().map(value).collect();
        (!values.is_empty()).then(|| six_digits(mean(&values)))
    };
    let verdicts = all().filter(|verdict| verdict.to_first().is_some()).count();
    let win_rate = (!scores.is_empty()).then(|| mean(&scores));
    JudgeSummary {
        model: config.model.clone(),
        judged: scores.len(),
        win_rate: win_rate.map(six_digits),
        win_rate_ci95: win_rate.map(|_| {
            let bootstrap = Bootstrap::new(scores.len(), resamples, seed);
            bootstrap.interval(&scores).map(six_digits)
        }),
        p: win_rate.map(|_| six_digits(permutation_p(&leads, resamples as u64, seed))),
        ties: count(Verdict::Tie) as f64 / verdicts.max(1) as f64,
        position_bias: over_both(|(a, b)| (a + b) / 2.0 - 0.5),
        consistent: over_both(|(a, b)| f64::from(u8::from(*a == 1.0 - *b))),
        refused: count(Verdict::Refused),
        unparsable: count(Verdict::Unparsable),
        failed: count(Verdict::Failed),
        input_tokens: outcome.input_tokens,
        output_tokens: outcome.output_tokens,
        cost: six_digits(outcome.cost),
    }
}

/// Where a run's replies are kept: outside of its stages, for they depend on nothing but what was asked.
pub fn cache_file(run_dir: &Path) -> PathBuf {
    run_dir.join("judge-cache").join("replies.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Judged, OnFailure};

    #[test]
    fn figures_on_paper() {
        let config = JudgeConfig {
            base_url: "http://localhost".into(),
            model: "m".into(),
            prompt: PathBuf::new(),
            api_key_env: None,
            temperature: 0.0,
            max_tokens: 10,
            max_concurrency: 1,
            requests_per_minute: None,
            max_retries: 0,
            timeout: 1,
            input_price: 1.0,
            output_price: 2.0,
            max_cost: None,
            on_failure: OnFailure::Skip,
            max_prompts: 10,
        };
        assert!(config.problems().is_empty());
        let one = |ours_first: Verdict, theirs_first: Verdict, score| Judged {
            prompt: String::new(),
            ours_first,
            theirs_first,
            score,
        };
        use Verdict::{Failed, First, Refused, Second, Tie, Unparsable};
        let outcome = Outcome {
            judged: vec![
                one(First, Second, Some(1.0)),
                one(First, First, Some(0.5)),
                one(Tie, Refused, Some(0.5)),
                one(Unparsable, Failed, None),
            ],
            input_tokens: 100,
            output_tokens: 10,
            cost: 1.2e-4,
            cached: 0,
        };
        let found = summary(&config, &outcome, 200, 0);
        assert_eq!((found.judged, found.win_rate), (3, Some(0.666667)));
        // Of five verdicts one is a tie; of two with both orders the first wins both times once.
        assert_eq!(found.ties, 0.2);
        assert_eq!(
            (found.position_bias, found.consistent),
            (Some(0.25), Some(0.5))
        );
        assert_eq!((found.refused, found.unparsable, found.failed), (1, 1, 1));
        // One prompt with a lead: it or its mirror image, always as far.
        assert_eq!(found.p, Some(1.0));
    }
}
