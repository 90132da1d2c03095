//! `summary.json`: the evaluation's figures, which hold no time, path or host.

use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The number that [`Summary::format`] has; raised when the file changes its meaning.
pub(crate) const FORMAT: u32 = 1;

/// All figures of an evaluation, each rounded to 6 significant decimals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this layout.
    pub format: u32,
    /// Name of the golden reward.
    pub golden: String,
    /// Number of prompts, which are the units of all intervals.
    pub prompts: usize,
    /// Stored answers per prompt that Best-of-N chooses from.
    pub samples_per_prompt: usize,
    /// The N that comparisons are made at.
    pub headline_n: usize,
    /// Configured N that are larger than `samples_per_prompt`.
    pub n_left_out: Vec<usize>,
    /// Change of the golden reward by token within prompts, over SFT's stored answers: what
    /// [`PolicyRow::length_controlled_gain`] takes off. `None` where their lengths do not vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_slope: Option<f64>,
    /// The answers per prompt that `distinct_1` and `distinct_2` look at: as many as every policy
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_answers: Option<usize>,
    /// What to compare with.
    pub reference: Reference,
    /// The rankers in the order of the rows.
    pub rankers: Vec<RankerSummary>,
    /// `init`, `sft`, then each trained policy, then each ranker with N ascending.
    pub rows: Vec<PolicyRow>,
    /// Paired differences between rankers at `headline_n`.
    pub comparisons: Vec<Comparison>,
    /// What each reward, and the golden one, buys by the distance from SFT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kl_sweep: Vec<KlSweep>,
    /// The claims, each with its p-value and that after Holm's correction: of the trained policies and of each reward's choice at
    /// `headline_n` against SFT, and of these choices against each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
    /// How strong each policy is among all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strengths: Vec<Strength>,
    /// What further held-out scorers say of the same answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<ScorerSummary>,
    /// Whether these and the golden reward agree, pair by pair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreement: Vec<Agreement>,
    /// What a language model says of policies against SFT, where one was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
}

/// SFT's stored answers tilted towards a ranker: each weighs `exp(score/β)` among those to its prompt, with one β
/// for all prompts. It is where training on the ranker with that much KL leads at best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KlSweep {
    /// The ranker.
    pub ranker: String,
    /// KL of the weights from even ones in nats, in the mean over prompts. It is near that from SFT only far
    /// below the logarithm of the number of stored answers, which it cannot exceed.
    pub kl_nats: f64,
    /// Mean golden reward.
    pub golden_mean: f64,
    /// Golden mean minus that of `sft`.
    pub delta_vs_sft: f64,
    /// Its paired interval.
    pub delta_vs_sft_ci95: [f64; 2],
}

/// A further scorer's rewards of all policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScorerSummary {
    /// Its name.
    pub scorer: String,
    /// The initial policy, SFT, those trained from it, what each reward chooses at `headline_n`, and the
    /// demonstrator.
    pub policies: Vec<ScoredPolicy>,
}

/// A policy by the word of a further scorer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoredPolicy {
    /// The policy, as the report calls it.
    pub policy: String,
    /// Mean reward, in the scorer's own unit.
    pub mean: f64,
    /// Its interval.
    pub mean_ci95: [f64; 2],
    /// Mean minus that of `sft`.
    pub delta_vs_sft: f64,
    /// Its paired interval.
    pub delta_vs_sft_ci95: [f64; 2],
}

/// How alike two scorers order SFT's stored answers to a prompt, averaged over prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// A scorer.
    pub scorer: String,
    /// Another.
    pub versus: String,
    /// Rank correlation; `None` without spread.
    pub spearman_within_prompt: Option<f64>,
    /// Correlation; `None` without spread.
    pub pearson_within_prompt: Option<f64>,
}

/// A policy's answers against SFT's by the word of a language model, each pair judged in both orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The policy.
    pub policy: String,
    /// The judge.
    pub model: String,
    /// Comparisons with a verdict.
    pub judged: usize,
    /// Mean score of the policy, ties half.
    pub win_rate: Option<f64>,
    /// Its interval.
    pub win_rate_ci95: Option<[f64; 2]>,
    /// Two-sided p-value of a half.
    pub p: Option<f64>,
    /// Share of verdicts that are ties.
    pub ties: f64,
    /// How much more often than half the answer shown first wins.
    pub position_bias: Option<f64>,
    /// Share of comparisons in which both orders say the same.
    pub consistent: Option<f64>,
    /// Requests that the judge declined, …
    pub refused: usize,
    /// … answered otherwise than asked, …
    pub unparsable: usize,
    /// … or did not answer.
    pub failed: usize,
}

/// A test of whether two policies' golden means differ, on these checkpoints, over prompts like these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Test {
    /// A policy, as the report calls it.
    pub policy: String,
    /// Another.
    pub versus: String,
    /// Golden mean of `policy` minus that of `versus`.
    pub delta: f64,
    /// Two-sided p-value of a paired permutation test over prompts.
    pub p: f64,
    /// The same after Holm's correction over all of [`Summary::tests`].
    pub p_holm: f64,
}

