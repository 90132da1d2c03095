//! From golden rewards and rankers' scores to the figures of the summary.

mod chosen_n;
mod contest;
mod kl_sweep;
mod length;
mod own;
mod scorers;
mod trivial;

use afd_model::{best_of_n_kl_bound, best_of_n_weights, best_of_n_win_rate};
use afd_stats::{
    Bootstrap, Calibration, ReliabilityBin, is_constant, mean, pearson_within, sd_within,
    six_digits, spearman_within, weighted, win_rates,
};

pub(crate) use self::trivial::{MEAN_LOGPROB, RANDOM, trivial_rankers};
use self::{length::LengthControl, trivial::has_score};
use crate::{
    CLOSED_FORM, EvalConfig,
    golden::GoldenRow,
    inputs::{Data, Ranker},
    summary::{
        CalibrationSummary, Comparison, Demonstrator, FORMAT, KlKind, Policy, PolicyRow,
        RankerKind, RankerSummary, Reference, Summary,
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
    data: &Data<'_>,
    golden: &[GoldenRow],
    golden_name: &str,
    seed: u64,
) -> Summary {
    let prompts = data.asked.dialogues.len();
    let stored = data.asked.sft.answers;
    let (all_n, n_left_out): (Vec<usize>, Vec<usize>) =
        config.n.iter().partition(|&&n| n <= stored);
    let bootstrap = Bootstrap::new(prompts, config.bootstrap_resamples, seed);
    let sft: Vec<Vec<f64>> = golden.iter().map(|row| row.sft.clone()).collect();
    let evaluation = Evaluation {
        length_control: LengthControl::fit(&data.sft.tokens, &sft, &bootstrap),
        sft,
        bootstrap,
        sft_golden: golden.iter().map(|row| mean(&row.sft)).collect(),
        sft_length: means(&data.sft.tokens),
        headline_n: all_n
            .iter()
            .copied()
            .rfind(|&n| n <= HEADLINE_N)
            .unwrap_or_else(|| all_n[0]),
        data,
        golden,
        all_n,
    };

    let trivial = trivial_rankers(&data.sft, golden);
    let given = data
        .rankers
        .iter()
        .map(|ranker| (ranker, RankerKind::Reward));
    let rankers: Vec<(&Ranker, RankerKind)> = given
        .chain(trivial.iter().map(|(ranker, kind)| (ranker, *kind)))
        .collect();

    let mut rows = vec![evaluation.init(), evaluation.sft()];
    let policies = data.policies.iter();
    rows.extend(policies.map(|policy| evaluation.trained(policy)));
    let mut summaries = Vec::new();
    let mut at_headline = Vec::new();
    for &(ranker, kind) in &rankers {
        let chosen = evaluation.best_of_n(ranker, kind);
        summaries.push(evaluation.diagnose(ranker, kind, &chosen));
        for choice in chosen {
            if choice.row.n == evaluation.headline_n {
                at_headline.push((ranker.name.clone(), choice.golden));
            }
            rows.push(choice.row);
        }
    }
    let kl_sweep = evaluation.kl_sweep(&config.kl, &rankers);
    let (tests, strengths) = evaluation.contest(config, &rankers, seed);
    let (scorers, agreement) = match data.scorers.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => (
            evaluation.scorers(&rankers),
            evaluation.agreement(golden_name),
        ),
    };
    Summary {
        format: FORMAT,
        golden: golden_name.to_owned(),
        prompts,
        samples_per_prompt: stored,
        headline_n: evaluation.headline_n,
        n_left_out,
        length_slope: evaluation.length_control.as_ref().map(LengthControl::slope),
        distinct_answers: Some(data.asked.fewest_answers()),
        reference: evaluation.reference(),
        rankers: summaries,
        rows,
        comparisons: evaluation.compare(&at_headline),
        kl_sweep,
        tests,
        strengths,
        scorers,
        agreement,
        judged: data.judged.clone(),
    }
}

/// A row of the summary and the golden means of the prompts behind it.
struct Choice {
    row: PolicyRow,
    golden: Vec<f64>,
}

/// What all figures are worked out from; vectors are `[prompt]` or `[prompt][SFT answer]`.
struct Evaluation<'a> {
    bootstrap: Bootstrap,
    data: &'a Data<'a>,
    golden: &'a [GoldenRow],
    /// Golden rewards of SFT's answers.
    sft: Vec<Vec<f64>>,
    /// Means of SFT's answers: golden reward and number of tokens.
    sft_golden: Vec<f64>,
    sft_length: Vec<f64>,
    /// `None` where SFT's answers to a prompt are all of one length.
    length_control: Option<LengthControl>,
    all_n: Vec<usize>,
    headline_n: usize,
}

