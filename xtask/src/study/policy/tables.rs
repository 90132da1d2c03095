//! The results as tables of Markdown.

use std::fmt::Write;

use crate::study::seeds::{self, NOTHING, mean_and_half};

use super::curves::{self, Curve};
use super::results::{Results, Row, UNTOUCHED};

/// The divergences at which all are compared, in nats.
const COMMON: [f64; 2] = [0.5, 1.0];

/// The whole page.
pub(super) fn markdown(results: &Results, done: usize, of: usize) -> String {
    let seeds: Vec<String> = results.seeds().iter().map(u64::to_string).collect();
    let mut text = format!(
        "# Which policy?\n\n\
         Written by `cargo xtask study policy` from `results.jsonl`: {done} of {of} runs of \
         `configs/study-policy.toml`, seeds {}.\n\n\
         Every run fine-tunes the base model on demonstrations of the synthetic world, learns reward \
         models of its answers, makes policies of the fine-tuned one, and draws their answers to \
         held-out prompts. Each line below is a way to a policy with what it is paid by, at a few \
         strengths. **Nothing was chosen by golden reward**: the strengths were fixed beforehand, all \
         of them are shown, and no training was stopped or picked by it.\n\n\
         - *Gain*: golden reward less that of the fine-tuned policy; *at its length*: less what the \
         fine-tuned policy's answers gain by as many more tokens.\n\
         - *KL*: divergence from the fine-tuned policy in nats an answer, by the policy's own answers. \
         Best-of-N has none measured: ≤ is log N − (N − 1)/N, which is often far more than it is.\n\
         - *Proxy gain*: what the reward that is learned from, or that chooses, says of the answers, \
         less what it says of the fine-tuned policy's, in units of its own; {NOTHING} where that is no \
         reward model.\n\
         - *Rank*: the rank correlation of that reward with the golden one among the policy's own answers to a \
         prompt: whether it can still tell them apart where the policy has gone.\n\
         - *Training tokens*, in thousands: those learned from, once for each pass, those that the reference of \
         DPO and SPIN reads beforehand, and those drawn on the way, with all that a policy was made on top \
         of. The stored answers that many learn from, and what rewards, references and value models read \
         while a policy learns from its own answers, are not among them. \
         *Inference tokens* are read by a model one by one for each answer given: N \
         answers for Best-of-N, without what its ranker reads, and twice for `logits`, where two models \
         read.\n\n\
         Preferences, where they are the reward, are as noisy as people's: of two answers the first is preferred \
         with probability σ(golden₁ − golden₂).\n\n\
         ± is half of a 95 % t-interval over seeds; figures without are means over seeds.\n\n\
         ![Golden gain over KL](gain.svg)\n\n\
         Dashed: Best-of-N at its bound, by some of its rankers; the tables have all.\n\n\
         ![Proxy gain beside golden gain](proxy.svg)\n",
        seeds.join(", ")
    );
    let curves = curves::all();
    common(&mut text, results, &curves);
    beside(&mut text, results);
    for curve in &curves {
        strengths(&mut text, results, curve);
    }
    text
}

/// Every line at the same divergences.
fn common(text: &mut String, results: &Results, curves: &[Curve]) {
    let heads = COMMON.map(|kl| format!("{kl:.1} nats"));
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "\n## At a common KL\n\n\
         Gain where the KL from the fine-tuned policy is that much, by straight lines between the \
         strengths of each seed, beginning at no KL and no gain; {NOTHING} where they do not get that \
         far, and how many seeds do where not all. Best-of-N stands at its bound: it gets there \
         with less KL.\n\n\
         | line | {} |\n| :--- |{}",
        heads.join(" | "),
        " ---: |".repeat(heads.len())
    );
    for curve in curves {
        let cells = COMMON.map(|kl| curve.at(results, kl));
        if cells.iter().all(|(_, seeds)| *seeds == 0) {
            continue;
        }
        let cells = cells.map(|(gains, seeds)| match gains.len() {
            0 => NOTHING.to_owned(),
            count if count < seeds => format!("{} ({count} of {seeds})", seeds::cell(&gains)),
            _ => seeds::cell(&gains),
        });
        let _ = writeln!(text, "| {curve} | {} |", cells.join(" | "));
    }
}