/// A policy's strength by who beats whom, all policies' answers to a prompt compared by golden reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strength {
    /// The policy, as the report calls it.
    pub policy: String,
    /// Bradley–Terry strength on the Elo scale, SFT at 0: 400 points are odds of ten to one.
    pub elo: f64,
    /// Its interval by bootstrap over prompts.
    pub elo_ci95: [f64; 2],
}

/// Policies known by their answers only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Who wrote the test split's answers.
    pub demonstrator: Demonstrator,
}

/// The demonstrator's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Demonstrator {
    /// Mean golden reward.
    pub golden_mean: f64,
    /// Its interval.
    pub golden_ci95: [f64; 2],
    /// Chance to beat an SFT answer to the same prompt; ties count half.
    pub win_rate_vs_sft: f64,
}

/// Where a ranker's scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankerKind {
    /// A reward: learned, or the closed form.
    Reward,
    /// Needs no training: length, likelihood, chance.
    Trivial,
    /// The golden reward itself.
    Ceiling,
}

/// What is known of a ranker beside what it chooses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RankerSummary {
    /// Its name.
    pub ranker: String,
    /// Where its scores come from.
    pub kind: RankerKind,
    /// Share of held-out answers put in the right class; `None` without training summary.
    pub eval_accuracy: Option<f64>,
    /// How well it tells its two classes apart.
    pub eval_auc: Option<f64>,
    /// Held-out loss in nats.
    pub eval_loss: Option<f64>,
    /// Whether its logits mean what they say, on the same answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationSummary>,
    /// How well surface features of the answers alone tell the classes apart.
    #[serde(default)]
    pub shallow_auc: Option<f64>,
    /// How well the two policies' log-ratio does.
    #[serde(default)]
    pub closed_form_auc: Option<f64>,
    /// What its diagnostics say against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Pairs in its data.
    pub pairs: Option<u64>,
    /// Correlation with the golden reward within a prompt; `None` without spread.
    pub pearson_within_prompt_golden: Option<f64>,
    /// Rank correlation with the golden reward within a prompt.
    #[serde(default)]
    pub spearman_within_prompt_golden: Option<f64>,
    /// Correlation with the number of tokens within a prompt.
    pub pearson_within_prompt_length: Option<f64>,
    /// Standard deviation of its scores within a prompt; `None` for chance.
    pub proxy_sd_within_prompt: Option<f64>,
    /// The N with the highest golden mean.
    pub peak_n: usize,
    /// The N at which the other rewards like its choice best: what one would choose without seeing the
    /// golden reward. `None` for what is no reward, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_without_golden: Option<usize>,
    /// Golden mean at `peak_n` less that at `n_without_golden`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
    /// Golden mean at the largest N minus that at `peak_n`; at most 0.
    pub fall_from_peak: f64,
    /// Its paired interval; slightly pessimistic, because the data chose the peak.
    pub fall_from_peak_ci95: [f64; 2],
}

/// How a reward model's predictions compare with what they predict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalibrationSummary {
    /// Of answers with like predictions: mean predicted probability of the positive class, share of
    /// positives, number of answers. Ascending.
    pub bins: Vec<(f64, f64, usize)>,
    /// Mean distance of prediction and share, weighted by the number of answers.
    pub expected_calibration_error: f64,
}

/// A policy that was evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The initial policy.
    Init,
    /// The fine-tuned policy.
    Sft,
    /// A policy made from SFT's, with answers of its own: trained further, or drawn otherwise.
    Trained,
    /// The answer among N of SFT's that a ranker likes best.
    BestOfN,
}

/// What a KL figure is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KlKind {
    /// Mean log-ratio of sampled answers.
    #[serde(rename = "estimate")]
    Estimate,
    /// Not more than this; often far less.
    #[serde(rename = "upper bound")]
    UpperBound,
}

