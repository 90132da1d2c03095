//! What stands in the report.

use afd_stats::CONFIDENCE;

use super::{
    Answer, Block, Cell, Content, Dialogue, Table, Tone, at_equal_distances, behaviour,
    browser::browser, contest, figures, run, scorers, trained,
};
use crate::{
    CLOSED_FORM, EvalConfig,
    evaluate::{RANDOM, trivial_rankers},
    findings::findings,
    golden::GoldenRow,
    inputs::{Data, Ranker},
    numbers::{Numbers, fixed, half, list},
    record::{Logged, RunRecord},
    summary::{KlKind, Policy, PolicyRow, RankerKind, RankerSummary, Summary},
    table::{kl_from_sft, percent},
    warnings::is_suspicious,
};

pub(crate) fn blocks(
    summary: &Summary,
    data: &Data<'_>,
    golden: &[GoldenRow],
    config: &EvalConfig,
    record: &RunRecord,
    logged: &[(String, Logged)],
) -> Vec<Block> {
    let numbers = Numbers::of(summary);
    let findings = findings(summary);
    let mut blocks = vec![Block::Lead(findings.headline), Block::List(findings.notes)];
    blocks.extend(findings.warnings.into_iter().map(Block::Warning));

    blocks.push(Block::Heading("Policies".to_owned()));
    blocks.push(Block::Table(policies(summary, numbers)));
    blocks.extend(contest::blocks(summary, numbers));
    blocks.extend(scorers::blocks(summary));
    blocks.push(figures::histogram(summary, golden));
    blocks.extend(trained::blocks(summary, numbers));
    blocks.extend(behaviour::blocks(summary));

    blocks.push(Block::Heading("Best of N".to_owned()));
    blocks.push(Block::Paragraph(
        "N answers are drawn from the SFT policy and a ranker keeps the one it likes best. The \
         figures are exact expectations over all ways to draw N of the stored answers, so only \
         the prompts and the stored answers themselves are chance."
            .to_owned(),
    ));
    blocks.push(figures::golden_over_n(summary, numbers));
    blocks.push(Block::Table(best_of_n(summary, numbers)));
    blocks.push(figures::proxy_against_golden(summary, numbers));
    blocks.extend(figures::kl_sweep(summary, numbers));

    blocks.push(Block::Heading("What the rankers look at".to_owned()));
    blocks.push(Block::Table(rankers(summary)));
    blocks.extend(figures::heterogeneity(summary));
    blocks.extend(figures::calibration(summary));

    let dialogues = dialogues(summary, data, golden, config.examples, numbers);
    let trivial = trivial_rankers(&data.sft, golden);
    let rankers: Vec<&Ranker> = data
        .rankers
        .iter()
        .chain(trivial.iter().map(|(ranker, _)| ranker))
        .filter(|ranker| ranker.name != RANDOM)
        .collect();
    if let Some(browser) = browser(data, golden, &rankers, config.browser_prompts) {
        blocks.push(Block::Heading("All answers".to_owned()));
        blocks.push(Block::Browser(browser));
    }
    if !dialogues.is_empty() {
        blocks.push(Block::Heading("Examples".to_owned()));
        blocks.push(Block::Paragraph(format!(
            "Prompts at equal distances in the test split, not hand-picked. {who} are each \
             policy's first sample; a best-of-{n} answer is chosen among SFT's first {n}.",
            who = if data.policies.is_empty() {
                "`init` and `sft`"
            } else {
                "`init`, `sft` and those trained from it"
            },
            n = summary.headline_n
        )));
        blocks.extend(dialogues);
    }

    blocks.push(Block::Heading("How to read this".to_owned()));
    blocks.push(Block::List(glossary(summary)));

    blocks.extend(run::blocks(summary, record, logged, numbers));
    blocks
}