/// What the lines begin at, and what they are meant to get to.
fn beside(text: &mut String, results: &Results) {
    let _ = writeln!(
        text,
        "\n## Without any of it\n\n\
         | | golden reward | gain | tokens | entropy | EOS rate | distinct-2 |\n\
         | :--- | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for name in UNTOUCHED {
        let rows = results.untouched(name);
        if rows.is_empty() {
            continue;
        }
        let cells = [
            interval(&rows, |row| Some(row.golden)),
            interval(&rows, |row| Some(row.gain)),
            mean(&rows, 1, |row| row.mean_length),
            mean(&rows, 1, |row| row.entropy),
            mean(&rows, 2, |row| row.eos_rate),
            mean(&rows, 2, |row| row.distinct_2),
        ];
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
}

/// A line at each of its strengths.
fn strengths(text: &mut String, results: &Results, curve: &Curve) {
    let strengths = curve.by_strength(results);
    if strengths.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n## {curve}\n\n\
         | {} | gain | at its length | KL | proxy gain | rank | entropy | EOS rate | distinct-2 | training \
         tokens | inference tokens |\n|{}",
        curve.line.strength,
        " ---: |".repeat(11)
    );
    for (strength, rows) in strengths {
        let kl = match curve.is_bound() {
            true => format!("≤ {}", mean(&rows, 2, |row| row.kl)),
            false => interval(&rows, |row| row.kl),
        };
        let cells = [
            interval(&rows, |row| Some(row.gain)),
            interval(&rows, |row| row.length_controlled_gain),
            kl,
            interval(&rows, |row| row.proxy_gain),
            mean(&rows, 2, |row| row.proxy_rank),
            mean(&rows, 1, |row| row.entropy),
            mean(&rows, 2, |row| row.eos_rate),
            mean(&rows, 2, |row| row.distinct_2),
            mean(&rows, 0, |row| Some(row.training_tokens as f64 / 1000.0)),
            mean(&rows, 0, |row| row.inference_tokens),
        ];
        let _ = writeln!(text, "| {strength} | {} |", cells.join(" | "));
    }
}

fn interval(rows: &[&Row], of: fn(&Row) -> Option<f64>) -> String {
    let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
    seeds::cell(&values)
}

fn mean(rows: &[&Row], digits: usize, of: fn(&Row) -> Option<f64>) -> String {
    let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
    mean_and_half(&values).map_or_else(
        || NOTHING.to_owned(),
        |(mean, _)| format!("{mean:.digits$}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::policy::cases::SELECTION;
    use crate::study::policy::results::tests::row;

    fn page(rows: Vec<Row>) -> String {
        markdown(&Results { rows }, 3, 75)
    }

    #[test]
    fn strengths_stand_one_below_the_other_with_intervals_over_seeds() {
        let text = page(vec![
            row(0, 1.0, 0.4, 0.2),
            row(1, 1.0, 0.6, 0.4),
            row(0, 0.5, 1.0, 0.5),
        ]);
        assert!(text.contains("3 of 75 runs"), "{text}");
        assert!(text.contains("seeds 0, 1."), "{text}");
        // t(1) = 12.706, standard errors 0.1, 0.05, 0.1 and 0.3.
        let both = "| 1 | 0.30 ± 1.27 | 0.15 ± 0.64 | 0.50 ± 1.27 | 0.90 ± 3.81 | 0.30 | 12.2 | 0.99 | \
                    0.75 | 123 | 40 |";
        assert!(text.contains(both), "{text}");
        let alone = "| 0.5 | 0.50 | 0.25 | 1.00 | 1.50 | 0.30 | 12.2 | 0.99 | 0.75 | 123 | 40 |";
        assert!(text.contains(alone), "{text}");
        // Seed 0: 0.2 + 0.3 / 6 at 0.5 nats; seed 1: 0.4 · 5 / 6, and it ends before 1 nat.
        assert!(
            text.contains("| rloo (init-sft) | 0.29 ± 0.53 | 0.50 (1 of 2) |"),
            "{text}"
        );
        assert!(text.contains("## rloo (init-sft)"), "{text}");
        assert!(!text.contains("dpo"), "{text}");
    }

    #[test]
    fn a_bound_is_marked_and_what_is_not_known_left_open() {
        let best = Row {
            line: SELECTION.to_owned(),
            entropy: None,
            distinct_2: None,
            training_tokens: 0,
            inference_tokens: Some(160.0),
            ..row(0, 4.0, 0.636, 0.25)
        };
        let demonstrator = Row {
            line: "demonstrator".to_owned(),
            reward: "none".to_owned(),
            strength: None,
            kl: None,
            mean_length: None,
            entropy: None,
            eos_rate: None,
            distinct_2: None,
            ..row(0, 0.0, 0.0, 2.0)
        };
        let text = page(vec![best, demonstrator]);
        let line = "| 4 | 0.25 | 0.12 | ≤ 0.64 | 0.75 | 0.30 | – | 0.99 | – | 0 | 160 |";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("| Best-of-N (init-sft) | 0.20 | – |"),
            "{text}"
        );
        assert!(
            text.contains("| demonstrator | 2.50 | 2.00 | – | – | – | – |"),
            "{text}"
        );
    }
}
