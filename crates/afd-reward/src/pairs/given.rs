//! Preferences that somebody already has, as pairs.

use std::path::Path;

use afd_data::{
    RowError,
    records::{Example, JsonlReader, JsonlWriter, PreferenceRow},
};
use afd_stage::StageContext;

use super::PAIRS;
use crate::Error;

/// Whether a file holds pairs with their provenance, as a stage wrote them, and not preferences of
/// any other form.
///
/// # Errors
/// When the file cannot be read.
pub fn are_pairs(path: &Path) -> Result<bool, Error> {
    let first = JsonlReader::<serde_json::Value>::open(path)?.next();
    Ok(matches!(first, Some(Ok(row)) if row.get("chosen_source").is_some()))
}

/// Writes the rows of a file of pairs again.
///
/// # Errors
/// When a row cannot be read; [`Error::EmptyClass`] when there is none.
pub fn copy_pairs(path: &Path, ctx: &StageContext) -> Result<(), Error> {
    let rows = JsonlReader::<PreferenceRow>::open(path)?;
    write(rows.map(|row| Ok(Some(row?))), path, ctx)
}

/// Writes the preferences among `examples`, which are read from `path`. Rows that are left out, for
/// they have no preference or a fault of their own, are counted.
///
/// # Errors
/// When the file is broken; [`Error::EqualAnswers`] on a preference that is none,
/// [`Error::EmptyClass`] when there is no preference.
pub fn write_preferences(
    examples: impl Iterator<Item = Result<Example, RowError>>,
    path: &Path,
    ctx: &StageContext,
) -> Result<(), Error> {
    let row = |example: Result<Example, RowError>| {
        let example = match example {
            Ok(example) => example,
            Err(RowError::Dropped(_)) => return Ok(None),
            Err(RowError::Broken(error)) => return Err(error.into()),
        };
        match (example.chosen, example.rejected) {
            (Some(chosen), Some(rejected)) if chosen == rejected => Err(Error::EqualAnswers {
                place: example.source,
            }),
            (Some(chosen), Some(rejected)) => Ok(Some(PreferenceRow {
                prompt: example.prompt,
                chosen,
                rejected,
                rejected_prompt: None,
                chosen_source: "chosen".into(),
                rejected_source: "rejected".into(),
            })),
            _ => Ok(None),
        }
    };
    write(examples.map(row), path, ctx)
}

fn write(
    rows: impl Iterator<Item = Result<Option<PreferenceRow>, Error>>,
    path: &Path,
    ctx: &StageContext,
) -> Result<(), Error> {
    let mut writer = JsonlWriter::create(&ctx.dir().join(PAIRS))?;
    let mut left_out = 0;
    for row in rows {
        match row? {
            Some(row) => writer.write(&row)?,
            None => left_out += 1,
        }
    }
    if writer.rows() == 0 {
        return Err(Error::EmptyClass {
            side: "preferences".into(),
            paths: vec![path.to_owned()],
        });
    }
    let pairs = writer.finish()?;
    let summary = serde_json::json!({
        "pairs": pairs,
        "balance": { "chosen": pairs, "rejected": pairs },
        "left_out": left_out,
    });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}
