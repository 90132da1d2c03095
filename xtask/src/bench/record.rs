//! What is kept of a comparison: every value, the machine, the commit and the versions.

use std::env::consts;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Run;
use super::chain::{self, Chain};
use super::growth::{Growth, Vocabulary, growth, vocabulary};
use super::rows::{Row, rows};
use super::targets::{Target, targets};
use crate::error::Error;
use crate::shell;

/// Where files are kept.
const FOLDER: &str = "benches/results";

/// A comparison, from its beginning.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    date: String,
    commit: String,
    /// Whether files differ from the commit.
    dirty: bool,
    processor: String,
    system: String,
    threads: usize,
    versions: serde_json::Value,
    rounds: u64,
    pub(super) rows: Vec<Row>,
    pub(super) growth: Vec<Growth>,
    pub(super) vocabulary: Vec<Vocabulary>,
    pub(super) targets: Vec<Target>,
    pub(super) runs: Vec<Run>,
    pub(super) chains: Vec<Chain>,
}

impl Record {
    /// Here and now, with nothing measured; `versions` are the rival's.
    pub(super) fn new(
        rounds: u64,
        threads: usize,
        mut versions: serde_json::Value,
    ) -> Result<Record, Error> {
        versions["burn"] = burn()?.into();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let commit = git(&["rev-parse", "--short", "HEAD"]);
        Ok(Record {
            date: date(since.map_or(0, |since| since.as_secs())),
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            dirty: git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty()),
            processor: processor(),
            system: format!("{} {}", consts::OS, consts::ARCH),
            threads,
            versions,
            rounds,
            rows: Vec::new(),
            growth: Vec::new(),
            vocabulary: Vec::new(),
            targets: Vec::new(),
            runs: Vec::new(),
            chains: Vec::new(),
        })
    }

    /// Rows, growth and targets from what was measured.
    pub(super) fn summarise(&mut self) {
        self.rows = rows(&self.runs);
        self.rows.extend(chain::rows(&self.chains));
        self.growth = growth(&self.runs);
        self.vocabulary = vocabulary(&self.runs);
        self.targets = targets(&self.rows);
    }

    /// Where it is kept if nothing else is said: no file that is there is lost.
    pub(super) fn path(&self) -> PathBuf {
        let folder = shell::root().join(FOLDER);
        let name = format!("{}-{}", self.date, self.commit);
        let mut path = folder.join(format!("{name}.json"));
        let mut number = 1;
        while path.exists() {
            number += 1;
            path = folder.join(format!("{name}-{number}.json"));
        }
        path
    }

    pub(super) fn json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// What git says, if this is a clone and git is there.
fn git(args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(shell::root()).args(args);
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// The version of Burn in `Cargo.lock`.
fn burn() -> Result<Option<String>, Error> {
    let path = shell::root().join("Cargo.lock");
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let lock: Option<toml::Table> = text.parse().ok();
    let packages = lock
        .as_ref()
        .and_then(|lock| lock.get("package")?.as_array());
    let burn = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some("burn"));
    let version = burn.and_then(|burn| burn.get("version")?.as_str());
    Ok(version.map(str::to_owned))
}

/// The processor's name, where the system tells it.
fn processor() -> String {
    let linux = fs::read_to_string("/proc/cpuinfo").ok();
    let named = linux.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    named.unwrap_or_else(|| "unknown".to_owned())
}

/// The day, in UTC, as in 2026-11-27.
fn date(seconds: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut days = seconds / 86_400;
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_on_paper() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_798_761_599), "2026-12-31");
        assert_eq!(date(1_798_761_600), "2027-01-01");
    }

    #[test]
    fn a_record_knows_its_versions_and_is_json() {
        let record = Record::new(2, 4, serde_json::json!({"torch": "2.9.0"})).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&record.json()).unwrap();
        assert_eq!(parsed["versions"]["torch"], "2.9.0");
        assert!(
            parsed["versions"]["burn"]
                .as_str()
                .unwrap()
                .starts_with("0.")
        );
        let path = record.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("20") && name.ends_with(".json"), "{name}");
    }
}
