//! `afd report`: the results of a finished run, or of several side by side.

use std::{
    fs,
    path::{Path, PathBuf},
};

use afd_eval::Summary;

use super::print;
use crate::error::Error;

pub(crate) fn run(run_dirs: &[PathBuf]) -> Result<(), Error> {
    match run_dirs {
        [run_dir] => one(run_dir),
        several => {
            let named = |run_dir: &PathBuf| Ok((run_dir.display().to_string(), summary(run_dir)?));
            let runs = several
                .iter()
                .map(named)
                .collect::<Result<Vec<_>, Error>>()?;
            let table = afd_eval::comparison_table(&runs);
            let across = match seeds_of_one_configuration(run_dirs) {
                None => String::new(),
                Some(seeds) => {
                    let summaries = runs.into_iter().map(|(_, summary)| summary);
                    let runs: Vec<(u64, Summary)> = seeds.into_iter().zip(summaries).collect();
                    format!("\n{}", afd_eval::across_seeds_table(&runs))
                }
            };
            print(&format!("{table}{across}"))
        }
    }
}

/// The seeds of the runs, if these are distinct and all that their configurations differ in.
fn seeds_of_one_configuration(run_dirs: &[PathBuf]) -> Option<Vec<u64>> {
    let mut seeds = Vec::new();
    let mut shared: Option<toml::Table> = None;
    for run_dir in run_dirs {
        // A summary alone can be compared, too.
        let text = fs::read_to_string(run_dir.join("config.toml")).unwrap_or_default();
        let mut config: toml::Table = text.parse().ok()?;
        let seed = config.remove("seed").and_then(|seed| seed.as_integer());
        let seed = seed.and_then(|seed| u64::try_from(seed).ok())?;
        let same = shared.get_or_insert_with(|| config.clone()) == &config;
        if !same || seeds.contains(&seed) {
            return None;
        }
        seeds.push(seed);
    }
    Some(seeds)
}

/// `afd schema`: what a summary holds.
pub(crate) fn schema() -> Result<(), Error> {
    print(&format!("{:#}\n", afd_eval::summary_schema()))
}

/// The summary of a finished run.
fn summary(run_dir: &Path) -> Result<Summary, Error> {
    let eval = run_dir.join("eval");
    if !eval.join("summary.json").is_file() {
        return Err(Error::Usage(format!(
            "{} holds no finished evaluation; run `cargo xtask pipeline --run-dir {}` first",
            run_dir.display(),
            run_dir.display()
        )));
    }
    Ok(afd_eval::load_summary(&eval.join("summary.json"))?)
}

fn one(run_dir: &Path) -> Result<(), Error> {
    let (eval, summary) = (run_dir.join("eval"), summary(run_dir)?);
    let models = summary
        .trained()
        .filter_map(|row| row.name.as_ref())
        .map(|name| run_dir.join("policy").join(name))
        .filter(|model| model.join("config.json").is_file());
    let models: Vec<String> = models.map(|model| model.display().to_string()).collect();
    let models = match models.is_empty() {
        true => String::new(),
        false => format!("policy: {}\n", models.join("\n        ")),
    };
    print(&format!(
        "{}\nreport: {}\n        {}\n{models}",
        afd_eval::terminal_table(&summary),
        eval.join("report.html").display(),
        eval.join("report.md").display()
    ))
}