/// A policy's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRow {
    /// Which policy.
    pub policy: Policy,
    /// Which of the trained policies; `None` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who chooses; `None` where nobody does.
    pub ranker: Option<String>,
    /// Of how many; 1 where nobody chooses.
    pub n: usize,
    /// Number of prompts.
    pub prompts: usize,
    /// Mean golden reward.
    pub golden_mean: f64,
    /// Its interval.
    pub golden_ci95: [f64; 2],
    /// Golden mean minus that of `sft`.
    pub delta_vs_sft: f64,
    /// Its paired interval.
    pub delta_vs_sft_ci95: [f64; 2],
    /// Golden mean minus that of `sft`, less what SFT's answers gain by as many more tokens:
    /// `delta_vs_sft − length_slope · (mean_length − mean_length of sft)`. `None` without slope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_controlled_gain: Option<f64>,
    /// Its paired interval, the slope's own uncertainty included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_controlled_gain_ci95: Option<[f64; 2]>,
    /// Chance to beat an SFT answer to the same prompt, ties counting half. A choice among stored answers is held
    /// against one that it was not made from; none where all are chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub win_rate_vs_sft: Option<f64>,
    /// KL divergence in nats from `init` (rows `init`, `sft`) or from `sft` (`trained`,
    /// `best-of-n`).
    pub kl_nats: Option<f64>,
    /// What `kl_nats` is worth.
    pub kl_kind: Option<KlKind>,
    /// Standard error of an estimated `kl_nats`, with prompts as the independent units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_se: Option<f64>,
    /// Interval of an estimated `kl_nats`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_ci95: Option<[f64; 2]>,
    /// The reward that a trained policy was trained on, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Mean score by the ranker itself, or by `proxy`; `None` where there is none.
    pub proxy_mean: Option<f64>,
    /// Mean score of SFT's own answers by `proxy`, if that is one of the rankers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_mean_sft: Option<f64>,
    /// Rank correlation of `proxy` with the golden reward among the policy's own answers to a prompt:
    /// whether what it was trained on still tells its good answers from its bad ones. `None` without
    /// proxy or spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_spearman_within_prompt_golden: Option<f64>,
    /// Mean number of tokens in an answer, end token included.
    pub mean_length: f64,
    /// Share of answers cut off by the token limit.
    pub cut_off: f64,
    /// Share of answers that ended by themselves: 1 − `cut_off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_rate: Option<f64>,
    /// Entropy of an answer in nats, estimated by its mean −log-probability; one that was cut off
    /// is an outcome as it stands. `None` where the log-probabilities of the policy are not known
    /// or nothing was drawn. Where the answers of `init` and `sft` were not drawn at temperature 1
    /// with nothing cut, it is the cross-entropy of the sampler to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy_nats: Option<f64>,
    /// Different words among all words in the first [`Summary::distinct_answers`] answers to a
    /// prompt, as a share; mean over prompts. `None` where there are no words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_1: Option<f64>,
    /// The same of pairs of neighbouring words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_2: Option<f64>,
    /// BLEU-4 of these answers with the others to their prompt as references, as a mean: how alike they are. `None`
    /// where there is one answer to a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_bleu: Option<f64>,
    /// Mean cosine distance of two answers to a prompt as the initial policy embeds them, 0 to 2: large where
    /// they mean different things, whatever their words. `None` where nothing was embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_spread: Option<f64>,
    /// Share of these answers with a stock phrase of refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<f64>,
    /// Share of an answer's pairs of neighbouring words that it has had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<f64>,
    /// Share of the demonstrations' pairs of neighbouring words that these answers have somewhere: a
    /// policy that covers their mass has much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Share of these answers' pairs that the demonstrations have somewhere: one that seeks a mode of
    /// theirs has much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
}

/// The difference between two rankers at [`Summary::headline_n`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// A ranker.
    pub ranker: String,
    /// Another.
    pub versus: String,
    /// Golden mean of `ranker` minus that of `versus`.
    pub delta: f64,
    /// Its paired interval.
    pub delta_ci: [f64; 2],
}

impl PolicyRow {
    /// The name of a trained policy; empty for the others.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl Summary {
    /// The row of a policy, without ranker; the first of the trained ones.
    pub fn policy(&self, policy: Policy) -> Option<&PolicyRow> {
        self.rows
            .iter()
            .find(|row| row.policy == policy && row.ranker.is_none())
    }

    /// The rows of the trained policies.
    pub fn trained(&self) -> impl Iterator<Item = &PolicyRow> {
        self.rows.iter().filter(|row| row.policy == Policy::Trained)
    }

    /// The rows of a ranker, N ascending.
    pub fn best_of_n(&self, ranker: &str) -> impl Iterator<Item = &PolicyRow> {
        self.rows
            .iter()
            .filter(move |row| row.ranker.as_deref() == Some(ranker))
    }

    /// The row of a ranker at [`headline_n`](Self::headline_n).
    pub fn headline(&self, ranker: &str) -> Option<&PolicyRow> {
        self.best_of_n(ranker).find(|row| row.n == self.headline_n)
    }

    /// All N that were evaluated, ascending.
    pub fn all_n(&self) -> Vec<usize> {
        let first = self.rankers.first().map(|ranker| ranker.ranker.as_str());
        first.map_or_else(Vec::new, |name| {
            self.best_of_n(name).map(|row| row.n).collect()
        })
    }
}

/// Reads a `summary.json`.
///
/// # Errors
///
/// [`Error::Format`] when another version wrote it, [`Error::Json`] when it is no summary,
/// [`Error::Stage`] when it cannot be read.
pub fn load_summary(path: &Path) -> Result<Summary, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let json = |source| Error::Json {
        path: path.into(),
        source,
    };
    let text = afd_stage::fs::read_to_string(path)?;
    let Versioned { format } = serde_json::from_str(&text).map_err(json)?;
    if format != FORMAT {
        return Err(Error::Format {
            path: path.into(),
            expected: FORMAT,
            got: format,
        });
    }
    serde_json::from_str(&text).map_err(json)
}

/// The JSON Schema of `summary.json`, its descriptions included.
pub fn summary_schema() -> serde_json::Value {
    schema_for!(Summary).to_value()
}
