//! `afd report`: the results of a finished run.

use std::path::Path;

use super::print;
use crate::error::Error;

pub(crate) fn run(run_dir: &Path) -> Result<(), Error> {
    let eval = run_dir.join("eval");
    if !eval.join("summary.json").is_file() {
        return Err(Error::Usage(format!(
            "{} holds no finished evaluation; run `cargo xtask pipeline --run-dir {}` first",
            run_dir.display(),
            run_dir.display()
        )));
    }
    let summary = afd_eval::load_summary(&eval.join("summary.json"))?;
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
