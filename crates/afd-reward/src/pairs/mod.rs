//! Preference rows from two sources of answers: which two distributions a reward model separates.

mod answers;
mod folds;
mod given;
mod mix;
mod part;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use afd_data::records::{JsonlWriter, PreferenceRow};
use afd_stage::{StageContext, seed::derive};
use serde::{Deserialize, Serialize};

use crate::Error;
pub use answers::Field;
use answers::{Answers, same_content};
pub use folds::{FOLDS, write_folds};
pub use given::{are_pairs, copy_pairs, write_preferences};
pub use mix::{Share, mix};
pub use part::{Part, take};

/// The `[pairs]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairsConfig {
    /// The sources of which reward models are learned.
    pub sources: Vec<PairSource>,
    /// Whose prompts the policies' answers are to.
    pub prompts: Prompts,
    /// Whether both answers of a pair are to one prompt, as preferences always are. If not, no prompt
    /// is on both sides.
    pub matched: bool,
    /// Further reward models by name, each of several sources' pairs: their shares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mixtures: BTreeMap<String, BTreeMap<PairSource, f64>>,
    /// Further reward models by name, each of some prompts of a source: one of them may learn from prompts
    /// that another, which is only watched, did not see.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, Part>,
}

/// Which two distributions the reward model tells apart: the heart of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairSource {
    /// Chosen: the fine-tuned policy's answers; rejected: the initial policy's.
    InitSft,
    /// Chosen: demonstrations; rejected: the initial policy's answers.
    InitDemo,
    /// Chosen: demonstrations; rejected: the fine-tuned policy's answers.
    SftDemo,
    /// Chosen and rejected as the data says: human preference.
    Preference,
}

/// Whose prompts the policies answer for the reward model's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompts {
    /// Those of the split `reward`, which fine-tuning did not see.
    Unseen,
    /// Fine-tuning's own: its answers may be demonstrations remembered, which would turn Init-SFT
    /// into Init-Demo. For comparison.
    Sft,
    /// Fine-tuning's own, in two folds, each answered by a policy that was fine-tuned on the other:
    /// for few demonstrations, where none can be kept apart.
    CrossFitted,
}

impl PairsConfig {
    /// The names of all reward models, in the order they are learned.
    pub fn names(&self) -> Vec<&str> {
        let sources = self.sources.iter().map(|source| source.name());
        sources
            .chain(self.mixtures.keys().map(String::as_str))
            .chain(self.parts.keys().map(String::as_str))
            .collect()
    }

    /// Every value out of range: the key, and what it must be.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: String, rule: String| problems.push((key, rule));
        if self.sources.is_empty() && self.mixtures.is_empty() {
            problem("sources".into(), "must name at least one source".into());
        }
        for (index, source) in self.sources.iter().enumerate() {
            if self.sources[..index].contains(source) {
                let rule = format!("names \"{}\" twice", source.name());
                problem("sources".into(), rule);
            }
        }
        for (name, shares) in &self.mixtures {
            let key = format!("mixtures.{name}");
            if !is_free_name(name) {
                let rule = "must have a name of its own, of letters a to z, digits and -";
                problem(key.clone(), rule.into());
            }
            if shares.len() < 2 || shares.values().any(|w| !(*w > 0.0 && w.is_finite())) {
                let rule = "must give two or more sources a share above 0";
                problem(key.clone(), rule.into());
            }
            if let Some(other) = shares.keys().find(|source| !self.sources.contains(source)) {
                let rule = format!(
                    "takes \"{}\", which must stand in pairs.sources too",
                    other.name()
                );
                problem(key, rule);
            }
        }
        for (name, part) in &self.parts {
            let key = format!("parts.{name}");
            if !is_free_name(name) || self.mixtures.contains_key(name) {
                let rule = "must have a name of its own, of letters a to z, digits and -";
                problem(key.clone(), rule.into());
            }
            if !part.is_sound() {
                let rule = "must go from one share of the prompts to a larger one, 0 to 1";
                problem(key.clone(), rule.into());
            }
            if !self.sources.contains(&part.of) {
                let rule = format!(
                    "takes \"{}\", which must stand in pairs.sources too",
                    part.of.name()
                );
                problem(key, rule);
            }
        }
        problems
    }
}

