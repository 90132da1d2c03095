//! Golden rewards of all answers, kept prompt by prompt so that a kill costs one prompt at most.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use afd_data::records::read_jsonl;
use afd_model::Scorer;
use afd_stage::StageContext;
use afd_stats::is_constant;
use serde::{Deserialize, Serialize};

use crate::{Error, inputs::Dialogue};

/// The file that holds a [`GoldenRow`] for each prompt.
pub(crate) const FILE: &str = "golden.jsonl";

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
}

/// Scores what an interrupted attempt has not, and returns all rows.
pub(crate) fn score(
    dialogues: &[Dialogue],
    golden: &dyn Scorer,
    name: &str,
    ctx: &StageContext,
) -> Result<Vec<GoldenRow>, Error> {
    let path = ctx.dir().join(FILE);
    let done = keep_whole_lines(&path)?;
    let total = dialogues.len() as u64;
    let mut file = io(
        &path,
        "open",
        File::options().create(true).append(true).open(&path),
    )?;
    for (number, dialogue) in dialogues.iter().enumerate().skip(done) {
        let row = score_prompt(number, dialogue, golden, name)?;
        let mut line = serde_json::to_vec(&row).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        line.push(b'\n');
        io(&path, "write", file.write_all(&line))?;
        ctx.progress(number as u64 + 1, total, "prompt", "golden rewards");
    }
    io(&path, "write", file.sync_all())?;

    // Read back rather than kept: a resumed attempt has to compute with the same bits.
    let rows: Vec<GoldenRow> = read_jsonl(&path)?;
    let judges = |row: &GoldenRow| {
        let first = rows[0].demonstration;
        row.demonstration != first
            || [&row.init, &row.sft]
                .iter()
                .any(|v| v[0] != first || !is_constant(v))
    };
    if !rows.iter().any(judges) {
        return Err(Error::GoldenConstant {
            golden: name.to_owned(),
        });
    }
    Ok(rows)
}

fn score_prompt(
    number: usize,
    dialogue: &Dialogue,
    golden: &dyn Scorer,
    name: &str,
) -> Result<GoldenRow, Error> {
    let prompt = number + 1;
    let samples = dialogue.init.iter().chain(&dialogue.sft);
    let answers = samples
        .map(|sample| sample.completion.as_str())
        .chain([dialogue.demonstration.as_str()]);
    let pairs: Vec<(&str, &str)> = answers
        .map(|answer| (dialogue.prompt.as_str(), answer))
        .collect();
    let mut init = golden.score(&pairs).map_err(|source| Error::Golden {
        golden: name.to_owned(),
        prompt,
        source,
    })?;
    if init.len() != pairs.len() {
        return Err(Error::GoldenCount {
            golden: name.to_owned(),
            prompt,
            expected: pairs.len(),
            got: init.len(),
        });
    }
    let samples = dialogue.init.len();
    if let Some(index) = init.iter().position(|reward| !reward.is_finite()) {
        let answer = if index < samples {
            format!("answer {index} of the initial policy")
        } else if index + 1 < pairs.len() {
            format!("answer {} of the SFT policy", index - samples)
        } else {
            "the demonstration".to_owned()
        };
        let reward = init[index];
        return Err(Error::GoldenNotFinite {
            golden: name.to_owned(),
            prompt,
            answer,
            reward,
        });
    }
    let mut sft = init.split_off(samples);
    let demonstration = sft.pop().unwrap_or_default();
    Ok(GoldenRow {
        prompt: dialogue.prompt.clone(),
        init,
        sft,
        demonstration,
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
