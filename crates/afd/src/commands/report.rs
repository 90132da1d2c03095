//! `afd report`: the results of a finished run.

use std::path::Path;

use crate::error::Error;

#[allow(clippy::print_stdout, reason = "this is the command's result")]
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
    println!("{}", afd_eval::terminal_table(&summary));
    println!("report: {}", eval.join("report.html").display());
    println!("        {}", eval.join("report.md").display());
    Ok(())
}
