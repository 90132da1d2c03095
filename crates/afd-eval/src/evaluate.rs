//! From golden rewards and rankers' scores to the figures of the summary.

use afd_data::records::Sample;
use afd_model::{best_of_n_kl_bound, best_of_n_weights};
use afd_stats::{
    Bootstrap, is_constant, mean, pearson_within, sd_within, six_digits, spearman_within, weighted,
    win_rates,
};

use crate::{
    CLOSED_FORM, EvalConfig,
    golden::GoldenRow,
    inputs::{Data, Dialogue, Ranker},
    summary::{
        Comparison, Demonstrator, FORMAT, KlKind, Policy, PolicyRow, RankerKind, RankerSummary,
        Reference, Summary,
    },
};

/// The N that headlines speak of, if it was evaluated.
const HEADLINE_N: usize = 8;

/// The claims that are looked at, as pairs of rankers.
const COMPARISONS: [(&str, &str); 5] = [
    ("init-sft", "init-demo"),
    ("init-demo", "sft-demo"),
    ("init-sft", "sft-demo"),
    ("init-sft", "preference"),
    ("init-sft", CLOSED_FORM),
];

/// The summary; `data` was checked, and the smallest N is at most the number of samples.
pub(crate) fn evaluate(
    config: &EvalConfig,
    data: &Data,
    golden: &[GoldenRow],
    golden_name: &str,
    seed: u64,
) -> Summary {
    let prompts = data.dialogues.len();
    let stored = data.dialogues[0].sft.len();
    let (all_n, n_left_out): (Vec<usize>, Vec<usize>) =
        config.n.iter().partition(|&&n| n <= stored);
    let evaluation = Evaluation {
        bootstrap: Bootstrap::new(prompts, config.bootstrap_resamples, seed),
        sft_golden: golden.iter().map(|row| mean(&row.sft)).collect(),
        wins: golden
            .iter()
            .map(|row| win_rates(&row.sft, &row.sft))
            .collect(),
        lengths: data
            .dialogues
            .iter()
            .map(|dialogue| lengths(&dialogue.sft))
            .collect(),
        cut: data
            .dialogues
            .iter()
            .map(|dialogue| cut(&dialogue.sft))
            .collect(),
        headline_n: all_n
            .iter()
            .copied()
            .rfind(|&n| n <= HEADLINE_N)
            .unwrap_or_else(|| all_n[0]),
        data,
        golden,
        all_n,
    };

    let trivial = trivial_rankers(&data.dialogues, golden);
    let given = data
        .rankers
        .iter()
        .map(|ranker| (ranker, RankerKind::Reward));
    let rankers: Vec<(&Ranker, RankerKind)> = given
        .chain(trivial.iter().map(|(ranker, kind)| (ranker, *kind)))
        .collect();

    let mut rows = vec![evaluation.init(), evaluation.sft()];
    let mut summaries = Vec::new();
    let mut at_headline = Vec::new();
    for (ranker, kind) in rankers {
        let chosen = evaluation.best_of_n(ranker, kind);
        summaries.push(evaluation.diagnose(ranker, kind, &chosen));
        for choice in chosen {
            if choice.row.n == evaluation.headline_n {
                at_headline.push((ranker.name.clone(), choice.golden));
            }
            rows.push(choice.row);
        }
    }
    Summary {
        format: FORMAT,
        golden: golden_name.to_owned(),
        prompts,
        samples_per_prompt: stored,
        headline_n: evaluation.headline_n,
        n_left_out,
        reference: evaluation.reference(),
        rankers: summaries,
        rows,
        comparisons: evaluation.compare(&at_headline),
    }
}

/// The rankers that need no training, and the ceiling.
fn trivial_rankers(dialogues: &[Dialogue], golden: &[GoldenRow]) -> Vec<(Ranker, RankerKind)> {
    let ranker = |name: &str, kind, score: &dyn Fn(&Sample) -> f64| {
        let scores = dialogues
            .iter()
            .map(|dialogue| dialogue.sft.iter().map(score).collect());
        (
            Ranker {
                name: name.to_owned(),
                scores: scores.collect(),
            },
            kind,
        )
    };
    let mean_logprob = |sample: &Sample| {
        let sum: f64 = sample.logprobs.iter().copied().map(f64::from).sum();
        sum / sample.logprobs.len() as f64
    };
    let ceiling = golden.iter().map(|row| row.sft.clone()).collect();
    vec![
        ranker("mean-logprob", RankerKind::Trivial, &mean_logprob),
        ranker("longest", RankerKind::Trivial, &length),
        ranker("shortest", RankerKind::Trivial, &|sample| -length(sample)),
        // Equal scores give every answer the same chance: this is the expected value of chance.
        ranker(RANDOM, RankerKind::Trivial, &|_| 0.0),
        (
            Ranker {
                name: "golden".to_owned(),
                scores: ceiling,
            },
            RankerKind::Ceiling,
        ),
    ]
}