/// Whether a reward or ranker may have this name: it is part of paths, and not another's.
pub fn is_free_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(plain) && !TAKEN.contains(&name)
}

/// Names of reward models and rankers that are not a mixture's to take.
const TAKEN: [&str; 11] = [
    "init-sft",
    "init-demo",
    "sft-demo",
    "preference",
    "judge",
    "closed-form",
    "mean-logprob",
    "longest",
    "shortest",
    "random",
    "golden",
];

impl PairSource {
    /// The reward model's name in run directories and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitSft => "init-sft",
            Self::InitDemo => "init-demo",
            Self::SftDemo => "sft-demo",
            Self::Preference => "preference",
        }
    }

    fn sides(self) -> (Side, Side) {
        match self {
            Self::InitSft => (Side::Sft, Side::Init),
            Self::InitDemo => (Side::Demonstration, Side::Init),
            Self::SftDemo => (Side::Demonstration, Side::Sft),
            Self::Preference => (Side::Chosen, Side::Rejected),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Init,
    Sft,
    Demonstration,
    Chosen,
    Rejected,
}

/// The files of a run that pairs are made from.
#[derive(Debug, Clone)]
pub struct PairInputs {
    /// [`afd_data::records::Example`] rows.
    pub examples: PathBuf,
    /// [`afd_data::records::Sample`] rows: the initial policy's answers to their prompts, if a
    /// source needs these.
    pub init_samples: Vec<PathBuf>,
    /// The fine-tuned policy's, if a source needs these.
    pub sft_samples: Vec<PathBuf>,
}

impl PairInputs {
    fn answerer(&self, side: Side) -> Answerer {
        let (name, files, field) = match side {
            Side::Init => ("init", &self.init_samples[..], Field::Completion),
            Side::Sft => ("sft", &self.sft_samples[..], Field::Completion),
            Side::Demonstration => ("demonstration", self.examples(), Field::Completion),
            Side::Chosen => ("chosen", self.examples(), Field::Chosen),
            Side::Rejected => ("rejected", self.examples(), Field::Rejected),
        };
        Answerer {
            name: name.to_owned(),
            files: files.to_vec(),
            field,
        }
    }

    fn examples(&self) -> &[PathBuf] {
        std::slice::from_ref(&self.examples)
    }
}

/// Somebody who answered prompts.
#[derive(Debug, Clone)]
pub struct Answerer {
    /// What rows call them.
    pub name: String,
    /// JSON Lines with `prompt` and `field`; what else a row holds is passed over.
    pub files: Vec<PathBuf>,
    /// Where the answers are.
    pub field: Field,
}

/// The file of [`PreferenceRow`]s in the stage's directory.
pub const PAIRS: &str = "pairs.jsonl";

/// Writes the pairs of `source`, as [`write_pairs`] does.
///
/// # Errors
/// Those of [`write_pairs`].
pub fn run(
    source: PairSource,
    matched: bool,
    inputs: &PairInputs,
    ctx: &StageContext,
) -> Result<(), Error> {
    let (chosen, rejected) = source.sides();
    let sides = (inputs.answerer(chosen), inputs.answerer(rejected));
    // What people prefer, they prefer to another answer to the same prompt.
    let matched = matched || source == PairSource::Preference;
    write_pairs(&sides.0, &sides.1, matched, ctx)
}

/// Writes pairs of the answers of two, prompts in the order in which the chosen side has them.
///
/// Matched: answer `k` of one side meets answer `k` of the other to the same prompt, the shorter
/// list being gone through again. Unmatched: a prompt that both sides answered goes to one of them
/// by lot, then the first answer of one side meets the first of the other, and so on until one side
/// has no more. Either way both classes have the same number of rows, so that the optimal logit is
/// not shifted.
///
/// Pairs of equal text stay: to binary cross-entropy they say that neither side is likelier. Empty
/// answers hold nothing to read and are left out; `summary.json` counts them, and states the
/// balance of the classes. Answers stay on disk: memory holds their places alone.
///
/// # Errors
/// [`Error::EmptyClass`] when a side has no answers, [`Error::NoPairs`] when they have no prompt in
/// common, [`Error::SameAnswers`] when both sides are the same file, or say the same throughout.
pub fn write_pairs(
    chosen: &Answerer,
    rejected: &Answerer,
    matched: bool,
    ctx: &StageContext,
) -> Result<(), Error> {
    let same = || Error::SameAnswers {
        chosen: chosen.name.clone(),
        rejected: rejected.name.clone(),
    };
    if chosen.field == rejected.field && same_content(&chosen.files, &rejected.files)? {
        return Err(same());
    }
    let mut better = Answers::index(chosen)?;
    let mut worse = Answers::index(rejected)?;
    let mut pairs = Pairs {
        writer: JsonlWriter::create(&ctx.dir().join(PAIRS))?,
        sources: (chosen.name.clone(), rejected.name.clone()),
        prompts: 0,
        equal: 0,
    };
    if matched {
        pairs.matched(&mut better, &mut worse)?;
    } else {
        pairs.unmatched(&mut better, &mut worse, ctx.seed())?;
    }
    let (rows, prompts, equal) = (pairs.writer.rows(), pairs.prompts, pairs.equal);
    if rows == 0 {
        return Err(Error::NoPairs {
            chosen: chosen.name.clone(),
            rejected: rejected.name.clone(),
        });
    }
    if matched && equal == rows {
        return Err(same());
    }
    let summary = serde_json::json!({
        "pairs": pairs.writer.finish()?,
        "prompts": prompts,
        "matched": matched,
        // Rows of each class, and the answers they were drawn from.
        "balance": { "chosen": rows, "rejected": rows },
        "answers": { "chosen": better.len(), "rejected": worse.len() },
        "equal_answers": equal,
        "empty_answers": { "chosen": better.empty(), "rejected": worse.empty() },
    });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// Rows under way.
struct Pairs {
    writer: JsonlWriter<PreferenceRow>,
    sources: (String, String),
    prompts: u64,
    equal: u64,
}

impl Pairs {
    fn matched(&mut self, chosen: &mut Answers, rejected: &mut Answers) -> Result<(), Error> {
        for number in 0..chosen.prompts() {
            let (prompt, better) = chosen.read(number)?;
            let worse = rejected.to(&prompt)?;
            if worse.is_empty() {
                continue;
            }
            self.prompts += 1;
            for k in 0..better.len().max(worse.len()) {
                let (better, worse) = (&better[k % better.len()], &worse[k % worse.len()]);
                self.write(&prompt, better, None, worse)?;
            }
        }
        Ok(())
    }

    fn unmatched(
        &mut self,
        chosen: &mut Answers,
        rejected: &mut Answers,
        seed: u64,
    ) -> Result<(), Error> {
        let lot = |prompt: &str| derive(seed, prompt, 0).is_multiple_of(2);
        let mut better = Vec::new();
        let (mut next, mut taken) = (0, 0);
        for number in 0..rejected.prompts() {
            let (other, worse) = rejected.read(number)?;
            if chosen.has(&other) && lot(&other) {
                continue;
            }
            for worse in &worse {
                while taken == better.len() {
                    if next == chosen.prompts() {
                        return Ok(());
                    }
                    let (prompt, answers) = chosen.read(next)?;
                    next += 1;
                    if rejected.has(&prompt) && !lot(&prompt) {
                        continue;
                    }
                    self.prompts += 1;
                    taken = 0;
                    better = answers.into_iter().map(|a| (prompt.clone(), a)).collect();
                }
                let (prompt, better) = &better[taken];
                taken += 1;
                self.write(prompt, better, Some(&other), worse)?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        prompt: &str,
        chosen: &str,
        rejected_prompt: Option<&str>,
        rejected: &str,
    ) -> Result<(), Error> {
        self.equal += u64::from(rejected_prompt.is_none() && chosen == rejected);
        self.writer.write(&PreferenceRow {
            prompt: prompt.to_owned(),
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
            rejected_prompt: rejected_prompt.map(str::to_owned),
            chosen_source: self.sources.0.clone(),
            rejected_source: self.sources.1.clone(),
        })?;
        Ok(())
    }
}
