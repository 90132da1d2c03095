//! `afd watch`: follows the run of another process: a dashboard on a terminal, lines elsewhere.

mod dashboard;
mod lines;
mod scratch;

use std::{
    io::{IsTerminal, stdout},
    path::Path,
};

use crate::error::Error;

/// Shows the run as long as a process is at it; then its results, or where it stopped.
pub(crate) fn run(run_dir: &Path) -> Result<(), Error> {
    if !run_dir.join("run.json").is_file() {
        return Err(Error::Usage(format!(
            "{} is no run: it holds no run.json; `afd pipeline --run-dir {}` makes one",
            run_dir.display(),
            run_dir.display()
        )));
    }
    let to_the_end = match stdout().is_terminal() {
        true => dashboard::follow(run_dir)?,
        false => lines::follow(run_dir)?,
    };
    if !to_the_end {
        return Ok(());
    }
    let left = scratch::under_way(run_dir)
        .into_iter()
        .find(|stage| !scratch::is_behind(stage, run_dir));
    match left {
        Some(stage) => Err(Error::Usage(format!(
            "nobody is at {} any more, and {} is not finished: the command that made it goes on there",
            run_dir.display(),
            scratch::name(&stage)
        ))),
        None => super::report::run(&[run_dir.to_path_buf()]),
    }
}