const RANDOM: &str = "random";

fn length(sample: &Sample) -> f64 {
    sample.completion_ids.len() as f64
}

fn lengths(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(length).collect()
}

/// 1 for an answer that the token limit cut off.
fn cut(samples: &[Sample]) -> Vec<f64> {
    samples
        .iter()
        .map(|sample| f64::from(u8::from(sample.finish_reason == "length")))
        .collect()
}

/// A row of the summary and the golden means of the prompts behind it.
struct Choice {
    row: PolicyRow,
    golden: Vec<f64>,
}

/// What all figures are worked out from; vectors are `[prompt]` or `[prompt][SFT answer]`.
struct Evaluation<'a> {
    bootstrap: Bootstrap,
    data: &'a Data,
    golden: &'a [GoldenRow],
    sft_golden: Vec<f64>,
    /// Chance of each answer to beat another of the same prompt.
    wins: Vec<Vec<f64>>,
    lengths: Vec<Vec<f64>>,
    cut: Vec<Vec<f64>>,
    all_n: Vec<usize>,
    headline_n: usize,
}

impl Evaluation<'_> {
    fn init(&self) -> PolicyRow {
        let golden: Vec<f64> = self.golden.iter().map(|row| mean(&row.init)).collect();
        let wins: Vec<f64> = self
            .golden
            .iter()
            .map(|row| mean(&win_rates(&row.init, &row.sft)))
            .collect();
        let over = |value: fn(&[Sample]) -> Vec<f64>| {
            let each: Vec<f64> = self
                .data
                .dialogues
                .iter()
                .map(|dialogue| mean(&value(&dialogue.init)))
                .collect();
            six_digits(mean(&each))
        };
        PolicyRow {
            policy: Policy::Init,
            win_rate_vs_sft: six_digits(mean(&wins)),
            kl_nats: Some(0.0),
            kl_kind: Some(KlKind::Estimate),
            mean_length: over(lengths),
            cut_off: over(cut),
            ..self.row(&golden)
        }
    }

    fn sft(&self) -> PolicyRow {
        let closed_form = self
            .data
            .rankers
            .iter()
            .find(|ranker| ranker.name == CLOSED_FORM);
        let kl = closed_form.map(|ranker| {
            let each: Vec<f64> = ranker.scores.iter().map(|scores| mean(scores)).collect();
            six_digits(mean(&each))
        });
        let uniform = |values: &[Vec<f64>]| {
            let each: Vec<f64> = values.iter().map(|values| mean(values)).collect();
            six_digits(mean(&each))
        };
        PolicyRow {
            policy: Policy::Sft,
            win_rate_vs_sft: uniform(&self.wins),
            kl_nats: kl,
            kl_kind: kl.map(|_| KlKind::Estimate),
            mean_length: uniform(&self.lengths),
            cut_off: uniform(&self.cut),
            ..self.row(&self.sft_golden)
        }
    }

    fn best_of_n(&self, ranker: &Ranker, kind: RankerKind) -> Vec<Choice> {
        let choose = |&n: &usize| {
            let weights: Vec<Vec<f64>> = ranker
                .scores
                .iter()
                .map(|scores| best_of_n_weights(scores, n))
                .collect();
            let expected = |values: &[Vec<f64>]| -> Vec<f64> {
                weights
                    .iter()
                    .zip(values)
                    .map(|(weights, v)| weighted(weights, v))
                    .collect()
            };
            let over_prompts = |values: &[Vec<f64>]| six_digits(mean(&expected(values)));
            // With equal weights the plain mean, so that N = 1 is SFT to the last bit.
            let golden: Vec<f64> = weights
                .iter()
                .zip(self.golden)
                .map(|(weights, row)| {
                    if is_constant(weights) {
                        mean(&row.sft)
                    } else {
                        weighted(weights, &row.sft)
                    }
                })
                .collect();
            let row = PolicyRow {
                policy: Policy::BestOfN,
                ranker: Some(ranker.name.clone()),
                n,
                win_rate_vs_sft: over_prompts(&self.wins),
                // Chance is SFT itself, at no distance.
                kl_nats: Some(if has_score(ranker, kind) {
                    six_digits(best_of_n_kl_bound(n))
                } else {
                    0.0
                }),
                kl_kind: Some(KlKind::UpperBound),
                proxy_mean: has_score(ranker, kind).then(|| over_prompts(&ranker.scores)),
                mean_length: over_prompts(&self.lengths),
                cut_off: over_prompts(&self.cut),
                ..self.row(&golden)
            };
            Choice { row, golden }
        };
        self.all_n.iter().map(choose).collect()
    }

    /// What follows from the prompts' golden means alone; the rest is for the caller to fill in.
    fn row(&self, golden: &[f64]) -> PolicyRow {
        let (delta, delta_ci) = self.difference(golden, &self.sft_golden);
        PolicyRow {
            policy: Policy::Sft,
            ranker: None,
            n: 1,
            prompts: golden.len(),
            golden_mean: six_digits(mean(golden)),
            golden_ci95: self.bootstrap.interval(golden).map(six_digits),
            delta_vs_sft: delta,
            delta_vs_sft_ci95: delta_ci,
            win_rate_vs_sft: 0.5,
            kl_nats: None,
            kl_kind: None,
            proxy_mean: None,
            mean_length: 0.0,
            cut_off: 0.0,
        }
    }

    /// Mean of `a − b` over prompts with its paired interval.
    fn difference(&self, a: &[f64], b: &[f64]) -> (f64, [f64; 2]) {
        let each: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        (
            six_digits(mean(&each)),
            self.bootstrap.interval(&each).map(six_digits),
        )
    }

    fn reference(&self) -> Reference {
        let golden: Vec<f64> = self.golden.iter().map(|row| row.demonstration).collect();
        let wins: Vec<f64> = self
            .golden
            .iter()
            .map(|row| win_rates(&[row.demonstration], &row.sft)[0])
            .collect();
        Reference {
            demonstrator: Demonstrator {
                golden_mean: six_digits(mean(&golden)),
                golden_ci95: self.bootstrap.interval(&golden).map(six_digits),
                win_rate_vs_sft: six_digits(mean(&wins)),
            },
        }
    }

    fn diagnose(&self, ranker: &Ranker, kind: RankerKind, chosen: &[Choice]) -> RankerSummary {
        let reward = self.data.rewards.get(&ranker.name);
        let sft: Vec<Vec<f64>> = self.golden.iter().map(|row| row.sft.clone()).collect();
        let mut peak = &chosen[0];
        for choice in chosen {
            if choice.row.golden_mean > peak.row.golden_mean {
                peak = choice;
            }
        }
        let last = chosen.last().unwrap_or(peak);
        let (fall, fall_ci) = self.difference(&last.golden, &peak.golden);
        RankerSummary {
            ranker: ranker.name.clone(),
            kind,
            eval_accuracy: reward.map(|reward| six_digits(reward.eval_accuracy)),
            eval_auc: reward.map(|reward| six_digits(reward.eval_auc)),
            eval_loss: reward.map(|reward| six_digits(reward.eval_loss)),
            pairs: reward.map(|reward| reward.pairs),
            shallow_auc: reward.and_then(|reward| reward.shallow_auc).map(six_digits),
            closed_form_auc: reward
                .and_then(|reward| reward.closed_form_auc)
                .map(six_digits),
            warnings: reward
                .map(|reward| reward.warnings.clone())
                .unwrap_or_default(),
            pearson_within_prompt_golden: pearson_within(&ranker.scores, &sft).map(six_digits),
            spearman_within_prompt_golden: spearman_within(&ranker.scores, &sft).map(six_digits),
            pearson_within_prompt_length: pearson_within(&ranker.scores, &self.lengths)
                .map(six_digits),
            proxy_sd_within_prompt: has_score(ranker, kind)
                .then(|| six_digits(sd_within(&ranker.scores))),
            peak_n: peak.row.n,
            fall_from_peak: fall,
            fall_from_peak_ci95: fall_ci,
        }
    }

    fn compare(&self, at_headline: &[(String, Vec<f64>)]) -> Vec<Comparison> {
        let golden = |name: &str| {
            let found = at_headline.iter().find(|(ranker, _)| ranker == name);
            found.map(|(_, golden)| golden)
        };
        let compare = |&(ranker, versus): &(&str, &str)| {
            let (delta, delta_ci) = self.difference(golden(ranker)?, golden(versus)?);
            let (ranker, versus) = (ranker.to_owned(), versus.to_owned());
            Some(Comparison {
                ranker,
                versus,
                delta,
                delta_ci,
            })
        };
        COMPARISONS.iter().filter_map(compare).collect()
    }
}

/// Whether the ranker's scores mean anything.
fn has_score(ranker: &Ranker, kind: RankerKind) -> bool {
    kind != RankerKind::Trivial || ranker.name != RANDOM
}
