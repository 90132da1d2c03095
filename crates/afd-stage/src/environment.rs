//! Where a stage is computed: a line about the machine, kept over resumes.

use std::io::ErrorKind;
use std::path::Path;

use crate::scratch::{COST, KEY};
use crate::{Error, fs};

/// Names the file in a scratch directory that holds the line of the attempts so far.
pub(crate) const ENVIRONMENT: &str = "environment";

/// Notes in the scratch directory `dir` that an attempt is made in the environment `now`, and
/// returns the stage's line: `now`, after the environments of earlier attempts that left work.
pub(crate) fn note(dir: &Path, now: Option<&str>) -> Result<Option<String>, Error> {
    let Some(now) = now else {
        return Ok(None);
    };
    let path = dir.join(ENVIRONMENT);
    let line = if has_work(dir)? {
        match std::fs::read_to_string(&path) {
            Ok(earlier) => resumed(earlier, now),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                resumed("not recorded".to_owned(), now)
            }
            Err(source) => {
                return Err(Error::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        }
    } else {
        now.to_owned()
    };
    fs::write_atomic(&path, line.as_bytes())?;
    Ok(Some(line))
}

/// `earlier`, and that the work went on in `now` if that is another place.
fn resumed(earlier: String, now: &str) -> String {
    let then = format!("; resumed on {now}");
    if earlier == now || earlier.ends_with(&then) {
        earlier
    } else {
        earlier + &then
    }
}

/// Whether there is anything that a result could be made of. Curves are not: a stage cuts them
/// back to what it resumes from.
fn has_work(dir: &Path) -> Result<bool, Error> {
    let records = [KEY, COST, ENVIRONMENT, "metrics.jsonl", "tb"];
    let entries = fs::entries(dir)?;
    Ok(entries
        .iter()
        .any(|path| !records.iter().any(|record| path.ends_with(record))))
}