fn policies(summary: &Summary, numbers: Numbers) -> Table {
    let with_trained = summary.trained().next().is_some();
    let mut header = vec!["policy", "golden reward", "difference to SFT"];
    // Where answers are a policy's own, they may well be longer.
    header.extend(with_trained.then_some("at SFT's length"));
    header.extend(["wins against SFT", "KL in nats", "tokens", "cut off"]);
    let named = |name: &str, row: &PolicyRow| {
        let kl = match (row.kl_nats, row.kl_kind) {
            (Some(_), _) if row.policy == Policy::Trained => {
                format!("{} from sft", kl_from_sft(row))
            }
            (Some(kl), Some(KlKind::Estimate)) => format!("{} from init", fixed(kl, 2)),
            (Some(kl), _) => format!("≤ {} from sft", fixed(kl, 2)),
            (None, _) => "–".to_owned(),
        };
        let difference = |gain: f64, interval: [f64; 2]| match row.policy {
            Policy::Sft => plain("–"),
            _ => Cell {
                text: format!("{} {}", numbers.signed(gain), numbers.interval(interval)),
                tone: tone(interval),
            },
        };
        let controlled = row
            .length_controlled_gain
            .zip(row.length_controlled_gain_ci95)
            .map_or_else(|| plain("–"), |(gain, interval)| difference(gain, interval));
        let mut cells = vec![
            plain(name),
            plain(&numbers.with_half(row.golden_mean, row.golden_ci95)),
            difference(row.delta_vs_sft, row.delta_vs_sft_ci95),
        ];
        cells.extend(with_trained.then_some(controlled));
        cells.extend([
            plain(&row.win_rate_vs_sft.map_or_else(|| "–".to_owned(), share)),
            plain(&kl),
            plain(&fixed(row.mean_length, 1)),
            plain(&share(row.cut_off)),
        ]);
        cells
    };
    let mut rows = Vec::new();
    rows.extend(summary.policy(Policy::Init).map(|row| named("init", row)));
    rows.extend(summary.policy(Policy::Sft).map(|row| named("sft", row)));
    rows.extend(summary.trained().map(|row| named(row.name(), row)));
    for ranker in &summary.rankers {
        if let Some(row) = summary.headline(&ranker.ranker) {
            let name = format!("best of {} by {}", summary.headline_n, ranker.ranker);
            rows.push(named(&name, row));
        }
    }
    let demonstrator = &summary.reference.demonstrator;
    let golden = numbers.with_half(demonstrator.golden_mean, demonstrator.golden_ci95);
    let mut last = vec![plain("demonstrator"), plain(&golden), plain("–")];
    last.extend(with_trained.then(|| plain("–")));
    last.push(plain(&share(demonstrator.win_rate_vs_sft)));
    last.extend(["–", "–", "–"].map(plain));
    rows.push(last);
    Table {
        content: Content::Numbers,
        header: header.into_iter().map(str::to_owned).collect(),
        rows,
        note: format!(
            "± is half of the {} % interval. Bold: better than SFT beyond chance (the paired \
             interval lies above zero). Italic: worse beyond chance.",
            percent(CONFIDENCE)
        ),
    }
}

fn best_of_n(summary: &Summary, numbers: Numbers) -> Table {
    let mut header = vec!["ranker".to_owned()];
    header.extend(summary.all_n().iter().map(|n| format!("N = {n}")));
    let row = |ranker: &RankerSummary| {
        let mut cells = vec![plain(&ranker.ranker)];
        cells.extend(summary.best_of_n(&ranker.ranker).map(|row| Cell {
            text: numbers.with_half(row.golden_mean, row.golden_ci95),
            tone: tone(row.delta_vs_sft_ci95),
        }));
        cells
    };
    Table {
        content: Content::Numbers,
        header,
        rows: summary.rankers.iter().map(row).collect(),
        note:
            "Mean golden reward of the chosen answer. Bold and italic as above. The row `golden` \
               is the ceiling: the golden reward itself chooses."
                .to_owned(),
    }
}

fn rankers(summary: &Summary) -> Table {
    let header = [
        "ranker",
        "correlation with golden",
        "rank correlation",
        "correlation with length",
        "held-out accuracy",
        "AUC",
        "surface AUC",
        "closed form's AUC",
        "loss in nats",
        "pairs",
        "best N",
        "N unseen",
        "regret",
    ];
    let optional = |value: Option<f64>, decimals| {
        plain(&value.map_or_else(|| "–".to_owned(), |value| fixed(value, decimals)))
    };
    let row = |ranker: &RankerSummary| {
        let auc = optional(ranker.eval_auc, 3);
        let auc = if is_suspicious(ranker) {
            Cell {
                text: format!("{} red flag", auc.text),
                tone: Tone::Alarm,
            }
        } else {
            auc
        };
        vec![
            plain(&ranker.ranker),
            optional(ranker.pearson_within_prompt_golden, 2),
            optional(ranker.spearman_within_prompt_golden, 2),
            optional(ranker.pearson_within_prompt_length, 2),
            optional(ranker.eval_accuracy, 3),
            auc,
            optional(ranker.shallow_auc, 3),
            optional(ranker.closed_form_auc, 3),
            optional(ranker.eval_loss, 3),
            plain(
                &ranker
                    .pairs
                    .map_or_else(|| "–".to_owned(), |pairs| pairs.to_string()),
            ),
            plain(&ranker.peak_n.to_string()),
            plain(
                &ranker
                    .n_without_golden
                    .map_or_else(|| "–".to_owned(), |n| n.to_string()),
            ),
            optional(ranker.regret, 2),
        ]
    };
    Table {
        content: Content::Numbers,
        header: header.map(str::to_owned).to_vec(),
        rows: summary.rankers.iter().map(row).collect(),
        note: "Correlations are within a prompt, averaged over prompts: what matters for choosing \
               an answer. Accuracy, AUC and loss are the reward model's own, on held-out pairs of \
               its two classes; an origin AUC above 0.95 is a red flag. Surface AUC is what the best \
               classifier on length, format, features or words alone makes of the same answers, the \
               closed form's what the log-ratio of the two policies does. N unseen is where the other \
               rewards like its choice best, which needs no golden reward; the regret is what that \
               costs against the best N."
            .to_owned(),
    }
}

