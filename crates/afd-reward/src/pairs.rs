//! Preference rows from two sources of answers to the same prompts.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use afd_data::records::{Example, JsonlWriter, PreferenceRow, Sample, read_jsonl};
use afd_stage::StageContext;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Which two distributions the reward model tells apart: the heart of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl PairSource {
    /// All sources, in the order the pipeline learns them.
    pub const ALL: [Self; 4] = [
        Self::InitSft,
        Self::InitDemo,
        Self::SftDemo,
        Self::Preference,
    ];

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

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sft => "sft",
            Self::Demonstration => "demonstration",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
        }
    }
}

/// The files pairs are made from.
#[derive(Debug, Clone)]
pub struct PairInputs {
    /// [`Example`] rows of prompts SFT did not see.
    pub examples: PathBuf,
    /// The initial policy's answers to them, if a source needs these.
    pub init_samples: Option<PathBuf>,
    /// The fine-tuned policy's answers to them, if a source needs these.
    pub sft_samples: Option<PathBuf>,
}

/// The file of [`PreferenceRow`]s in the stage's directory.
pub const PAIRS: &str = "pairs.jsonl";

/// Writes the pairs of `source`, prompts in the order of the examples.
///
/// Answer `k` of one side meets answer `k` of the other, the shorter list being gone
/// through again, so both classes have the same number of rows and the same prompts. Pairs
/// of equal text stay: to binary cross-entropy they say that neither side is likelier. Empty
/// answers hold nothing to read and are left out; `summary.json` counts them.
///
/// # Errors
/// [`Error::NoPairs`] when no prompt has both sides.
pub fn run(source: PairSource, inputs: &PairInputs, ctx: &StageContext) -> Result<(), Error> {
    let examples: Vec<Example> = read_jsonl(&inputs.examples)?;
    let init = Answers::read(inputs.init_samples.as_deref())?;
    let sft = Answers::read(inputs.sft_samples.as_deref())?;
    let (chosen, rejected) = source.sides();
    let mut writer = JsonlWriter::create(&ctx.dir().join(PAIRS))?;
    for group in by_prompt(&examples) {
        let side = |side: Side| -> Vec<&str> {
            match side {
                Side::Init => init.to(&group[0].prompt),
                Side::Sft => sft.to(&group[0].prompt),
                Side::Demonstration => field(&group, |e| e.completion.as_deref()),
                Side::Chosen => field(&group, |e| e.chosen.as_deref()),
                Side::Rejected => field(&group, |e| e.rejected.as_deref()),
            }
        };
        let (better, worse) = (side(chosen), side(rejected));
        if better.is_empty() || worse.is_empty() {
            continue;
        }
        for k in 0..better.len().max(worse.len()) {
            let (better, worse) = (better[k % better.len()], worse[k % worse.len()]);
            writer.write(&PreferenceRow {
                prompt: group[0].prompt.clone(),
                chosen: better.to_owned(),
                rejected: worse.to_owned(),
                chosen_source: chosen.name().into(),
                rejected_source: rejected.name().into(),
            })?;
        }
    }
    if writer.rows() == 0 {
        return Err(Error::NoPairs {
            chosen: chosen.name(),
            rejected: rejected.name(),
        });
    }
    let summary = serde_json::json!({
        "pairs": writer.finish()?,
        "empty_init_answers": init.empty,
        "empty_sft_answers": sft.empty,
    });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// Examples grouped by prompt, in order of first appearance.
fn by_prompt(examples: &[Example]) -> Vec<Vec<&Example>> {
    let mut groups: Vec<Vec<&Example>> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for example in examples {
        let group = *index.entry(&example.prompt).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(example);
    }
    groups
}

/// The answers of a samples file by prompt, in their order.
#[derive(Default)]
struct Answers {
    by_prompt: HashMap<String, Vec<String>>,
    empty: usize,
}

impl Answers {
    fn read(path: Option<&Path>) -> Result<Self, Error> {
        let mut answers = Self::default();
        for sample in path.map_or(Ok(Vec::new()), read_jsonl::<Sample>)? {
            if sample.completion.trim().is_empty() {
                answers.empty += 1;
                continue;
            }
            let texts = answers.by_prompt.entry(sample.prompt).or_default();
            texts.push(sample.completion);
        }
        Ok(answers)
    }

    fn to(&self, prompt: &str) -> Vec<&str> {
        let texts = self.by_prompt.get(prompt).into_iter().flatten();
        texts.map(String::as_str).collect()
    }
}

fn field<'a>(group: &[&'a Example], get: impl Fn(&'a Example) -> Option<&'a str>) -> Vec<&'a str> {
    group.iter().filter_map(|example| get(example)).collect()
}
