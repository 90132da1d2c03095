//! What the run's evaluation found of an exported model.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use afd_eval::{Policy, PolicyRow, Summary, load_summary};
use afd_stage::Manifest;

/// The part of a run's evaluation that speaks of one of its models.
pub(super) struct Evaluation {
    summary: Summary,
    of: Of,
}

/// Which figures are the model's.
enum Of {
    Policy(PolicyRow),
    /// Of a reward model: what it chooses among the answers of SFT, and its name.
    Ranker(PolicyRow, String),
}

impl Evaluation {
    /// Of the model in stage `made` of the run in `run_dir`; none where nothing was evaluated, or another
    /// version of the model was.
    pub(super) fn read(run_dir: &Path, made: &Manifest) -> Option<Self> {
        let manifest = Manifest::read(&run_dir.join("eval")).ok()?;
        if !rests_on(run_dir, &manifest, made, &mut BTreeSet::new()) {
            return None;
        }
        let summary = load_summary(&run_dir.join("eval").join("summary.json")).ok()?;
        let of = match made.stage.split_once('/') {
            None if made.stage == "sft" => Of::Policy(summary.policy(Policy::Sft)?.clone()),
            Some(("policy", name)) => {
                let mut rows = summary.trained();
                let own = |row: &&PolicyRow| row.name.as_deref() == Some(name);
                Of::Policy(rows.find(own)?.clone())
            }
            Some(("reward", name)) => Of::Ranker(summary.headline(name)?.clone(), name.to_owned()),
            _ => return None,
        };
        Some(Self { summary, of })
    }

    /// The figures that a `model-index` takes.
    pub(super) fn metrics(&self) -> Vec<(String, serde_json::Value)> {
        let (row, of) = match &self.of {
            Of::Policy(row) => (row, String::new()),
            Of::Ranker(row, _) => (row, format!("best_of_{}_", row.n)),
        };
        let wins = row.win_rate_vs_sft;
        let wins = wins.map(|rate| (format!("{of}win_rate_vs_sft"), rate.into()));
        [(format!("{of}golden_reward"), row.golden_mean.into())]
            .into_iter()
            .chain(wins)
            .collect()
    }

    /// A section of the card.
    pub(super) fn render(&self, card: &mut String) {
        let summary = &self.summary;
        let _ = write!(
            card,
            "\n## Evaluation\n\nBy the golden reward `{}`, held out from all training, over {} test prompts; ± is \
             half of a 95 % interval over prompts, and differences are paired.\n\n\
             | answers of | golden reward | difference to SFT | wins against SFT |\n| --- | --- | --- | --- |\n",
            summary.golden, summary.prompts
        );
        let (sft, (who, own)) = match &self.of {
            Of::Policy(row) if row.policy == Policy::Sft => {
                (None, ("**this model** (SFT)".to_owned(), row))
            }
            Of::Policy(row) => (
                summary.policy(Policy::Sft),
                ("**this model**".to_owned(), row),
            ),
            Of::Ranker(row, _) => {
                let who = format!("SFT, the best of {} by **this model**", row.n);
                (summary.policy(Policy::Sft), (who, row))
            }
        };
        let initial = summary.policy(Policy::Init);
        let initial = initial.map(|row| ("the initial policy".to_owned(), row));
        let sft = sft.map(|row| ("SFT".to_owned(), row));
        for (who, row) in [initial, sft, Some((who, own))].into_iter().flatten() {
            let gain = match row.policy {
                Policy::Sft => "–".to_owned(),
                _ => format!(
                    "{:+.2} ± {:.2}",
                    row.delta_vs_sft,
                    half(row.delta_vs_sft_ci95)
                ),
            };
            let wins = match row.win_rate_vs_sft {
                Some(rate) => format!("{:.1} %", 100.0 * rate),
                None => "–".to_owned(),
            };
            let _ = writeln!(
                card,
                "| {who} | {:.2} ± {:.2} | {gain} | {wins} |",
                row.golden_mean,
                half(row.golden_ci95),
            );
        }
        let demonstrator = &summary.reference.demonstrator;
        let _ = writeln!(
            card,
            "| the demonstrator | {:.2} ± {:.2} | – | {:.1} % |",
            demonstrator.golden_mean,
            half(demonstrator.golden_ci95),
            100.0 * demonstrator.win_rate_vs_sft
        );
        self.remarks(card);
    }

    fn remarks(&self, card: &mut String) {
        let judged = match &self.of {
            Of::Policy(row) => {
                if let (Policy::Trained, Some(kl)) = (row.policy, row.kl_nats) {
                    let _ = write!(
                        card,
                        "\nKL from SFT, by its own answers: {kl:.2} nats. Mean length {:.1} tokens, {:.1} % cut off.\n",
                        row.mean_length,
                        100.0 * row.cut_off
                    );
                }
                row.name.clone()
            }
            Of::Ranker(_, name) => {
                let found = self.summary.rankers.iter().find(|one| one.ranker == *name);
                let rank = found.and_then(|one| one.spearman_within_prompt_golden);
                if let Some(rank) = rank {
                    let _ = write!(
                        card,
                        "\nIts rank correlation with the golden reward, among answers to one prompt: {rank:.2}.\n"
                    );
                }
                Some(format!("best-of-n-{name}"))
            }
        };
        let judged = self
            .summary
            .judged
            .iter()
            .find(|one| Some(&one.policy) == judged.as_ref());
        if let Some((judged, rate)) = judged.and_then(|one| Some((one, one.win_rate?))) {
            let _ = write!(
                card,
                "\n`{}`, asked which answer is better, preferred it to SFT's in {:.1} % of {} comparisons.\n",
                judged.model,
                100.0 * rate,
                judged.judged
            );
        }
    }
}

fn half([low, high]: [f64; 2]) -> f64 {
    (high - low) / 2.0
}

/// Whether `manifest` was made from the result of `made`, directly or by way of other stages, as they are now.
fn rests_on(
    run_dir: &Path,
    manifest: &Manifest,
    made: &Manifest,
    seen: &mut BTreeSet<String>,
) -> bool {
    manifest.inputs.iter().any(|input| {
        if input.name == made.stage {
            return input.fingerprint == made.fingerprint;
        }
        if !seen.insert(input.name.clone()) {
            return false;
        }
        let dir = run_dir.join(&input.name);
        let found = Manifest::read(&dir).ok();
        let current = found.filter(|found| found.fingerprint == input.fingerprint);
        current.is_some_and(|found| rests_on(run_dir, &found, made, seen))
    })
}