impl Evaluation<'_> {
    fn best_of_n(&self, ranker: &Ranker, kind: RankerKind) -> Vec<Choice> {
        let answers = &self.data.sft;
        let choose = |&n: &usize| {
            let weights: Vec<Vec<f64>> = ranker
                .scores
                .iter()
                .map(|scores| best_of_n_weights(scores, n))
                .collect();
            // With equal weights the plain mean, so that N = 1 is SFT to the last bit.
            let expect = |(weights, values): (&Vec<f64>, &Vec<f64>)| {
                if is_constant(weights) {
                    mean(values)
                } else {
                    weighted(weights, values)
                }
            };
            let expected = |values: &[Vec<f64>]| -> Vec<f64> {
                weights.iter().zip(values).map(expect).collect()
            };
            let over_prompts = |values: &[Vec<f64>]| six_digits(mean(&expected(values)));
            let golden = expected(&self.sft);
            let row = PolicyRow {
                policy: Policy::BestOfN,
                ranker: Some(ranker.name.clone()),
                n,
                win_rate_vs_sft: self.win_rate(ranker, n),
                // Chance is SFT itself, at no distance.
                kl_nats: Some(if has_score(ranker, kind) {
                    six_digits(best_of_n_kl_bound(n))
                } else {
                    0.0
                }),
                kl_kind: Some(KlKind::UpperBound),
                proxy_mean: has_score(ranker, kind).then(|| over_prompts(&ranker.scores)),
                ..self.row(&golden, &expected(&answers.tokens), &expected(&answers.cut))
            };
            Choice { row, golden }
        };
        self.all_n.iter().map(choose).collect()
    }

    /// How often a ranker's choice among `n` answers beats one that it was not made from.
    fn win_rate(&self, ranker: &Ranker, n: usize) -> Option<f64> {
        let prompts = ranker.scores.iter().zip(&self.sft);
        let rates = prompts.map(|(scores, golden)| best_of_n_win_rate(scores, golden, n));
        let rates: Option<Vec<f64>> = rates.collect();
        rates.map(|rates| six_digits(mean(&rates)))
    }

    /// What follows from the prompts' means of golden reward, tokens and share cut off; the rest is
    /// for the caller to fill in.
    fn row(&self, golden: &[f64], length: &[f64], cut: &[f64]) -> PolicyRow {
        let (delta, delta_ci) = self.difference(golden, &self.sft_golden);
        let controlled = self.length_control.as_ref().map(|control| {
            control.gain(
                &minus(golden, &self.sft_golden),
                &minus(length, &self.sft_length),
                &self.bootstrap,
            )
        });
        PolicyRow {
            policy: Policy::Sft,
            name: None,
            ranker: None,
            n: 1,
            prompts: golden.len(),
            golden_mean: six_digits(mean(golden)),
            golden_ci95: self.bootstrap.interval(golden).map(six_digits),
            delta_vs_sft: delta,
            delta_vs_sft_ci95: delta_ci,
            length_controlled_gain: controlled.map(|(gain, _)| gain),
            length_controlled_gain_ci95: controlled.map(|(_, interval)| interval),
            win_rate_vs_sft: Some(0.5),
            kl_nats: None,
            kl_kind: None,
            kl_se: None,
            kl_ci95: None,
            proxy: None,
            proxy_mean: None,
            proxy_mean_sft: None,
            proxy_spearman_within_prompt_golden: None,
            mean_length: six_digits(mean(length)),
            cut_off: six_digits(mean(cut)),
            eos_rate: Some(six_digits(1.0 - mean(cut))),
            entropy_nats: None,
            distinct_1: None,
            distinct_2: None,
            self_bleu: None,
            embedding_spread: None,
            refusals: None,
            repetition: None,
            coverage: None,
            precision: None,
        }
    }

    /// Mean of `a − b` over prompts with its paired interval.
    fn difference(&self, a: &[f64], b: &[f64]) -> (f64, [f64; 2]) {
        let each = minus(a, b);
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
        let others = self.data.rankers.iter();
        let others: Vec<&Ranker> = others.filter(|other| other.name != ranker.name).collect();
        let place = match kind {
            RankerKind::Reward => chosen_n::without_golden(ranker, &others, &self.all_n),
            RankerKind::Trivial | RankerKind::Ceiling => None,
        };
        let reward = self.data.rewards.get(&ranker.name);
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
            calibration: reward
                .and_then(|reward| reward.calibration.as_ref())
                .map(rounded),
            pairs: reward.map(|reward| reward.pairs),
            shallow_auc: reward.and_then(|reward| reward.shallow_auc).map(six_digits),
            closed_form_auc: reward
                .and_then(|reward| reward.closed_form_auc)
                .map(six_digits),
            warnings: reward
                .map(|reward| reward.warnings.clone())
                .unwrap_or_default(),
            pearson_within_prompt_golden: pearson_within(&ranker.scores, &self.sft).map(six_digits),
            spearman_within_prompt_golden: spearman_within(&ranker.scores, &self.sft)
                .map(six_digits),
            pearson_within_prompt_length: pearson_within(&ranker.scores, &self.data.sft.tokens)
                .map(six_digits),
            proxy_sd_within_prompt: has_score(ranker, kind)
                .then(|| six_digits(sd_within(&ranker.scores))),
            peak_n: peak.row.n,
            n_without_golden: place.map(|place| chosen[place].row.n),
            regret: place
                .map(|place| six_digits(peak.row.golden_mean - chosen[place].row.golden_mean)),
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

fn rounded(found: &Calibration) -> CalibrationSummary {
    let bin = |bin: &ReliabilityBin| {
        let (predicted, share) = (
            six_digits(bin.mean_predicted),
            six_digits(bin.share_positive),
        );
        (predicted, share, bin.count)
    };
    CalibrationSummary {
        bins: found.bins.iter().map(bin).collect(),
        expected_calibration_error: six_digits(found.expected_calibration_error),
    }
}

/// The mean of each prompt's answers.
fn means(values: &[Vec<f64>]) -> Vec<f64> {
    values.iter().map(|values| mean(values)).collect()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
