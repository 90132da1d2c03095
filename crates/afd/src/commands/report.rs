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
    print(&format!(
        "{}\nreport: {}\n        {}\n",
        afd_eval::terminal_table(&summary),
        eval.join("report.html").display(),
        eval.join("report.md").display()
    ))
}
