//! Golden rewards of all answers, kept prompt by prompt so that a kill costs one prompt at most.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use afd_data::records::{Sample, read_jsonl};
use afd_model::Scorer;
use afd_stage::StageContext;
use afd_stats::is_constant;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    inputs::{Asked, SampleFile},
};

/// The file that holds a [`GoldenRow`] for each prompt.
pub const FILE: &str = "golden.jsonl";

/// The golden rewards of the answers to a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// The prompt answered.
    pub prompt: String,
    /// Of each sample of the initial policy.
    pub init: Vec<f64>,
    /// Of each sample of the SFT policy.
    pub sft: Vec<f64>,
    /// Of the demonstration.
    pub demonstration: f64,
    /// Of each sample of the other policies, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, Vec<f64>>,
}

impl GoldenRow {
    /// Of each sample of one of the other policies; nothing if there is none of this name.
    pub(crate) fn policy(&self, name: &str) -> &[f64] {
        self.policies.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Scores what an interrupted attempt has not, and returns all rows. Holds the texts of one prompt at a time.
pub(crate) fn score(
    asked: &Asked<'_>,
    golden: &dyn Scorer,
    name: &str,
    ctx: &StageContext,
) -> Result<Vec<GoldenRow>, Error> {
    let path = ctx.dir().join(FILE);
    let done = keep_whole_lines(&path)?;
    let mut file = io(
        &path,
        "open",
        File::options().create(true).append(true).open(&path),
    )?;
    let total = asked.dialogues.len();
    // Where nothing is missing, no answer is read.
    let missing = (done < total).then(|| asked.answers()).transpose()?;
    for (number, answers) in missing.into_iter().flatten().enumerate() {
        let answers = answers?;
        if number < done {
            continue;
        }
        let row = score_prompt(number, asked, &answers, golden, name)?;
        let mut line = serde_json::to_vec(&row).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        line.push(b'\n');
        io(&path, "write", file.write_all(&line))?;
        ctx.progress(number as u64 + 1, total as u64, "prompt", "golden rewards");
    }
    io(&path, "write", file.sync_all())?;

    // Read back rather than kept: a resumed attempt has to compute with the same bits.
    let rows: Vec<GoldenRow> = read_jsonl(&path)?;
    match rows.len() == total {
        true => Ok(rows),
        // Somebody wrote the files of answers meanwhile.
        false => Err(Error::PromptCount {
            path,
            other: asked.sft.path.into(),
            expected: total,
            got: rows.len(),
        }),
    }
}

/// # Errors
/// [`Error::GoldenConstant`] when all answers have one reward, so that nothing can be told by it.
pub(crate) fn tells_apart(rows: &[GoldenRow], name: &str) -> Result<(), Error> {
    let judges = |row: &GoldenRow| {
        let first = rows[0].demonstration;
        row.demonstration != first
            || [&row.init, &row.sft]
                .into_iter()
                .chain(row.policies.values())
                .any(|v| v[0] != first || !is_constant(v))
    };
    if !rows.iter().any(judges) {
        return Err(Error::GoldenConstant {
            golden: name.to_owned(),
        });
    }
    Ok(())
}

/// `answers` to the prompt are those of each file in turn.
fn score_prompt(
    number: usize,
    asked: &Asked<'_>,
    answers: &[Vec<Sample>],
    golden: &dyn Scorer,
    name: &str,
) -> Result<GoldenRow, Error> {
    let (prompt, dialogue) = (number + 1, &asked.dialogues[number]);
    let texts = answers
        .iter()
        .flatten()
        .map(|sample| sample.completion.as_str())
        .chain([dialogue.demonstration.as_str()]);
    let pairs: Vec<(&str, &str)> = texts
        .map(|answer| (dialogue.prompt.as_str(), answer))
        .collect();
    let rewards = golden.score(&pairs).map_err(|source| Error::Golden {
        golden: name.to_owned(),
        prompt,
        source,
    })?;
    if rewards.len() != pairs.len() {
        return Err(Error::GoldenCount {
            golden: name.to_owned(),
            prompt,
            expected: pairs.len(),
            got: rewards.len(),
        });
    }
    let finite = |rewards: &[f64], answer: &dyn Fn(usize) -> String| {
        let Some(index) = rewards.iter().position(|reward| !reward.is_finite()) else {
            return Ok(());
        };
        Err(Error::GoldenNotFinite {
            golden: name.to_owned(),
            prompt,
            answer: answer(index),
            reward: rewards[index],
        })
    };
    let mut rest = rewards.as_slice();
    let mut by_policy = Vec::new();
    for (SampleFile { policy, .. }, samples) in asked.files().zip(answers) {
        let (own, after) = rest.split_at(samples.len());
        finite(own, &|index| format!("answer {index} of {policy}"))?;
        by_policy.push(own.to_vec());
        rest = after;
    }
    finite(rest, &|_| "the demonstration".to_owned())?;
    let mut by_policy = by_policy.into_iter();
    Ok(GoldenRow {
        prompt: dialogue.prompt.clone(),
        init: by_policy.next().unwrap_or_default(),
        sft: by_policy.next().unwrap_or_default(),
        demonstration: rest.first().copied().unwrap_or_default(),
        policies: asked
            .policies
            .iter()
            .map(|file| file.policy.to_owned())
            .zip(by_policy)
            .collect(),
    })
}

/// Cuts off a last line that a kill left torn; returns the number of lines.
fn keep_whole_lines(path: &Path) -> Result<usize, Error> {
    if !path.exists() {
        return Ok(0);
    }
    let file = io(
        path,
        "open",
        File::options().read(true).write(true).open(path),
    )?;
    let (mut lines, mut whole, mut line) = (0, 0, Vec::new());
    let mut reader = BufReader::new(&file);
    while io(path, "read", reader.read_until(b'\n', &mut line))? > 0 {
        if line.ends_with(b"\n") {
            lines += 1;
            whole += line.len() as u64;
        }
        line.clear();
    }
    io(path, "write", file.set_len(whole))?;
    Ok(lines)
}

fn io<T>(path: &Path, action: &'static str, result: std::io::Result<T>) -> Result<T, Error> {
    result.map_err(|cause| {
        afd_data::Error::Io {
            action,
            path: path.into(),
            cause,
        }
        .into()
    })
}