fn dialogues(
    summary: &Summary,
    data: &Data<'_>,
    golden: &[GoldenRow],
    examples: usize,
    numbers: Numbers,
) -> Vec<Block> {
    let total = data.asked.dialogues.len();
    let show = |number: usize| {
        let (dialogue, rewards) = (&data.asked.dialogues[number], &golden[number]);
        let of_sft = &data.sft.shown[&number];
        let answer = |who: &str, text: &str, golden: f64| Answer {
            who: who.to_owned(),
            golden: numbers.plain(golden),
            text: text.trim().to_owned(),
        };
        let mut answers = vec![
            answer("init", &data.init.shown[&number][0], rewards.init[0]),
            answer("sft", &of_sft[0], rewards.sft[0]),
        ];
        for policy in &data.policies {
            answers.push(answer(
                &policy.name,
                &policy.answers.shown[&number][0],
                rewards.policy(&policy.name)[0],
            ));
        }
        for ranker in &data.rankers {
            if ranker.name == "init-sft" || ranker.name == CLOSED_FORM {
                let best = first_best(&ranker.scores[number][..summary.headline_n]);
                answers.push(answer(
                    &format!("best of {} by {}", summary.headline_n, ranker.name),
                    &of_sft[best],
                    rewards.sft[best],
                ));
            }
        }
        answers.push(answer(
            "demonstration",
            &dialogue.demonstration,
            rewards.demonstration,
        ));
        Block::Dialogue(Dialogue {
            title: format!("Prompt {} of {total}", number + 1),
            prompt: dialogue.prompt.trim().to_owned(),
            answers,
        })
    };
    at_equal_distances(examples, total).map(show).collect()
}

/// The place of the highest score, the first of equals.
fn first_best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = index;
        }
    }
    best
}

fn glossary(summary: &Summary) -> Vec<String> {
    let trivial: Vec<String> = summary
        .rankers
        .iter()
        .filter(|ranker| ranker.kind == RankerKind::Trivial)
        .map(|ranker| ranker.ranker.clone())
        .collect();
    let mut items = vec![
        format!(
            "Golden reward: {}, held out from all training. Higher is better; it has no unit.",
            summary.golden
        ),
        format!(
            "Intervals hold the true value in {} % of cases: percentile bootstrap over the {} \
             prompts. Differences are paired: both sides on the same resampled prompts.",
            percent(CONFIDENCE),
            summary.prompts
        ),
        "Wins against SFT: the chance that an answer has a higher golden reward than one of SFT's \
         stored answers to the same prompt, drawn at random; ties count half."
            .to_owned(),
        "KL from init is the mean log-ratio of SFT's own answers, in nats; it is a fair estimate \
         if they were drawn at temperature 1 and top-p 1. KL of best-of-N from sft is the upper \
         bound ln N − (N − 1)/N."
            .to_owned(),
        "init-sft, init-demo and sft-demo are classifiers of who wrote an answer; preference is \
         trained on pairs of preferred and dispreferred answers; closed-form is log pi_sft − log \
         pi_0, which needs no training."
            .to_owned(),
    ];
    items.extend(contest::glossary(summary));
    items.extend(trained::glossary(summary));
    items.extend(behaviour::glossary(summary));
    if !trivial.is_empty() {
        items.push(format!("Rankers without training: {}.", list(&trivial)));
    }
    items
}

pub(super) fn plain(text: &str) -> Cell {
    Cell {
        text: text.to_owned(),
        tone: Tone::Plain,
    }
}

pub(super) fn tone(difference: [f64; 2]) -> Tone {
    match difference {
        [low, _] if low > 0.0 => Tone::Strong,
        [_, high] if high < 0.0 => Tone::Weak,
        _ => Tone::Plain,
    }
}

pub(super) fn share(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

/// Tooltip of a point: `0.52 ± 0.06`.
pub(super) fn point(row: &PolicyRow, numbers: Numbers) -> String {
    format!(
        "N = {}: {} ± {}",
        row.n,
        numbers.plain(row.golden_mean),
        numbers.plain(half(row.golden_ci95))
    )
}
