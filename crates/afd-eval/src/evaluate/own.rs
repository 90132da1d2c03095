//! Figures of policies that have answers of their own: the initial, the fine-tuned, the trained.

use afd_stats::{mean, six_digits, spearman_within, standard_error, win_rates};

use super::{Evaluation, means};
use crate::{
    CLOSED_FORM,
    golden::GoldenRow,
    inputs::{Answers, LogProbs, TrainedPolicy},
    summary::{KlKind, Policy, PolicyRow},
};

impl Evaluation<'_> {
    pub(super) fn init(&self) -> PolicyRow {
        let answers = &self.data.init;
        PolicyRow {
            policy: Policy::Init,
            kl_nats: Some(0.0),
            kl_kind: Some(KlKind::Estimate),
            entropy_nats: Some(entropy(answers, None)),
            embedding_spread: self.spread("init"),
            ..self.own(answers, |row| &row.init)
        }
    }

    pub(super) fn sft(&self) -> PolicyRow {
        let answers = &self.data.sft;
        PolicyRow {
            entropy_nats: Some(entropy(answers, None)),
            embedding_spread: self.spread("sft"),
            ..self.with_kl(self.ranker(CLOSED_FORM), self.own(answers, |row| &row.sft))
        }
    }

    pub(super) fn trained(&self, policy: &TrainedPolicy) -> PolicyRow {
        let answers = &policy.answers;
        let log_ratio = policy.log_ratio.as_deref();
        // What was drawn from a sampler over SFT is stored with SFT's log-probabilities.
        let entropy = match policy.log_probs {
            LogProbs::Own => Some(entropy(answers, None)),
            LogProbs::Sft => log_ratio.map(|ratio| entropy(answers, Some(ratio))),
        };
        let (proxy, scores) = policy.proxy.as_ref().map(|(name, own)| (name, own)).unzip();
        let of_sft = proxy.and_then(|name| self.ranker(name));
        let golden = self
            .golden
            .iter()
            .map(|row| row.policy(&policy.name).to_vec());
        let golden: Vec<Vec<f64>> = golden.collect();
        PolicyRow {
            policy: Policy::Trained,
            name: Some(policy.name.clone()),
            proxy: proxy.cloned(),
            proxy_mean: scores.map(|own| over_prompts(own)),
            proxy_mean_sft: of_sft.map(over_prompts),
            proxy_spearman_within_prompt_golden: scores
                .and_then(|own| spearman_within(own, &golden))
                .map(six_digits),
            entropy_nats: entropy,
            embedding_spread: self.spread(&policy.name),
            ..self.with_kl(log_ratio, self.own(answers, |row| row.policy(&policy.name)))
        }
    }

    /// How far apart a policy's answers lie, if they were embedded.
    fn spread(&self, policy: &str) -> Option<f64> {
        let spread = &self.data.spread.spread;
        spread.get(policy).copied().flatten().map(six_digits)
    }

    /// A ranker's scores of SFT's answers.
    fn ranker(&self, name: &str) -> Option<&[Vec<f64>]> {
        let mut rankers = self.data.rankers.iter();
        let ranker = rankers.find(|ranker| ranker.name == name);
        ranker.map(|ranker| ranker.scores.as_slice())
    }

    /// What answers and their golden rewards say by themselves.
    fn own(&self, answers: &Answers, golden: impl Fn(&GoldenRow) -> &[f64]) -> PolicyRow {
        let rewards: Vec<f64> = self.golden.iter().map(|row| mean(golden(row))).collect();
        let wins: Vec<f64> = self
            .golden
            .iter()
            .map(|row| mean(&win_rates(golden(row), &row.sft)))
            .collect();
        let texts = &answers.texts;
        PolicyRow {
            win_rate_vs_sft: Some(six_digits(mean(&wins))),
            distinct_1: texts.distinct_1,
            distinct_2: texts.distinct_2,
            self_bleu: texts.self_bleu,
            refusals: Some(texts.refusals),
            repetition: Some(texts.repetition),
            coverage: texts.coverage,
            precision: texts.precision,
            ..self.row(&rewards, &means(&answers.tokens), &means(&answers.cut))
        }
    }

    /// Estimates a divergence by the log-ratios of a policy's own answers, if there are any.
    fn with_kl(&self, log_ratio: Option<&[Vec<f64>]>, row: PolicyRow) -> PolicyRow {
        let Some(log_ratio) = log_ratio else {
            return row;
        };
        let each = means(log_ratio);
        PolicyRow {
            kl_nats: Some(six_digits(mean(&each))),
            kl_kind: Some(KlKind::Estimate),
            kl_se: Some(six_digits(standard_error(&each))),
            kl_ci95: Some(self.bootstrap.interval(&each).map(six_digits)),
            ..row
        }
    }
}

/// Mean over prompts of the prompts' means.
fn over_prompts(scores: &[Vec<f64>]) -> f64 {
    six_digits(mean(&means(scores)))
}

/// Mean −log-probability of answers, in nats; `log_ratio`, `[prompt][answer]`, is added to the
/// stored log-probabilities where these are another policy's.
fn entropy(answers: &Answers, log_ratio: Option<&[Vec<f64>]>) -> f64 {
    let of_prompt = |(prompt, stored): (usize, &Vec<f64>)| -> Vec<f64> {
        let own = |(answer, stored): (usize, &f64)| {
            -(stored + log_ratio.map_or(0.0, |ratios| ratios[prompt][answer]))
        };
        stored.iter().enumerate().map(own).collect()
    };
    let each: Vec<Vec<f64>> = answers
        .log_probs
        .iter()
        .enumerate()
        .map(of_prompt)
        .collect();
    over_prompts(&each)
}
